"""A stopped server ends within its time limit, whatever its event store does."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from postgres_server import bare, postgres
from served_runs import save_run
from serving_process import Server, serving

from landbridge.serving.events.history import CLOSING
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.middleware import RequestMiddleware
from landbridge.serving.runtime import impressions
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.server import FAREWELL
from landbridge.serving.runtime.settings import ServeSettings

BODY = {"domains": ["books"], "user": 3, "k": 3}
SLACK = 10.0  # seconds, for a busy machine; in all less than SQLite's patience

Trouble = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("shutdown") / "run")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Trouble]]:
    """The URL of a store, and what makes each of its calls hang in the middle."""
    if request.param == "sqlite":
        path = tmp_path / "events.sqlite"
        yield str(path), lambda: locked_file(path)
        return
    with postgres() as database:
        url = database.empty_schema()
        yield url, lambda: locked_table(url)


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Another process writes and does not end; SQLite waits for it longer than the server may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def locked_table(url: str) -> Iterator[None]:
    """Reading and writing wait for good."""
    with bare(url).begin() as other:
        other.exec_driver_sql("LOCK TABLE landbridge_events IN ACCESS EXCLUSIVE MODE")
        yield


def write(server: Server, number: int) -> int:
    """The status of the answer to one more event of a user."""
    return server.post("/v1/events", {"user": "u", "events": [{"domain": "books", "item": number}]}).status


def stop(server: Server, number: int) -> float:
    """Seconds until the process has ended after a signal; TimeoutExpired where it has not in time."""
    began = time.monotonic()
    server.process.send_signal(number)
    server.process.wait(FAREWELL + CLOSING + SLACK)
    return time.monotonic() - began


def kept(url: str) -> list[object]:
    with closing(EventStore.open(url)) as store:
        return [event.item for event in store.of("u")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "interrupted"])
def test_a_server_ends_while_its_store_hangs(
    run: Path, store: tuple[str, Trouble], number: signal.Signals
) -> None:
    """The request has been answered, but its thread still waits for the database."""
    url, trouble = store
    with serving(run, "--events", url, "--timeout", 1) as server:
        assert [write(server, item) for item in range(3)] == [200] * 3
        with trouble():
            assert write(server, 3) == 503
            assert server.post("/v1/recommend", BODY).status == 200
            stop(server, number)
    assert server.process.returncode in (0, -number)
    assert kept(url) == [0, 1, 2]


def test_several_workers_end_while_their_store_hangs(run: Path, store: tuple[str, Trouble]) -> None:
    url, trouble = store
    with serving(run, "--events", url, "--timeout", 1, "--workers", 2) as server:
        while not answers(server):
            time.sleep(0.1)
        with trouble():
            assert [write(server, item) for item in range(4)] == [503] * 4
            stop(server, signal.SIGTERM)
    assert kept(url) == []


def answers(server: Server) -> bool:
    try:
        return server.get("/healthz").status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_requests_in_flight_have_the_documented_time_to_end(run: Path, store: tuple[str, Trouble]) -> None:
    """Who would wait longer is told to try again; what is acknowledged until then is kept."""
    url, trouble = store
    statuses: list[int] = []

    def client() -> None:
        while not statuses or statuses[-1] == 200:
            statuses.append(write(server, len(statuses)))

    with serving(run, "--events", url, "--timeout", 60) as server:
        writer = Thread(target=client)
        writer.start()
        while len(statuses) < 20:
            time.sleep(0.01)
        with trouble():
            time.sleep(1)
            assert stop(server, signal.SIGTERM) > FAREWELL
            writer.join()
    assert statuses.pop() == 503
    assert kept(url) == [*range(len(statuses))]
    assert "Exception in ASGI application" not in str(server.lines)


def test_a_request_that_is_cut_off_is_answered_with_one_sentence() -> None:
    sent: list[Any] = []

    async def wait_for_good(*_: object) -> None:
        await asyncio.Event().wait()

    async def keep(message: Any) -> None:
        sent.append(message)

    async def play() -> None:
        middleware = RequestMiddleware(wait_for_good, ServeSettings(), Metrics())
        request = asyncio.create_task(
            middleware({"type": "http", "method": "GET", "headers": []}, wait_for_good, keep)
        )
        await asyncio.sleep(0.01)
        request.cancel()
        await request

    asyncio.run(play())
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"] == "The server stops; try again."


def test_the_documentation_says_how_long_a_stop_takes() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "serving.md").read_text().split())
    assert f"requests that it is answering have {FAREWELL} seconds" in text
    assert f"the event store has {CLOSING:g} seconds to end its calls" in text
    assert f"impressions that wait have {impressions.CLOSING:g} seconds to be written" in text
