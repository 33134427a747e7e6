"""Two servers of one run behind one PostgreSQL event store: what one learns counts at the other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException
from itertools import count, cycle
from threading import Thread
from typing import Any

import pytest
from postgres_server import postgres
from served_runs import save_run
from serving_process import Server, serving

from landbridge.serving.events.store import EventStore

POLL = 0.1  # seconds
SOON = 30  # seconds, on a busy machine


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server, str]]:
    """Two servers and the URL of their store."""
    run = save_run(tmp_path_factory.mktemp("fleet") / "run")
    with postgres() as database:
        words = ("--events", database.url(), "--poll", POLL)
        with serving(run, *words) as first, serving(run, *words) as second:
            yield first, second, database.url()


def listed(server: Server, user: object, k: int = 40) -> dict[str, Any]:
    """A user's list of books, without what differs from answer to answer."""
    reply = server.post("/v1/recommend", {"domains": ["books"], "user": user, "k": k})
    assert reply.status == 200
    return {name: value for name, value in reply.json.items() if name != "recommendation_id"}


def soon(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until
        time.sleep(POLL)


def deleted(server: Server, path: str) -> Any:
    with server.connection() as connection:
        return server.ask("DELETE", path, None, connection).json


def test_an_event_sent_to_one_counts_at_the_other(fleet: tuple[Server, Server, str]) -> None:
    first, second, url = fleet
    before = listed(second, "zoe")
    assert (before["source"], before["known"]) == ("fallback", False)
    item = before["items"][0]["item"]
    event = {"domain": "books", "item": item, "time": 1_700_000_000}
    assert first.post("/v1/events", {"user": "zoe", "events": [event]}).json == {"stored": 1}
    after = listed(second, "zoe")
    assert (after["source"], after["degraded"]) == ("model", False)
    assert item not in {entry["item"] for entry in after["items"]}
    assert after == listed(first, "zoe")
    # sent again, to the other server, it is the same event
    assert second.post("/v1/events", {"user": "zoe", "events": [event]}).status == 200
    with closing(EventStore.open(url)) as store:
        assert [each.item for each in store.of("zoe")] == [item]
    named = f"user=zoe&domain=books&item={item}&time=1700000000"
    assert deleted(second, f"/v1/events?{named}") == {"deleted": 1}
    assert listed(first, "zoe") == before


def test_a_user_forgotten_at_one_is_forgotten_at_the_other(fleet: tuple[Server, Server, str]) -> None:
    first, second, _ = fleet
    assert listed(second, 3)["known"]
    assert first.post("/v1/events", {"user": 3, "events": [{"domain": "books", "item": 1}]}).status == 200
    assert deleted(first, "/v1/users/3") == {"forgotten": 1}
    # no server keeps an event of this user from now on, and every server learns the rest by its next look
    assert second.post("/v1/events", {"user": 3, "events": [{"domain": "books", "item": 2}]}).json == {
        "stored": 0
    }
    soon(lambda: not listed(second, 3)["known"])
    assert listed(second, 3) == listed(first, 3)


def test_what_is_said_of_an_item_at_one_holds_at_the_other(fleet: tuple[Server, Server, str]) -> None:
    first, second, _ = fleet
    item = listed(second, 5)["items"][0]["item"]
    said = b'{"items": [{"domain": "books", "item": %d, "values": {"hidden": true}}]}' % item
    with first.connection() as connection:
        assert first.ask("PATCH", "/v1/items", said, connection).status == 200
    soon(lambda: item not in {entry["item"] for entry in listed(second, 5)["items"]})
    assert listed(second, 5) == listed(first, 5)


def test_a_killed_server_loses_nothing(fleet: tuple[Server, Server, str]) -> None:
    """Clients send in turn to both; what a server leaves unanswered goes to the next, and is stored once."""
    first, second, url = fleet
    acknowledged: list[tuple[str, int]] = []
    stopping: list[bool] = []

    def send(user: str) -> None:
        turns = cycle((first, second))
        for item in count():
            body = {"user": user, "events": [{"domain": "books", "item": item, "id": f"order-{item}"}]}
            while True:
                try:
                    reply = next(turns).post("/v1/events", body)
                    break
                except (OSError, HTTPException):
                    continue
            assert reply.status == 200
            acknowledged.append((user, item))
            if stopping:
                return

    clients = [Thread(target=send, args=(f"client-{number}",)) for number in range(4)]
    for client in clients:
        client.start()
    soon(lambda: len(acknowledged) >= 40)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    later = len(acknowledged) + 40
    soon(lambda: len(acknowledged) >= later)
    stopping.append(True)
    for client in clients:
        client.join()
    with closing(EventStore.open(url)) as store:
        kept = [
            (f"client-{number}", event.item) for number in range(4) for event in store.of(f"client-{number}")
        ]
    assert sorted(kept) == sorted(acknowledged)
    assert listed(second, "client-0")["source"] == "model"
    assert second.get("/readyz").json["problems"] == []
