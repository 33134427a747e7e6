"""The log of impressions: what a server writes is what was listed, and ``landbridge ope`` reads it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from asgi import Client, asking
from commands import answered
from served_runs import save_run
from serving_process import serving
from stand_in import StandIn

from landbridge.core.errors import DataError, StoreError
from landbridge.evaluation.impressions import complete_rows
from landbridge.serving.engine.messages import RecommendationList, Recommendations
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime import impressions as module
from landbridge.serving.runtime.impressions import ImpressionLog, files_in
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.settings import ServeSettings

MIB = 1 << 20


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files_in(folder) for line in file.read_text().splitlines()]


def answer(number: int, k: int = 3) -> Recommendations:
    items = tuple(RecommendationList("books", f"b{n}", None, 1 / (1 + n)) for n in range(k))
    return Recommendations(items, "model", True, "a" * 12, recommendation_id=f"r{number}")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    store = EventStore.open(str(tmp_path / "events.sqlite"))
    settings = ServeSettings(impressions=tmp_path / "log", poll=3600)
    with asking(create_app(StandIn(), settings, store)) as client:
        yield client


def test_every_list_is_logged_as_it_was_answered(client: Client, tmp_path: Path) -> None:
    first = client.post("/v1/recommend", {"domains": ["books"], "user": 17, "k": 2, "offset": 3}).json
    requests = [
        {"domains": ["movies"], "k": 1},
        {"domains": ["bookz"]},
        {"domains": ["books"], "user": "a", "k": 1},
    ]
    batch = client.post("/v1/recommend/batch", {"requests": requests, "partial": True}).json["answers"]
    client.app.state.impressions.close()
    rows = rows_in(tmp_path / "log")
    keys = "recommendation_id", "user", "domain", "item", "position"
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (first["recommendation_id"], "17", "books", first["items"][0]["item"], 4),
        (first["recommendation_id"], "17", "books", first["items"][1]["item"], 5),
        (batch[0]["recommendation_id"], None, "movies", batch[0]["items"][0]["item"], 1),
        (batch[2]["recommendation_id"], "a", "books", batch[2]["items"][0]["item"], 1),
    ]  # fmt: skip
    assert [row["propensity"] for row in rows] == [0.5, 0.5, 1, 1]
    assert len({row["recommendation_id"] for row in rows}) == 3
    assert set(rows[0]) == {
        "time", "recommendation_id", "user", "domain", "item", "position", "score", "propensity", "source",
        "model", "version", "run", "test", "share",
    }  # fmt: skip
    assert 'outcome="logged"} 4.0' in client.get("/metrics").body.decode()


def test_a_list_never_waits_and_what_finds_no_room_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hangs: lists go on, the queue stays within its bound."""
    goes_on, metrics = threading.Event(), Metrics()
    monkeypatch.setattr(module, "WAITING", 30)
    monkeypatch.setattr(ImpressionLog, "_append", lambda self, lines: goes_on.wait(30))
    log = ImpressionLog.open(tmp_path, metrics, MIB)
    started = time.monotonic()
    for number in range(1000):
        log.record("u", answer(number))
    assert time.monotonic() - started < 5
    assert log._queue.qsize() <= 10
    goes_on.set()
    log.close()
    text = metrics.text().decode()
    assert 'outcome="logged"} 30.0' in text
    assert 'outcome="dropped"} 2970.0' in text


def test_the_folder_is_bounded_and_keeps_the_latest(tmp_path: Path) -> None:
    log = ImpressionLog.open(tmp_path, Metrics(), MIB)
    for start in range(0, 8000, 500):
        for number in range(start, start + 500):
            log.record(f"user {number}", answer(number))
        while log._waiting:
            time.sleep(0.001)
    log.close()
    size = sum(file.stat().st_size for file in files_in(tmp_path))
    assert MIB / 2 < size <= MIB + 500 * 3 * 300  # one write may go beyond the end of a file
    assert len(files_in(tmp_path)) > 2
    users = [row["user"] for row in rows_in(tmp_path)]
    assert users[-1] == "user 7999"
    assert "user 0" not in users


def test_a_full_disk_loses_rows_and_no_list(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = client.app.state.impressions
    with monkeypatch.context() as full:
        full.setattr(
            log, "_append", lambda lines: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        assert client.post("/v1/recommend", {"domains": ["books"], "k": 2}).status == 200
        while log._waiting:
            time.sleep(0.001)
        assert (
            "Impressions are not logged: No space left on device." in client.get("/readyz").json["problems"]
        )
    client.post("/v1/recommend", {"domains": ["books"], "k": 2})
    while log._waiting:
        time.sleep(0.001)
    assert client.get("/readyz").json["problems"] == []
    assert len(rows_in(tmp_path / "log")) == 2


class Reluctant(FileIO):
    """A file of which one call writes a part of the bytes, and a full disk the next."""

    room = MIB

    def write(self, lines: Any) -> int:
        part = min(100, len(lines), Reluctant.room)
        if not part:
            raise OSError(28, "No space left on device")
        Reluctant.room -= part
        return super().write(lines[:part])


@pytest.mark.parametrize(("room", "rows"), [(MIB, 3), (250, 0)])
def test_a_short_write_leaves_whole_rows_or_none(
    room: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reluctant, "room", room)
    monkeypatch.setattr(module, "open", lambda file, mode, buffering: Reluctant(file, mode), raising=False)
    log = ImpressionLog.open(tmp_path, Metrics(), MIB)
    log.record("alice", answer(1))
    log.close()
    assert len(rows_in(tmp_path)) == rows
    assert (log.problem is None) == (rows > 0)


def test_a_line_without_its_end_is_not_read(tmp_path: Path) -> None:
    """It is being written, or its process was killed."""
    log = ImpressionLog.open(tmp_path, Metrics(), MIB)
    log.record("alice", answer(1))
    log.close()
    (file,) = files_in(tmp_path)
    whole = file.read_bytes()
    for cut, complete in ((1, 3), (len(whole) // 2, 4), (len(whole) - 1, 5)):
        file.write_bytes(whole + whole[:cut])
        assert complete_rows(tmp_path).height == complete
    file.write_bytes(whole[:50])
    with pytest.raises(DataError, match="There are no events"):
        complete_rows(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="give a folder"):
        ImpressionLog.open(tmp_path / "file", Metrics(), MIB)


def test_a_forgotten_user_leaves_the_log(client: Client, tmp_path: Path) -> None:
    for user in ("alice", "bob", "alice"):
        client.post("/v1/recommend", {"domains": ["books"], "user": user, "k": 2})
    client.delete("/v1/users/alice")
    client.post("/v1/recommend", {"domains": ["books"], "user": "alice", "k": 2})
    client.app.state.impressions.close()
    assert [row["user"] for row in rows_in(tmp_path / "log")] == ["bob", "bob", None, None]
    assert [file.suffix for file in (tmp_path / "log").iterdir() if "alice" in file.read_text()] == []


def test_ope_reads_what_a_server_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, store, log = save_run(tmp_path / "run"), tmp_path / "events.sqlite", tmp_path / "log"
    bought = 0
    with serving(run, "--events", store, "--impressions", log) as server:
        for user in [*range(20), None]:
            body = {"domains": ["books"], "user": user, "k": 5}
            listed = server.post(
                "/v1/recommend", {key: value for key, value in body.items() if value is not None}
            ).json
            if user is not None and user % 2:
                item, led = listed["items"][user % 5]["item"], listed["recommendation_id"]
                event = {"domain": "books", "item": item, "kind": "buy", "recommendation_id": led}
                stolen = {**event, "user": 999}  # another user's event says nothing of this list
                bought += 1
                assert server.post("/v1/events", {"user": user, "events": [event, stolen]}).status == 200
    words = ("ope", run, log, "--events", store, "--policy", "top-k", "-k", 5, "--json")
    status, said, _ = answered(capsys, *words)
    estimates = {row["estimate"]: row for row in map(json.loads, said.splitlines())}
    assert status == 0
    # the run itself would list the same: every showing weighs 1, and its reward is what was bought
    assert estimates["ips"]["events"] == 100
    assert estimates["ips"]["value"] == pytest.approx(bought / 100)
    assert estimates["snips"]["value"] == pytest.approx(bought / 100)
    status, said, _ = answered(capsys, *words, "--outcome", "like")
    assert {row["value"] for row in map(json.loads, said.splitlines())} == {0.0}
    status, _, err = answered(capsys, "ope", run, log, "--policy", "top-k")
    assert status == 2
    assert "--events" in err
    assert pl.read_ndjson(str(log / "*.jsonl"))["user"].null_count() == 5
