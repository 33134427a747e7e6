"""Models that follow each other: no request fails or mixes two, and what is broken never serves."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi import Client, asking
from served_runs import save_run
from serving_process import Server, serving
from stand_in import StandIn
from worlds import shelves

from landbridge import store
from landbridge.core import files
from landbridge.core.errors import StoreError
from landbridge.core.files import atomic_write
from landbridge.models.als.ials import IALS
from landbridge.serving.engine.messages import Request
from landbridge.serving.engine.service import Service
from landbridge.serving.events.history import UserHistory
from landbridge.serving.http.app import create_app
from landbridge.serving.http.routes import Routes, WorkPools
from landbridge.serving.http.schemas import RecommendBody
from landbridge.serving.runtime import model_manager
from landbridge.serving.runtime.ab_testing import ServedRuns
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.model_manager import NO_MANIFEST, ModelManager, RunSource
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.training.options import FitOptions

BODY = {"domains": ["books"], "user": 3, "k": 5}
QUICK = 0.02  # seconds between looks


@dataclass
class Shelf:
    """A source of stand-ins: what ``holds`` says is opened, errors are raised."""

    holds: dict[str, StandIn | BaseException]
    now: str = "first"
    tries: list[str] = field(default_factory=list)
    folder: Path = Path("/srv/secret/run")
    run: str | None = None

    def without_paths(self, sentence: str) -> str:
        return RunSource(self.folder).without_paths(sentence)

    def state(self) -> str:
        return self.now

    def opened_unverified(self) -> Any:
        return self.opened()

    def verify(self, model: str) -> None:
        """All is whole."""

    def opened(self, now: Any = None) -> Any:
        self.tries.append(self.now)
        found = self.holds[self.now]
        if isinstance(found, BaseException):
            raise found
        return found


def current_of(shelf: Shelf) -> ModelManager:
    return ModelManager.of(shelf, Metrics())


def test_a_new_state_serves_once_it_is_checked() -> None:
    shelf = Shelf({"first": StandIn("one"), "second": StandIn("two")})

    async def play() -> None:
        current = current_of(shelf)
        await current.check_for_update()
        assert (current.now.service.model, shelf.tries) == ("one", ["first"])
        shelf.now = "second"
        await current.check_for_update()
        await current.check_for_update()
        assert (current.now.service.model, shelf.tries) == ("two", ["first", "second"])
        assert (current.swaps, current.rollbacks, current.failed) == (1, 0, None)
        await current.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    "error", [StoreError("/srv/secret/run is damaged."), OSError("no disk"), ValueError("x")]
)
def test_a_broken_state_is_refused_reported_and_not_tried_at_every_poll(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf({"first": StandIn("one"), "bad": error, "good": StandIn("two")})

    async def play() -> None:
        current = current_of(shelf)
        shelf.now = "bad"
        for _ in range(3):
            await current.check_for_update()
        assert (current.now.service.model, shelf.tries) == ("one", ["first", "bad"])
        assert current.failed is not None
        assert current.failed.state == "bad"
        assert str(error).split("/")[-1] in current.failed.why
        assert "/srv/secret" not in current.failed.why
        assert current.rollbacks == 1
        shelf.now = "good"
        await current.check_for_update()
        assert (current.now.service.model, current.failed) == ("two", None)
        await current.close()

    asyncio.run(play())
    assert any(
        record.getMessage() == "rolled back" and record.levelno == logging.ERROR for record in caplog.records
    )


def test_a_refused_state_is_tried_again_after_longer_and_longer_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(model_manager, "monotonic", lambda: clock[0])
    shelf = Shelf({"first": StandIn("one"), "half": StoreError("Half of it."), "other": StoreError("Bad.")})

    async def play() -> None:
        current = current_of(shelf)
        shelf.now, tried = "half", []
        for second in range(200):
            clock[0], before = float(second), len(shelf.tries)
            await current.check_for_update()
            tried += [second] * (len(shelf.tries) - before)
        assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        assert (current.rollbacks, current.now.service.model) == (1, "one")
        shelf.now = "other"
        await current.check_for_update()
        assert (shelf.tries[-1], current.rollbacks) == ("other", 2)
        # the copy is complete
        shelf.holds["other"] = StandIn("two")
        clock[0] += 1
        await current.check_for_update()
        assert (current.now.service.model, current.failed) == ("two", None)
        await current.close()

    asyncio.run(play())
    assert [record.getMessage() for record in caplog.records].count("rolled back") == 2


def test_a_reader_that_panics_is_a_refused_state() -> None:
    """The panic of compiled code is no Exception; new models are still loaded after it."""

    class PanicException(BaseException):
        pass

    shelf = Shelf({"first": StandIn("one"), "bad": PanicException("out of range"), "good": StandIn("two")})

    async def play() -> None:
        current = current_of(shelf)
        shelf.now = "bad"
        await current.check_for_update()
        assert current.failed is not None
        assert "PanicException" in current.failed.why
        shelf.now = "good"
        await current.check_for_update()
        assert current.now.service.model == "two"
        await current.close()

    asyncio.run(play())


def test_a_run_that_is_copied_file_by_file_is_served_once_it_is_complete(
    client: Client, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest, the first to be copied, does not change any more."""
    monkeypatch.setattr(model_manager, "FIRST_PAUSE", QUICK)
    new = save_run(tmp_path / "new", seed=1)
    expected = RunSource(new).state()
    (late,) = new.glob("arrays-*")
    for file in new.iterdir():
        if file != late:
            replace(run / file.name, file.read_bytes())
    assert ready(client, lambda state: state["failed"])["model"] != expected
    replace(run / late.name, late.read_bytes())
    assert ready(client, lambda state: state["model"] == expected)["failed"] is None


def test_a_failure_that_is_taken_back_is_no_failure() -> None:
    shelf = Shelf({"first": StandIn("one"), "bad": StoreError("Damaged.")})

    async def play() -> None:
        current = current_of(shelf)
        for state in ("bad", "first"):
            shelf.now = state
            await current.check_for_update()
        assert (current.failed, shelf.tries) == (None, ["first", "bad"])
        await current.close()

    asyncio.run(play())


def test_the_old_model_goes_when_its_last_request_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    shelf = Shelf({"first": StandIn("one"), "second": StandIn("two")})

    async def play() -> None:
        current = current_of(shelf)
        original = type(current.now.batcher).close

        async def close(together: Any) -> None:
            closed.append(current.now.service.model)
            await original(together)

        monkeypatch.setattr(type(current.now.batcher), "close", close)
        gone = weakref.ref(shelf.holds.pop("first"))
        leases = [current.lease(), current.lease()]
        first, second = [await lease.__aenter__() for lease in leases]
        shelf.now = "second"
        await current.check_for_update()
        assert (current.now.service.model, first.service.model, closed) == ("two", "one", [])
        answer = await first.batcher.recommend(Request(("books",)))
        assert answer.model == "one"
        await leases[0].__aexit__(None, None, None)
        await asyncio.sleep(0)
        assert closed == []
        await leases[1].__aexit__(None, None, None)
        await asyncio.sleep(0)
        assert closed == ["two"]
        del first, second, answer
        leases.clear()
        gc.collect()
        assert gone() is None
        await current.close()

    asyncio.run(play())


def test_requests_go_on_while_a_model_is_being_opened() -> None:
    opening, may_go_on = threading.Event(), threading.Event()

    class Slow(Shelf):
        def opened(self, now: Any = None) -> Any:
            if self.now == "second":
                opening.set()
                assert may_go_on.wait(10)
            return super().opened(now)

    shelf = Slow({"first": StandIn("one"), "second": StandIn("two")})

    async def play() -> None:
        current = current_of(shelf)
        shelf.now = "second"
        looking = asyncio.create_task(current.check_for_update())
        while not opening.is_set():
            await asyncio.sleep(0.001)
        async with current.lease() as serving:
            assert (await serving.batcher.recommend(Request(("books",)))).model == "one"
        may_go_on.set()
        await looking
        assert current.now.service.model == "two"
        await current.close()

    asyncio.run(play())


def test_a_request_keeps_its_model_through_a_swap() -> None:
    """The swap happens while the list is made: its reasons must come from the same model."""
    making, may_go_on = threading.Event(), threading.Event()

    def work() -> None:
        making.set()
        assert may_go_on.wait(10)

    first, second = StandIn("one", work), StandIn("two")
    shelf = Shelf({"first": first, "second": second}, now="first")

    async def play() -> Any:
        current = current_of(shelf)
        routes = Routes(ServedRuns(current), UserHistory(None, Metrics()), Metrics(), WorkPools.of(), 10.0)
        body = RecommendBody(domains=["books"], user="alice", k=2, explain=True)
        asking = asyncio.create_task(routes.recommend(body))
        while not making.is_set():
            await asyncio.sleep(0.001)
        shelf.now = "second"
        await current.check_for_update()
        assert current.now.service.model == "two"
        may_go_on.set()
        answer = json.loads((await asking).body)
        await current.close()
        return answer

    answer = asyncio.run(play())
    assert (answer["model"], [item["item"] for item in answer["items"]]) == ("one", ["one-0", "one-1"])
    assert (first.explained, second.explained) == (["one-0", "one-1"], [])


def test_a_model_that_fails_its_check_never_serves(
    client: Client, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(service: Service) -> None:
        raise StoreError("This model's scores are not numbers.")

    before = client.get("/readyz").json["model"]
    monkeypatch.setattr(Service, "check", fail)
    save_run(run, seed=1)
    said = ready(client, lambda said: said["failed"])
    assert (said["model"], said["failed"]["why"]) == (before, "This model's scores are not numbers.")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "run")


@pytest.fixture
def client(run: Path) -> Iterator[Client]:
    with asking(create_app(run, ServeSettings(poll=QUICK))) as client:
        yield client


def ready(client: Client, done: Any) -> dict[str, Any]:
    """What /readyz says once ``done`` holds of it."""
    for _ in range(500):
        said: dict[str, Any] = client.get("/readyz").json
        if done(said):
            return said
        client.run(asyncio.sleep(QUICK))
    raise AssertionError(said)


def test_a_run_that_is_fitted_again_serves_without_a_restart(client: Client, run: Path) -> None:
    before = client.post("/v1/recommend", BODY).json
    save_run(run, seed=1)
    said = ready(client, lambda said: said["swaps"] == 1)
    after = client.post("/v1/recommend", BODY).json
    assert said["model"] == after["model"] == Service.open(run).model != before["model"]
    assert after["items"] != before["items"]


def test_in_a_versions_folder_the_current_version_serves(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    for seed, name in enumerate(("one", "two")):
        save_run(shop / name, seed)
    store.rollback(shop, "one")
    with asking(create_app(shop, ServeSettings(poll=QUICK))) as client:
        for version in ("one", "two", "one"):
            store.rollback(shop, version)
            said = ready(client, lambda said, version=version: said["version"] == version)
            answer = client.post("/v1/recommend", BODY).json
            assert answer["version"] == client.get("/v1/model").json["version"] == version
            assert answer["model"] == said["model"] == Service.open(shop / version).model
        pointer = (shop / "current.json").read_bytes()
        replace(shop / "current.json", b"{")
        said = ready(client, lambda said: said["failed"])
        assert said["version"] == "one"
        assert said["failed"]["why"].startswith("shop/current.json is damaged")
        replace(shop / "current.json", pointer)
        assert ready(client, lambda said: not said["failed"])["version"] == "one"


def test_a_version_that_is_served_by_its_path_stays(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    for seed, name in enumerate(("one", "two")):
        save_run(shop / name, seed)
    store.rollback(shop, "one")
    with asking(create_app(shop / "one", ServeSettings(poll=QUICK))) as client:
        store.rollback(shop, "two")
        client.run(asyncio.sleep(5 * QUICK))
        said = client.get("/readyz").json
        assert (said["version"], said["swaps"], said["failed"]) == ("one", 0, None)


def replace(path: Path, content: bytes) -> None:
    """As runs are written: at once."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "manifest", "missing"])
def test_a_damaged_run_leaves_the_old_model_in_place(client: Client, run: Path, damage: str) -> None:
    before = client.post("/v1/recommend", BODY).json
    kept = (run / "manifest.json").read_bytes()
    if damage == "cut":
        old = {file.name for file in run.glob("arrays-*")}
        save_run(run, seed=1)
        (arrays,) = [file for file in run.glob("arrays-*") if file.name not in old]
        arrays.write_bytes(arrays.read_bytes()[:-8])
        replace(run / "manifest.json", (run / "manifest.json").read_bytes() + b" ")
    elif damage == "manifest":
        replace(run / "manifest.json", b"{")
    else:
        (run / "manifest.json").unlink()
    said = ready(client, lambda said: said["failed"])
    assert (said["ready"], said["model"]) == (True, before["model"])
    assert said["failed"]["why"].endswith(".")
    assert str(run) not in said["failed"]["why"]
    again = client.post("/v1/recommend", BODY).json
    assert again == before | {"recommendation_id": again["recommendation_id"]}
    tries = client.get("/readyz").json["rollbacks"]
    client.run(asyncio.sleep(5 * QUICK))
    assert client.get("/readyz").json["rollbacks"] == tries
    assert b'landbridge_rollbacks_total{run=""} %.1f' % tries in client.get("/metrics").body
    if damage != "cut":
        replace(run / "manifest.json", kept)
        assert ready(client, lambda said: not said["failed"])["swaps"] == 0


def flip(path: Path) -> None:
    """Another last byte, which no check but that of the checksum finds."""
    content = path.read_bytes()
    replace(path, content[:-1] + bytes([content[-1] ^ 1]))


def refused(client: Client, path: str = "/readyz") -> str:
    """The sentence of a refusal that comes soon."""
    for _ in range(500):
        reply = client.get(path)
        if reply.status == 503:
            return str(reply.json["error"])
        client.run(asyncio.sleep(QUICK))
    raise AssertionError(reply.json)


def test_a_big_run_serves_before_its_checksums_are_compared_and_no_more_once_one_differs(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    monkeypatch.setattr(model_manager, "FIRST_PAUSE", QUICK)
    (arrays,) = run.glob("arrays-*")
    whole, may_go_on = arrays.read_bytes(), threading.Event()
    flip(arrays)
    monkeypatch.setattr(model_manager, "verify", lambda path: may_go_on.wait(10) and store.verify(path))
    table = run.parent / "items.csv"
    write_stock(table, 3)
    with asking(create_app(run, ServeSettings(poll=QUICK, items=table))) as client:
        assert client.post("/v1/recommend", BODY).status == 200
        write_stock(table, 5)  # another table, and the same model, is no reason to forget the check
        assert ready(client, lambda said: said["swaps"] == 1)["failed"] is None
        may_go_on.set()
        sentence = refused(client)
        assert sentence == f"run/{arrays.name} is damaged: its checksum differs; restore it or fit again."
        reply = client.post("/v1/recommend", BODY)
        assert (reply.status, reply.json["error"]) == (503, sentence)
        client.run(asyncio.sleep(10 * QUICK))  # it is tried again, and refused
        assert (client.get("/readyz").status, client.get("/healthz").status) == (503, 200)
        replace(arrays, whole)
        for _ in range(500):
            if (reply := client.get("/readyz")).status == 200:
                break
            client.run(asyncio.sleep(QUICK))
        assert (reply.json["failed"], client.post("/v1/recommend", BODY).status) == (None, 200)
    assert [record.getMessage() for record in caplog.records].count("damaged") == 1


def test_a_damaged_big_run_gives_place_to_a_new_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    flip(next(run.glob("arrays-*")))
    with asking(create_app(run, ServeSettings(poll=QUICK))) as client:
        assert "arrays-" in refused(client)
        save_run(run, seed=1)
        model = Service.open(run).model
        for _ in range(500):
            if (reply := client.get("/readyz")).status == 200:
                break
            client.run(asyncio.sleep(QUICK))
        assert (reply.json["model"], client.post("/v1/recommend", BODY).json["model"]) == (model, model)


def test_a_damaged_big_run_never_follows_a_whole_one(
    client: Client, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    before = client.get("/readyz").json["model"]
    new = save_run(tmp_path / "new", seed=1)
    flip(next(new.glob("arrays-*")))
    for file in sorted(new.iterdir()):  # the manifest after the arrays and the data
        replace(run / file.name, file.read_bytes())
    said = ready(client, lambda said: said["failed"])
    assert (said["ready"], said["model"]) == (True, before)
    assert "its checksum differs" in said["failed"]["why"]


STOCK = {"domains": ["books"], "k": 40, "seen": True, "where": {"in_stock": True}}


@pytest.fixture
def stock(run: Path, tmp_path: Path) -> Iterator[tuple[Client, Path]]:
    """A server with a table of the items: of 40 books the first three are in stock."""
    table = tmp_path / "items.csv"
    write_stock(table, 3)
    with asking(create_app(run, ServeSettings(poll=QUICK, items=table))) as client:
        yield client, table


def write_stock(table: Path, available: int) -> None:
    rows = [f"books,{item},{str(item < available).lower()}" for item in range(40)]
    replace(table, "\n".join(["domain,item,in_stock", *rows]).encode())


def in_stock(client: Client) -> list[int]:
    return sorted(entry["item"] for entry in client.post("/v1/recommend", STOCK).json["items"])


def test_a_changed_table_of_items_counts_without_a_new_model(
    stock: tuple[Client, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, table = stock
    assert in_stock(client) == [0, 1, 2]
    model = client.get("/readyz").json["model"]
    monkeypatch.setattr(Service, "open", None)  # the model is not read again
    write_stock(table, 5)
    assert ready(client, lambda said: said["swaps"] == 1)["model"] == model
    assert in_stock(client) == [0, 1, 2, 3, 4]


def test_a_table_of_items_that_cannot_be_used_leaves_the_old_one_in_place(stock: tuple[Client, Path]) -> None:
    client, table = stock
    replace(table, b"domain,item\nfilms,1\n")
    said = ready(client, lambda said: said["failed"])
    assert said["failed"]["why"].startswith("No row of the items' table items.csv is about an item")
    table.unlink()
    ready(client, lambda said: "There is no file items.csv" in said["failed"]["why"])
    assert in_stock(client) == [0, 1, 2]
    write_stock(table, 1)
    ready(client, lambda said: not said["failed"])
    assert in_stock(client) == [0]


def test_a_new_model_is_served_with_the_present_table(stock: tuple[Client, Path], run: Path) -> None:
    client, table = stock
    write_stock(table, 2)
    save_run(run, seed=1)
    ready(client, lambda said: said["model"] == Service.open(run).model)
    assert in_stock(client) == [0, 1]


def test_a_folder_that_cannot_serve_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run folder"):
        create_app(tmp_path / "nothing")
    assert RunSource(tmp_path).state() == NO_MANIFEST


SECONDS_APART = 0.4


@pytest.mark.slow
def test_twenty_swaps_under_load(run: Path) -> None:
    """200 requests a second: none fails, and every list is the one that the model it names would give."""
    expected: dict[str, Any] = {}

    def remember() -> None:
        service = Service.open(run)
        (answer,) = service.recommend([Request(("books",), 3, k=5)])
        expected[service.model] = [item.item for item in answer.items]

    remember()
    with serving(run, "--poll", 0.05) as server:
        load = Load(server)
        load.start()
        for seed in range(1, 21):
            time.sleep(SECONDS_APART)
            save_run(run, seed)
            remember()
            wait_for(server, Service.open(run).model)
        load.stop()
        said = server.get("/readyz").json
    assert (said["swaps"], said["rollbacks"], said["failed"]) == (20, 0, None)
    assert set(load.statuses) == {200}
    assert all(expected[model] == items for model, items in load.lists)
    used = Counter(model for model, _ in load.lists)
    assert len(used) == 21
    assert len({json.dumps(items) for items in expected.values()}) > 10
    assert len(load.lists) > 1000


def wait_for(server: Server, model: str) -> None:
    deadline = time.monotonic() + 30
    while server.get("/readyz").json["model"] != model:
        assert time.monotonic() < deadline, server.get("/readyz").json
        time.sleep(0.02)


class Load:
    """Four threads that ask 50 times a second each."""

    def __init__(self, server: Server) -> None:
        self.statuses: Counter[int] = Counter()
        self.lists: list[tuple[str, list[Any]]] = []
        self._server, self._over = server, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = json.dumps(BODY).encode()
        with self._server.connection() as connection:
            due = time.monotonic()
            while not self._over.is_set():
                reply = self._server.ask("POST", "/v1/recommend", body, connection)
                self.statuses[reply.status] += 1
                self.lists.append((reply.json["model"], [item["item"] for item in reply.json["items"]]))
                due += 1 / 50
                time.sleep(max(0.0, due - time.monotonic()))


def test_new_items_of_a_changed_table_are_listed_without_a_refit(tmp_path: Path) -> None:
    """A table that cannot be read changes nothing."""
    table = tmp_path / "items.csv"
    table.write_text("domain,item,kind\nfood,40,a\n")
    data = shelves()
    assert data.item_features is not None
    data = dataclasses.replace(
        data, item_features=dataclasses.replace(data.item_features, weight_V=np.ones(4, np.float32))
    )
    store.save(IALS(8, "joined").fit(data, FitOptions(threads=1)), tmp_path / "run")
    body = {"domains": ["food"], "user": 0, "k": 50}
    with asking(create_app(tmp_path / "run", ServeSettings(poll=QUICK, item_features=table))) as client:

        def cold() -> set[int]:
            return {
                entry["item"] for entry in client.post("/v1/recommend", body).json["items"] if entry["cold"]
            }

        assert cold() == {*range(20, 41)}
        replace(table, b"domain,item,kind\nfood,40,a\nfood,41,b\n")
        ready(client, lambda said: said["swaps"] == 1)
        assert cold() == {*range(20, 42)}
        replace(table, b"domain,item,other\nfood,40,a\n")
        said = ready(client, lambda said: said["failed"])
        assert "No column of the table of item features" in said["failed"]["why"]
        assert cold() == {*range(20, 42)}
