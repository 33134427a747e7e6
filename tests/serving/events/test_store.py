"""The event store in SQLite: what comes back, what is refused, what is erased, and what survives a kill."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.core.errors import DataError, MissingExtraError, StoreError
from landbridge.serving.engine.messages import Event
from landbridge.serving.events import database
from landbridge.serving.events.store import EventStore

BIG = 2**63 - 1
ids = st.integers(-BIG - 1, BIG) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: "\x00" not in text
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: "\x00" not in text)
times = st.none() | st.integers(-(10**11) + 1, 10**11 - 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    with closing(EventStore.open(str(path))) as opened:
        yield opened


@settings(max_examples=25)
@given(st.lists(st.tuples(ids, st.lists(st.builds(Event, names, ids, times), max_size=3)), max_size=6))
def test_events_come_back_as_they_were_given(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str | int, list[Event]]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "events.sqlite"
    kept: dict[str, list[Event]] = {}
    with closing(EventStore.open(str(path))) as store:
        for user, events in told:
            assert store.append(user, events) == len(events)
            mine = kept.setdefault(str(user), [])
            for event in events:
                if event.time is None or not any(same_event(event, other) for other in mine):
                    mine.append(event)
    with closing(EventStore.open(f"sqlite:///{path}")) as again:
        for key, events in kept.items():
            found = again.of(key)
            assert found == tuple(events)
            assert [type(event.item) for event in found] == [type(event.item) for event in events]
        assert again.counts()["events"] == sum(map(len, kept.values()))


def same_event(first: Event, second: Event) -> bool:
    return (first.domain, str(first.item), first.time) == (second.domain, str(second.item), second.time)


def test_an_event_that_is_sent_twice_is_stored_once(store: EventStore) -> None:
    """By its id or, without one, by its time: a client that had no answer sends it again."""
    for user in ("u", "v"):
        for _ in range(2):
            assert store.append(user, [Event("books", "a", 5), Event("books", "b", 5)]) == 2
            assert store.append(user, [Event("books", "a", None, "click-1")]) == 1
        assert [event.item for event in store.of(user)] == ["a", "b", "a"]
    assert (
        store.append("u", [Event("books", "a", 6), Event("films", "a", 5), Event("books", "a", 5, "x")]) == 3
    )
    assert store.append("u", [Event("books", "a")] * 2) == 2
    assert len(store.of("u")) == 8


def without_version_4(store: sqlite3.Connection) -> None:
    for column in ("weight", "recommendation_id"):
        store.execute(f"ALTER TABLE landbridge_events DROP COLUMN {column}")
    store.execute("DROP TABLE landbridge_items")
    store.execute("UPDATE landbridge_store SET version = 3")


def test_events_of_an_older_store_are_kept_and_later_ones_stored_once(path: Path) -> None:
    """Version 1 had no keys of events."""
    with closing(EventStore.open(str(path))) as store:
        store.append("u", [Event("books", "a", 5)])
    with closing(sqlite3.connect(path)) as other, other:
        without_version_4(other)
        other.execute("DROP INDEX landbridge_events_once")
        other.execute("ALTER TABLE landbridge_events DROP COLUMN event_key")
        other.execute("ALTER TABLE landbridge_events DROP COLUMN kind")
        other.execute("UPDATE landbridge_store SET version = 1")
    for _ in range(2):
        with closing(EventStore.open(str(path))) as store:
            store.append("u", [Event("books", "b", 6)])
            assert [event.item for event in store.of("u")] == ["a", "b"]


def test_a_store_of_version_2_takes_kinds(path: Path) -> None:
    """Opened twice, as after a kill: it is brought to the present version once."""
    with closing(EventStore.open(str(path))) as store:
        store.append("u", [Event("books", "a", 5)])
    with closing(sqlite3.connect(path)) as other, other:
        without_version_4(other)
        other.execute("ALTER TABLE landbridge_events DROP COLUMN kind")
        other.execute("UPDATE landbridge_store SET version = 2")
    for _ in range(2):
        with closing(EventStore.open(str(path))) as store:
            store.append("u", [Event("books", "a", 5, kind="dislike")])
            assert store.of("u") == (Event("books", "a", 5), Event("books", "a", 5, kind="dislike"))
            assert store.frame()["kind"].to_list() == [None, "dislike"]


def test_a_store_of_version_3_takes_weights_and_items(path: Path) -> None:
    with closing(EventStore.open(str(path))) as store:
        store.append("u", [Event("books", "a", 5)])
    with closing(sqlite3.connect(path)) as other, other:
        without_version_4(other)
    for _ in range(2):
        with closing(EventStore.open(str(path))) as store:
            store.append("u", [Event("books", "b", 5, weight=2.5, recommendation_id="r")])
            assert store.of("u") == (Event("books", "a", 5), Event("books", "b", 5, weight=2.5))
            assert store.frame()["weight"].to_list() == [None, 2.5]
            assert store.frame()["recommendation_id"].to_list() == [None, "r"]


def test_events_of_many_users_are_kept_in_one_transaction(store: EventStore) -> None:
    store.forget("gone")
    users = [*range(30), "gone", *range(30)]
    events = [(user, Event("books", number, id=f"e{number % 31}")) for number, user in enumerate(users)]
    assert store.append_all(events) == 60  # of them 30 are kept twice: an id counts once for each user
    assert store.counts() == {"events": 30, "users": 30, "forgotten": 1}
    assert store.of(7) == (Event("books", 7),)
    wrong = [*((f"u{number}", Event("books", number)) for number in range(5)), ("u", Event("", "a"))]
    with pytest.raises(DataError):
        store.append_all(wrong)
    assert store.counts()["events"] == 30


def test_users_to_be_forgotten_are_found_among_any_number(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landbridge.serving.events.store.NAMED_AT_ONCE", 4)
    for user in (0, 13, 19):
        store.forget(user)
    assert store.append_all([(user, Event("books", "a")) for user in range(20)]) == 17


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(store: EventStore, weight: float) -> None:
    with pytest.raises(DataError, match="weight must be a number above 0"):
        store.append("u", [Event("books", "a", weight=weight)])


def test_one_event_is_deleted_and_leaves_no_trace(store: EventStore, path: Path) -> None:
    order = Event("books", "very-telling-order", 5, id="order-1")
    same = Event("books", "a", 5), Event("books", "a", 5, kind="buy"), Event("books", "a", 6)
    store.append("u", [order, *same])
    store.append("v", [order])
    assert store.delete("u", Event("", "", id="order-1")) == 1
    assert store.delete("u", Event("", "", id="order-1")) == 0
    assert store.delete("v", Event("", "", id="order-1")) == 1
    assert store.delete("u", Event("books", "a", 5, kind="buy")) == 1
    assert [(event.time, event.kind) for event in store.of("u")] == [(5, None), (6, None)]
    assert b"very-telling" not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    with pytest.raises(DataError, match="by its id"):
        store.delete("u", Event("books", "a"))


def test_to_buy_and_to_look_at_once_are_two_events(store: EventStore) -> None:
    events = [Event("books", "a", 5, kind=kind) for kind in ("view", "buy", "view", None)]
    assert store.append("u", events) == 4
    assert [event.kind for event in store.of("u")] == ["view", "buy", None]
    with pytest.raises(DataError, match="kind must be text"):
        store.append("u", [Event("books", "a", 6, kind="a\x00")])


def test_only_the_latest_events_are_read_on_demand(store: EventStore) -> None:
    store.append("u", [Event("books", number) for number in range(10)])
    assert [event.item for event in store.of("u", latest=3)] == [7, 8, 9]


def test_an_append_that_gave_up_is_not_stored(store: EventStore, path: Path) -> None:
    """Another process writes for long: what was answered with "nothing was stored" must stay so."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(2) as pool:
        other.execute("BEGIN IMMEDIATE")
        waiting = [pool.submit(store.append, user, [Event("books", "a")], 0.2) for user in ("u", "v")]
        time.sleep(0.6)
        other.execute("COMMIT")
        for one in waiting:
            with pytest.raises(StoreError, match="nothing was stored"):
                one.result()
    assert store.counts()["events"] == 0
    assert store.append("u", [Event("books", "a")]) == 1


def test_nothing_is_acknowledged_that_cannot_be_found_again(store: EventStore, path: Path) -> None:
    """The file is moved away, and later another one, or the same, is put in its place."""
    store.append("u", [Event("books", "a")])
    moved = path.with_name("moved.sqlite")
    path.rename(moved)
    with pytest.raises(StoreError, match=r"events\.sqlite is gone"):
        store.append("u", [Event("books", "b")])
    with pytest.raises(StoreError, match=r"events\.sqlite is gone"):
        store.of("u")
    assert not path.exists()
    moved.rename(path)
    assert store.append("u", [Event("books", "c")]) == 1
    assert [event.item for event in store.of("u")] == ["a", "c"]
    for file in path.parent.iterdir():
        file.unlink()
    EventStore.open(str(path)).close()
    assert store.append("u", [Event("books", "d")]) == 1
    with closing(EventStore.open(str(path))) as again:
        assert [event.item for event in again.of("u")] == ["d"]


SECRET = "s3cret/p:w"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u@127.0.0.1:1/db?password={SECRET}&connect_timeout=1",
        f"postgresql://u@127.0.0.1:1/db?connect_timeout=1&sslpassword={SECRET}",
        f"postgresql://u:{SECRET.replace('/', '%2F')}@127.0.0.1:1/db?connect_timeout=1",
        f"postgresql://u:{SECRET}@127.0.0.1:1/db?connect_timeout=1",
        f"postgres://127.0.0.1:1/db?user=u&PASSWORD={SECRET}&connect_timeout=1",
        f"mysql://u:{SECRET}@h/db",
        f"host=127.0.0.1 port=1 password={SECRET}",
        f"host=127.0.0.1 port=1 password='{SECRET} x'",
        f"host=127.0.0.1 port=1 password = {SECRET}",
        f"postgresql://u:x@{SECRET}@127.0.0.1:1/db",
        f"u:{SECRET}@127.0.0.1/db",
        f"postgresql:/u:{SECRET}@127.0.0.1/db",
    ],
)
def test_no_password_is_repeated_in_a_message(url: str) -> None:
    with pytest.raises((StoreError, MissingExtraError)) as refused:
        EventStore.open(url)
    message = str(refused.value)
    assert not any(part in message for part in ("s3cret", "p:w", "%2Fp"))


def test_forgetting_an_unknown_user_leaves_nothing(store: EventStore) -> None:
    """Ids that neither the store nor the model knows would fill a table that every server reads."""
    assert store.forget("never seen", known=False) == 0
    assert store.forgotten() == frozenset()
    store.append("u", [Event("books", "a")])
    assert store.forget("u", known=False) == 1
    assert store.forget("only in the model", known=True) == 0
    assert store.forgotten() == {"u", "only in the model"}


def test_a_whole_number_and_its_text_are_one_user(store: EventStore) -> None:
    store.append(17, [Event("books", "a")])
    store.append("17", [Event("books", "b")])
    assert [event.item for event in store.of("17")] == [event.item for event in store.of(17)] == ["a", "b"]
    assert store.of("017") == ()
    assert store.forget("17") == 2
    assert {17, "17"} == store.forgotten()


def test_the_frame_has_all_events_in_their_order(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landbridge.serving.events.store.READ_AT_ONCE", 3)
    assert store.frame().schema == {
        "user": pl.String, "domain": pl.String, "item": pl.String, "timestamp": pl.Int64, "kind": pl.String,
        "weight": pl.Float64, "recommendation_id": pl.String
    }  # fmt: skip
    before = int(time.time())
    for number in range(7):
        store.append(number % 2, [Event("books", number, 100 - number)])
    assert store.frame()["item"].to_list() == list(range(7))
    store.append(9, [Event("films", "x"), Event("films", 8)])
    frame = store.frame()
    assert frame["user"].to_list() == [0, 1, 0, 1, 0, 1, 0, 9, 9]
    assert frame["item"].to_list() == [*map(str, range(7)), "x", "8"]
    assert frame["timestamp"].to_list()[:7] == list(range(100, 93, -1))
    assert before <= frame["timestamp"].to_list()[7] <= time.time()


def test_events_since_a_moment(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in (10, 20, 30):
        monkeypatch.setattr("landbridge.serving.events.store.time.time", lambda moment=moment: moment + 0.9)
        store.append("u", [Event("books", moment, 0)])
    assert [event.item for event in store.of("u", since=20)] == [20, 30]


@pytest.mark.parametrize(
    ("user", "event"),
    [
        ("", Event("books", "a")),
        (True, Event("books", "a")),
        (1.0, Event("books", "a")),
        (2**63, Event("books", "a")),
        ("u", Event("", "a")),
        ("u", Event("books", None)),
        ("u", Event("books", "a\x00")),
        ("u", Event("books", "\ud800")),
        ("u", Event("books", "a", 1_700_000_000_000)),
        ("u", Event("books", "a", 1.5)),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_of_it_kept(
    store: EventStore, user: Any, event: Event
) -> None:
    with pytest.raises(DataError):
        store.append(user, [Event("books", "good"), event])
    assert store.counts()["events"] == 0


def test_forgetting_erases_events_and_refuses_new_ones(store: EventStore, path: Path) -> None:
    store.append("alice", [Event("books", f"very-telling-{n}") for n in range(300)])
    store.append("bob", [Event("books", "harmless")])
    assert store.forget("alice") == 300
    assert store.forget("alice") == 0
    assert store.of("alice") == ()
    assert store.append("alice", [Event("books", "late")]) == 0
    assert store.counts() == {"events": 1, "users": 1, "forgotten": 1}
    bytes_on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"very-telling" not in bytes_on_disk
    assert b"harmless" in bytes_on_disk


def test_the_released_are_strangers_again_and_leave_no_name(store: EventStore, path: Path) -> None:
    for user in ("telltale", "carol"):
        store.append(user, [Event("books", "a")])
        store.forget(user)
    store.release({"telltale", "never seen"})
    assert store.forgotten() == {"carol"}
    assert b"telltale" not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert store.append("telltale", [Event("books", "a")]) == 1


def test_a_number_is_never_given_twice(store: EventStore) -> None:
    """A reader that goes on after the last number it saw misses nothing."""
    store.append("u", [Event("books", "a")])
    store.forget("u")
    store.append("v", [Event("books", "b")])
    assert [row[0] for rows in store._parts() for row in rows] == [2]


def test_every_connection_is_durable(store: EventStore) -> None:
    """A power cut cannot be played here; these settings are what SQLite promises durability for."""
    with database.writing(store._engine) as writer, database.reading(store._engine) as reader:
        for connection in (writer, reader):
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_threads_that_append_at_once_share_a_transaction(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions, together = [], Barrier(8)
    real = database.writing

    def counted(*arguments: Any, **named: Any) -> Any:
        transactions.append(1)
        return real(*arguments, **named)

    def append(user: int) -> int:
        together.wait()
        return sum(store.append(user, [Event("books", n)]) for n in range(20))

    monkeypatch.setattr(database, "writing", counted)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(append, range(8))) == [20] * 8
    assert len(transactions) < 160
    assert all([event.item for event in store.of(user)] == list(range(20)) for user in range(8))


def test_a_failed_transaction_acknowledges_nothing_and_the_next_one_works(
    store: EventStore, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON landbridge_events "
                      "BEGIN SELECT RAISE(ABORT, 'disk is full'); END")  # fmt: skip
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(store.append, user, [Event("books", "a")]) for user in range(4)]
        assert all("disk is full" in str(one.exception()) for one in waiting)
        assert all(isinstance(one.exception(), StoreError) for one in waiting)
        other.execute("DROP TRIGGER full")
    assert store.append("u", [Event("books", "a")]) == 1
    assert store.counts()["events"] == 1


def test_two_processes_share_a_store(store: EventStore, path: Path) -> None:
    with closing(EventStore.open(str(path))) as other:
        other.forget("u")
        assert store.append("u", [Event("books", "a")]) == 0
        assert store.append("v", [Event("books", "a")]) == 1
        assert other.of("v") == (Event("books", "a"),)


def test_many_open_a_new_store_at_once(path: Path) -> None:
    together = Barrier(8)

    def opened(_: int) -> int:
        together.wait()
        with closing(EventStore.open(str(path))) as store:
            return store.append("u", [Event("books", "a")])

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(opened, range(8))) == 8


def test_foreign_newer_and_missing_stores_are_refused_untouched(tmp_path: Path) -> None:
    foreign, newer, text = (tmp_path / name for name in ("foreign.sqlite", "newer.sqlite", "events.csv"))
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE orders (id INTEGER)")
    EventStore.open(str(newer)).close()
    with closing(sqlite3.connect(newer)) as other, other:
        other.execute("UPDATE landbridge_store SET version = 5")
    text.write_text("user,item\n" * 100)
    for path, why in ((foreign, "other tables"), (newer, "version 5"), (text, "not a database")):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=why):
            EventStore.open(str(path))
        assert path.read_bytes() == before
    with pytest.raises(StoreError, match="There is no folder"):
        EventStore.open(str(tmp_path / "none" / "events.sqlite"))
    with pytest.raises(StoreError, match="There is no event store"):
        EventStore.existing(str(tmp_path / "typo.sqlite"))
    assert not (tmp_path / "typo.sqlite").exists()


@pytest.mark.parametrize(
    "url", ["mysql://me@host/name", "sqlite://", "sqlite:///:memory:", "postgresql://a:b:c"]
)
def test_impossible_addresses_are_refused(url: str) -> None:
    with pytest.raises(StoreError):
        EventStore.open(url)


APPENDER = """
import os, sys
from threading import Thread
from landbridge.serving.events.store import EventStore
from landbridge.serving.engine.messages import Event

store, begin = EventStore.open(sys.argv[1]), int(sys.argv[2])

def append(thread):
    number = begin + thread
    while True:
        store.append(f"user {thread}", [Event("books", number)])
        os.write(1, b"%d\\n" % number)
        number += 4

for thread in range(4):
    Thread(target=append, args=[thread]).start()
"""


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_loses_nothing_acknowledged(path: Path, kills: int) -> None:
    moments = random.Random(kills)
    acknowledged: list[int] = []
    for kill in range(kills):
        acknowledged += killed(path, begin=kill * 1_000_000, after=moments.uniform(0.0, 0.15))
    with closing(EventStore.open(str(path))) as store:
        kept = store.frame()["item"]
        assert set(acknowledged) <= set(kept)
        assert kept.is_unique().all()
        assert len(acknowledged) > kills
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def killed(path: Path, begin: int, after: float) -> list[int]:
    """Numbers that a process appended and acknowledged before it was killed, some time after the first."""
    command = [sys.executable, "-c", APPENDER, str(path), str(begin)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        said = first + process.stdout.read()
    return [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]
