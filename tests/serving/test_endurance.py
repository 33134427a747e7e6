"""Minutes of trouble for a real server: lists go on, and nothing acknowledged is lost or stored twice."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from asgi import Reply
from served_runs import save_run
from serving_process import Server, serving

from landbridge.serving.engine.service import Service
from landbridge.serving.events.store import EventStore
from landbridge.serving.runtime.http_protocol import CONNECTIONS, HEAD_SECONDS

pytestmark = pytest.mark.slow

LIST = {"domains": ["books"], "user": 3, "k": 3}
SILENT = 1100
PATIENCE = 5.0  # seconds within which any answer comes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("endurance") / "run")


class Worker:
    """A thread that works until the block is over."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._over, self._thread = threading.Event(), threading.Thread(target=work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Client(Worker):
    """A thread that asks again and again, each time for what ``body`` makes of a running number."""

    def __init__(self, server: Server, path: str, body: Callable[[int], Any]) -> None:
        self.server, self.path, self.body = server, path, body
        self.statuses: Counter[int] = Counter()
        self.replies: list[Reply] = []
        self.slowest = 0.0
        super().__init__(self._ask)

    def _ask(self) -> None:
        number = 0
        with self.server.connection() as connection:
            while not self._over.is_set():
                number += 1
                began = time.monotonic()
                content = json.dumps(self.body(number)).encode()
                reply = self.server.ask("POST", self.path, content, connection)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.statuses[reply.status] += 1
                self.replies.append(reply)
                time.sleep(0.01)


class Writer(Worker):
    """A thread that stores numbered events, each with an id, and repeats one until it is acknowledged."""

    def __init__(self, port: Callable[[], int], user: str) -> None:
        self.user, self.acknowledged, self.refused = user, list[int](), 0
        self._port = port
        super().__init__(self._write)

    def _write(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            event = {"domain": "books", "item": number, "id": f"{self.user}-{number}"}
            while not self._sent({"user": self.user, "events": [event]}):
                self.refused += 1
                time.sleep(0.05)
            self.acknowledged.append(number)

    def _sent(self, body: Any) -> bool:
        """Whether a request was acknowledged; not where the server is gone, busy, or its store fails."""
        server = Server(None, port=self._port())
        try:
            reply = server.post("/v1/events", body)
        except (OSError, HTTPException):
            return False
        assert reply.status in (200, 503), reply.body
        return reply.status == 200


def kept(path: Path, user: str) -> list[Any]:
    """The items of a user's events in a store."""
    with closing(EventStore.existing(str(path))) as store:
        return [event.item for event in store.of(user)]


def all_beyond(writers: Sequence[Writer], counts: Sequence[int]) -> bool:
    """Whether each writer has more events acknowledged than that."""
    return all(len(w.acknowledged) > count for w, count in zip(writers, counts, strict=True))


def wait_until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- a store in trouble ---


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Another process holds all locks of the write-ahead log, so that not even reading works."""
    with path.with_name(f"{path.name}-shm").open("r+b") as log:
        fcntl.lockf(log, fcntl.LOCK_EX, 8, 120)  # the eight bytes that SQLite locks
        yield


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Every insert fails, as on a full disk."""
    with closing(sqlite3.connect(path, timeout=20)) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON landbridge_events "
            "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
        yield
        other.execute("DROP TRIGGER full")


@contextmanager
def moved(path: Path) -> Iterator[None]:
    """The file is elsewhere for a while, with what belongs to it."""
    files = [*path.parent.glob(f"{path.name}*")]
    away = path.parent / "away"
    away.mkdir()
    for file in files:
        file.rename(away / file.name)
    yield
    for file in away.iterdir():
        file.rename(path.parent / file.name)
    away.rmdir()


@pytest.mark.parametrize(
    ("trouble", "degrades"), [(locked, False), (hanging, True), (failing, False), (moved, True)]
)
def test_lists_go_on_while_the_store_is_in_trouble(
    run: Path, tmp_path: Path, trouble: Any, degrades: bool
) -> None:
    """Known users get the model's lists, and say when stored events are missing; every event that was
    acknowledged is there afterwards, once, although its request was sent again and again."""
    path = tmp_path / "events.sqlite"
    with serving(run, "--events", path, "--timeout", 3) as server:
        expected = [item["item"] for item in server.post("/v1/recommend", LIST).json["items"]]
        with ExitStack() as held:
            lists = held.enter_context(Client(server, "/v1/recommend", lambda _: LIST))
            writers = [held.enter_context(Writer(lambda: server.port, f"w{n}")) for n in range(3)]
            for _ in range(2):
                wait_until(partial(all_beyond, writers, [5] * len(writers)))
                with trouble(path):
                    time.sleep(4)
                wait_until(partial(all_beyond, writers, [len(writer.acknowledged) + 5 for writer in writers]))
            wait_until(lambda: server.get("/readyz").json["problems"] == [])
    assert set(lists.statuses) == {200}
    assert lists.slowest < PATIENCE
    assert all([item["item"] for item in reply.json["items"]] == expected for reply in lists.replies)
    assert any(reply.json["degraded"] for reply in lists.replies) == degrades
    assert sum(writer.refused for writer in writers) > 0
    for writer in writers:
        assert kept(path, writer.user) == writer.acknowledged


def test_a_store_that_is_replaced_by_another_goes_on_in_the_new_one(run: Path, tmp_path: Path) -> None:
    """What was acknowledged before is in the old file, what is acknowledged later in the new one."""
    path, old = tmp_path / "events.sqlite", tmp_path / "old"
    with serving(run, "--events", path) as server, Writer(lambda: server.port, "w") as writer:
        wait_until(lambda: len(writer.acknowledged) > 20)
        old.mkdir()
        for file in [*tmp_path.glob("events.sqlite*")]:
            file.rename(old / file.name)
        EventStore.open(str(path)).close()
        before = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) > before + 20)
    first, second = kept(old / path.name, "w"), kept(path, "w")
    assert sorted({*first, *second}) == writer.acknowledged
    assert len(set(first)) == len(first)
    assert len(set(second)) == len(second)


def test_what_is_sent_again_after_a_kill_is_stored_once(run: Path, tmp_path: Path) -> None:
    """The server is killed while clients write; they send what was not acknowledged to the next one."""
    path, rng = tmp_path / "events.sqlite", np.random.default_rng(0)
    now: list[Server] = []
    with ExitStack() as held:
        for kill in range(10):
            with serving(run, "--events", path) as server:
                now.append(server)
                if not kill:
                    writers = [held.enter_context(Writer(lambda: now[-1].port, f"w{n}")) for n in range(4)]
                time.sleep(rng.uniform(0.3, 1.0))
                os.kill(server.process.pid, signal.SIGKILL)
        with serving(run, "--events", path) as server:
            now.append(server)
            time.sleep(1)
            held.close()
    assert sum(writer.refused for writer in writers) > 10
    for writer in writers:
        assert kept(path, writer.user) == writer.acknowledged


# --- models that follow each other ---

ENDPOINTS: Sequence[tuple[str, Callable[[int], Any]]] = (
    ("/v1/recommend", lambda number: {**LIST, "user": number % 60, "explain": number % 2 == 0}),
    (
        "/v1/recommend/batch",
        lambda number: {"requests": [{**LIST, "user": (number + n) % 60} for n in range(5)]},
    ),
    ("/v1/similar", lambda number: {"domain": "books", "item": number % 40, "to": "movies"}),
    ("/v1/explain", lambda number: {"domain": "books", "item": number % 40, "user": number % 60}),
    (
        "/v1/events",
        lambda number: {"user": f"s{number % 9}", "events": [{"domain": "books", "item": number % 40}]},
    ),
)


def test_every_endpoint_goes_on_while_models_are_swapped(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    with serving(folder, "--poll", 0.05, "--events", tmp_path / "events.sqlite") as server:
        with ExitStack() as held:
            clients = [held.enter_context(Client(server, *endpoint)) for endpoint in ENDPOINTS]
            for seed in range(1, 9):
                save_run(folder, seed)
                model = Service.open(folder).model
                wait_until(lambda model=model: server.get("/readyz").json["model"] == model)
        assert server.get("/readyz").json["swaps"] == 8
    for client in clients:
        assert set(client.statuses) == {200}, client.path
        assert client.slowest < PATIENCE
        assert len(client.replies) > 20


def test_servers_of_a_run_that_is_copied_file_by_file_come_to_the_same_model(
    run: Path, tmp_path: Path
) -> None:
    """Whichever file comes last, long after the others; lists go on meanwhile."""
    new, folder = save_run(tmp_path / "new", seed=5), tmp_path / "run"
    names = sorted(file.name for file in new.iterdir())
    model = Service.open(new).model
    for last in names:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder)
        with serving(folder, "--poll", 0.1) as one, serving(folder, "--poll", 2) as other:
            with Client(one, "/v1/recommend", lambda _: LIST) as client:
                for name in names:
                    if name != last:
                        shutil.copy(new / name, folder / name)
                time.sleep(3)
                shutil.copy(new / last, folder / last)
                for server in (one, other):
                    wait_until(lambda server=server: server.get("/readyz").json["model"] == model)
            assert set(client.statuses) == {200}


# --- odd clients ---


@contextmanager
def many_files() -> Iterator[None]:
    """This process may open enough of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < SILENT + 200:
        pytest.skip("this process may not open enough files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SILENT + 200), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def healthy(server: Server) -> bool:
    """Whether a new connection gets an answer that all is well."""
    try:
        return server.get("/healthz").status == 200
    except (OSError, HTTPException):
        return False


def test_health_checks_and_lists_go_on_beside_1100_silent_connections(run: Path) -> None:
    """On connections that stand at all times; new ones as soon as the silent ones are given up."""
    with many_files(), serving(run) as server, ExitStack() as held:
        clients = [held.enter_context(Client(server, "/v1/recommend", lambda _: LIST)) for _ in range(4)]
        wait_until(lambda: all(client.replies for client in clients))
        began = time.monotonic()
        silent = [
            held.enter_context(closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)))
            for _ in range(SILENT)
        ]
        answered = [len(client.replies) for client in clients]
        wait_until(
            lambda: all(len(c.replies) > n + 20 for c, n in zip(clients, answered, strict=True)), HEAD_SECONDS
        )
        wait_until(lambda: healthy(server), 3 * HEAD_SECONDS)
        assert time.monotonic() - began < 4 * HEAD_SECONDS
        for _ in range(20):
            assert server.post("/v1/recommend", LIST).status == 200
        refused = [own.recv(100) for own in silent]
    assert sum(answer.startswith(b"HTTP/1.1 503") for answer in refused) >= SILENT - CONNECTIONS
    assert {answer[:12] for answer in refused} <= {b"", b"HTTP/1.1 503"}
    for client in clients:
        assert set(client.statuses) == {200}
        assert client.slowest < PATIENCE


def odd_bytes(rng: np.random.Generator) -> tuple[bytes, bool]:
    """Random bytes, or a request with some of its bytes changed, cut or repeated; and whether it is whole."""
    body = json.dumps(LIST).encode()
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    good = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    kind = rng.integers(4)
    if kind == 0:
        return bytes(rng.integers(256, size=rng.integers(1, 300), dtype=np.uint8)), False
    if kind == 1:
        return good[: rng.integers(len(good))], False
    if kind == 2:
        return good * int(rng.integers(1, 40)), True
    changed = np.frombuffer(good, np.uint8).copy()
    changed[rng.integers(len(good), size=rng.integers(1, 8))] = rng.integers(256, dtype=np.uint8)
    return changed.tobytes(), False


def test_lists_go_on_beside_hostile_bytes(run: Path) -> None:
    """2,000 connections, each with odd bytes; none ends in an error of the server."""
    rng = np.random.default_rng(0)
    answers: Counter[bytes] = Counter()
    with serving(run) as server, Client(server, "/v1/recommend", lambda _: LIST) as client:
        for _ in range(2000):
            with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as own:
                content, is_whole = odd_bytes(rng)
                with suppress(OSError):  # refused while it is still sent
                    own.sendall(content)
                    if not is_whole:  # or the server waits for the rest
                        own.shutdown(socket.SHUT_WR)
                with suppress(OSError):
                    answers[own.recv(65536)[9:10]] += 1
        assert healthy(server)
    assert set(answers) <= {b"", b"2", b"4"}
    assert answers[b"2"] > 100
    assert answers[b"4"] > 100
    assert set(client.statuses) == {200}
    assert client.slowest < PATIENCE
    assert not [line for line in server.lines if line["event"] == "failed" or line["level"] == "error"]
