"""The event store in PostgreSQL: a server of Debian's packages, started here on a port of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from threading import Event as Signal

import pytest
import sqlalchemy as sa
from postgres_server import PASSWORD, Server, bare, postgres

from landbridge.core.errors import StoreError
from landbridge.serving.engine.messages import Event
from landbridge.serving.events import database
from landbridge.serving.events.store import EventStore


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield running


@pytest.fixture
def url(server: Server) -> str:
    return server.empty_schema()


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    with closing(EventStore.open(url)) as opened:
        yield opened


def test_events_come_back_as_they_were_given(store: EventStore, url: str) -> None:
    told = [Event("books", 17), Event("films/tv", "17", -5), Event("büchér", "é'\"\\ %s", 10**10)]
    assert store.append("aliçe", told) == 3
    assert store.append(2**63 - 1, [Event("books", -(2**63))]) == 1
    with closing(EventStore.open(url)) as again:
        assert again.of("aliçe") == tuple(told)
        assert [type(event.item) for event in again.of("aliçe")] == [int, str, str]
        assert again.of(str(2**63 - 1)) == (Event("books", -(2**63)),)
        frame = again.frame()
        assert frame["user"].to_list() == ["aliçe"] * 3 + [str(2**63 - 1)]
        assert frame["item"].to_list() == ["17", "17", "é'\"\\ %s", str(-(2**63))]
        assert again.counts() == {"events": 4, "users": 2, "forgotten": 0}


def test_forgetting_and_releasing(store: EventStore) -> None:
    store.append(17, [Event("books", "a"), Event("books", "b")])
    store.append("bob", [Event("books", "a")])
    assert store.forget("17") == 2
    assert store.forget(17) == 0
    assert store.forgotten() == {17, "17"}
    assert store.append(17, [Event("books", "a")]) == 0
    assert store.of(17) == ()
    store.release(store.forgotten())
    assert store.forgotten() == frozenset()
    assert store.append(17, [Event("books", "a")]) == 1


def test_threads_and_processes_append_at_once(store: EventStore, url: str) -> None:
    together = Barrier(8)

    def append(opened: EventStore, user: int) -> int:
        together.wait()
        return sum(opened.append(user, [Event("books", n)]) for n in range(20))

    with closing(EventStore.open(url)) as other, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(append, [store, other] * 4, range(8))) == [20] * 8
    assert all([event.item for event in store.of(user)] == list(range(20)) for user in range(8))


def test_many_open_a_new_store_at_once(url: str) -> None:
    together = Barrier(6)

    def opened(_: int) -> int:
        together.wait()
        with closing(EventStore.open(url)) as store:
            return store.append("u", [Event("books", "a")])

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(opened, range(6))) == 6


def test_no_event_slips_in_while_its_user_is_forgotten(store: EventStore, url: str) -> None:
    """An append that has looked before, and writes after, would leave an event of a forgotten user."""
    looked = Signal()
    with closing(EventStore.open(url)) as other, ThreadPoolExecutor(1) as pool:
        with database.writing(store._engine) as appending:
            gone = appending.execute(sa.select(database.FORGOTTEN.c.user_id)).all()
            assert gone == []
            forgetting = pool.submit(other.forget, "u")
            looked.wait(0.3)  # the forgetting must wait for the appending
            assert not forgetting.done()
            row = {"user_id": "u", "user_whole": False, "domain": "d", "item_id": "i", "item_whole": False}
            appending.execute(sa.insert(database.EVENTS).values(**row, received=0))
        assert forgetting.result(timeout=10) == 1
    assert store.of("u") == ()


def test_what_is_acknowledged_survives_the_server(store: EventStore, server: Server) -> None:
    kept = sum(store.append("u", [Event("books", n)]) for n in range(50))
    server.stop("immediate")  # as if it were killed: it recovers from its log
    server.start()
    assert [event.item for event in store.of("u")] == list(range(kept))


def test_a_server_that_comes_back_is_found_again(store: EventStore, server: Server) -> None:
    store.append("u", [Event("books", "before")])
    server.stop("fast")
    server.start()
    assert store.append("u", [Event("books", "behind its back")]) == 1
    server.stop("fast")
    try:
        with pytest.raises(StoreError, match="fails"):
            store.append("u", [Event("books", "lost")])
    finally:
        server.start()
    assert store.append("u", [Event("books", "after")]) == 1
    assert [event.item for event in store.of("u")] == ["before", "behind its back", "after"]


APPENDER = """
import sys
from landbridge.serving.events.store import EventStore
from landbridge.serving.engine.messages import Event

store, number = EventStore.open(sys.argv[1]), 0
while True:
    store.append("u", [Event("books", number)])
    print(number, flush=True)
    number += 1
"""


def test_a_killed_process_loses_nothing_acknowledged(store: EventStore, url: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", APPENDER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20)]
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
    acknowledged = sum(line.endswith("\n") for line in lines)
    assert acknowledged >= 20
    assert len(store.of("u")) >= acknowledged


def test_foreign_newer_and_unreachable_stores_are_refused_without_the_password(
    url: str, server: Server
) -> None:
    engine = bare(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id int)")
    refused(url, "other tables")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE orders")
    EventStore.open(url).close()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE landbridge_store SET version = 5")
    refused(url, "version 5")
    refused(server.url("nowhere"), "does not exist")
    refused(url.replace("keeper", "stranger"), "authentication failed")
    refused(url.replace(str(server.port), "1"), "refused")


def refused(url: str, why: str) -> None:
    with pytest.raises(StoreError, match=why) as error:
        EventStore.open(url)
    assert PASSWORD not in str(error.value)
    assert "\n" not in str(error.value)
