"""Events, kept so that an acknowledged event is never lost: appended, read, and deleted on demand.

An append is acknowledged when its transaction is on disk, so it survives a killed process and a power cut.
Threads that append at once share a transaction: the first to get the lock commits what all of them
brought.

17 and "17" are the same user, as they are in a vocabulary; an item's id comes back as it was given.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from landbridge.core.errors import DataError, MissingExtraError, StoreError
from landbridge.core.types import Record
from landbridge.data.item_patches import NO_PATCHES, ItemPatches

try:
    import sqlalchemy as sa
except ModuleNotFoundError:
    raise MissingExtraError("An event store needs SQLAlchemy: pip install 'landbridge[serve]'.") from None

from landbridge.serving.engine.messages import Event, whole_seconds
from landbridge.serving.events import database
from landbridge.serving.events.database import EVENTS, FORGOTTEN, ITEMS

if TYPE_CHECKING:
    import polars as pl

BUSY = "The event store is busy with another process, and nothing was stored; try again."
UNNAMED = "Name the event by its id, or by its domain, item and time, and kind if it has one."
READ_AT_ONCE = 100_000  # events
NAMED_AT_ONCE = 10_000  # users; a statement takes 32,766 parameters, and fewer in some databases
INT64 = np.iinfo(np.int64)
UNKEPT = re.compile(r"[\x00\ud800-\udfff]")  # no database keeps a null character or half of one
OF_USER = (
    sa.select(
        EVENTS.c.domain, EVENTS.c.item_id, EVENTS.c.item_whole, EVENTS.c.time, EVENTS.c.kind, EVENTS.c.weight
    )
    .where(EVENTS.c.user_id == sa.bindparam("key"), EVENTS.c.received >= sa.bindparam("since"))
    .order_by(EVENTS.c.number.desc())
)


class EventStore:
    """Events in a database; open it with :meth:`open`. Any thread may call any method."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = Lock()
        self._waiting: deque[_Append] = deque()

    @classmethod
    def open(cls, url: str) -> EventStore:
        """The store in a SQLite file (its path, or sqlite:///path) or at a postgresql:// URL.

        An empty place becomes a store. StoreError where it cannot be reached, is foreign or newer.
        """
        engine = database.engine_of(database.address_of(url))
        try:
            database.prepare(engine)
            database.write_ahead(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @classmethod
    def existing(cls, url: str) -> EventStore:
        """As :meth:`open`, but a SQLite file must be there already."""
        address = database.address_of(url)
        if address.drivername == "sqlite" and not Path(str(address.database)).is_file():
            raise StoreError(f"There is no event store {address.database}; check the path.")
        return cls.open(url)

    def append(self, user: str | int, events: Sequence[Event], within: float = database.PATIENCE) -> int:
        """Keep the events of one user, in their order; returns how many of them are now on disk.

        An event with the id, or else with the domain, item, time and kind, of a previous one of the user is
        that event, and not kept again. None is kept of a user to be forgotten. DataError for an id, name or
        time that cannot be kept, StoreError where the database fails or is busy for ``within`` seconds; then
        none is kept.
        """
        return self.append_all([(user, event) for event in events], within)

    def append_all(self, events: Sequence[tuple[str | int, Event]], within: float = database.PATIENCE) -> int:
        """As :meth:`append` for the events of many users, each with its user: all are kept, or none."""
        if not events:
            return 0
        # checked before it waits: a bad event must not fail the transaction of others
        mine = _Append.of(events, time.monotonic() + within)
        self._waiting.append(mine)
        # Group commit: who gets the lock writes for all that wait, in one transaction; the others then find
        # their result ready.
        if self._writer.acquire(timeout=within):
            try:
                if not mine.stored.done():
                    self._commit()
            finally:
                self._writer.release()
        elif mine.stored.cancel():
            with suppress(ValueError):  # a transaction has just left it out
                self._waiting.remove(mine)
            raise StoreError(BUSY)
        return mine.stored.result()

    def of(self, user: str | int, since: int = 0, latest: int | None = None) -> tuple[Event, ...]:
        """A user's events in the order they came, received at second ``since`` or later; of many only the
        ``latest``."""
        with database.reading(self._engine) as connection:
            rows = connection.execute(OF_USER.limit(latest), {"key": _key(user), "since": since}).all()
        return tuple(
            Event(domain, int(item) if whole else item, seconds, kind=kind, weight=weight)
            for domain, item, whole, seconds, kind, weight in reversed(rows)
        )

    def delete(self, user: str | int, event: Event) -> int:
        """Delete one event of a user, named as :meth:`append` recognises it again; returns how many there
        were, 1 or 0. DataError where it has neither an id nor a time."""
        key, event_key = _key(user), _event_key(event)
        if event_key is None:
            raise DataError(UNNAMED)
        named = (EVENTS.c.user_id == key) & (EVENTS.c.event_key == event_key)
        with self._writer, database.writing(self._engine) as connection:
            deleted = connection.execute(sa.delete(EVENTS).where(named)).rowcount
        database.empty_log(self._engine)
        return int(deleted)

    def forget(self, user: str | int, known: bool = True) -> int:
        """Delete a user's events for good; returns how many.

        The user is in ``forgotten`` from now on, unless the store has no event of them and no model may know
        them (``known``): then there is nothing to forget.
        """
        key = _key(user)
        with self._writer, database.writing(self._engine, alone=True) as connection:
            deleted = connection.execute(sa.delete(EVENTS).where(EVENTS.c.user_id == key)).rowcount
            if (deleted or known) and not _forgotten(connection, {key}):
                connection.execute(sa.insert(FORGOTTEN).values(user_id=key))
        database.empty_log(self._engine)
        return int(deleted)

    def forgotten(self) -> frozenset[str | int]:
        """Who is to be forgotten, until :meth:`release`; a whole number in both spellings, 17 and "17"."""
        with database.reading(self._engine) as connection:
            keys = set(connection.execute(sa.select(FORGOTTEN.c.user_id)).scalars())
        return frozenset(keys | {int(key) for key in keys if _is_whole(key)})

    def release(self, users: Collection[str | int]) -> None:
        """No longer remember these users as to be forgotten: nothing holds their events any more."""
        if users:
            with self._writer, database.writing(self._engine) as connection:
                user_events = FORGOTTEN.c.user_id == sa.bindparam("key")
                connection.execute(
                    sa.delete(FORGOTTEN).where(user_events), [{"key": _key(user)} for user in users]
                )
            database.empty_log(self._engine)

    def frame(self) -> pl.DataFrame:
        """All events in the order they came: user, domain, item, timestamp (or when received), kind, weight,
        recommendation_id.

        Ids are Int64 where every one was given as a whole number, else String.
        """
        import polars as pl

        schema = {"number": pl.Int64, "user": pl.String, "domain": pl.String, "item": pl.String}
        schema |= {
            "timestamp": pl.Int64,
            "kind": pl.String,
            "weight": pl.Float64,
            "recommendation_id": pl.String,
            "user_whole": pl.Boolean,
            "item_whole": pl.Boolean,
        }
        parts = [
            pl.DataFrame([], schema),
            *(pl.DataFrame(rows, schema, orient="row") for rows in self._parts()),
        ]
        table = pl.concat(parts)
        own = "timestamp", "kind", "weight", "recommendation_id"
        return table.select(_ids(table, "user"), "domain", _ids(table, "item"), *own)

    def patch_items(self, rows: Sequence[tuple[str, str | int, str, str]]) -> None:
        """Keep what is said of items: domain, item, column and value as JSON, null to take it back."""
        said = [
            {
                "domain": _text(domain, "domain's name"),
                "item_id": _key(item, "item's id"),
                "name": _text(column, "column"),
                "value": value,
            }
            for domain, item, column, value in rows
        ]
        # alone: a reader that has seen a revision has seen all before it
        with self._writer, database.writing(self._engine, alone=True) as connection:
            latest = connection.execute(sa.select(sa.func.max(ITEMS.c.revision))).scalar() or 0
            database.upsert_items(connection, [{**row, "revision": latest + 1} for row in said])

    def item_patches(self, known: ItemPatches = NO_PATCHES) -> ItemPatches:
        """All that was said of items; ``known``: what was read before, which is returned where it is all."""
        columns = ITEMS.c.domain, ITEMS.c.item_id, ITEMS.c.name, ITEMS.c.value, ITEMS.c.revision
        query = sa.select(*columns).where(ITEMS.c.revision > known.revision).order_by(ITEMS.c.revision)
        with database.reading(self._engine) as connection:
            rows = connection.execute(query).all()
        if not rows:
            return known
        return known.updated([tuple(row[:4]) for row in rows], rows[-1].revision)

    def counts(self) -> dict[str, int]:
        """How many events there are, of how many users, and how many users are to be forgotten."""
        n_users = sa.func.count(sa.distinct(EVENTS.c.user_id))
        with database.reading(self._engine) as connection:
            events, users = connection.execute(sa.select(sa.func.count(), n_users).select_from(EVENTS)).one()
            gone = connection.execute(sa.select(sa.func.count()).select_from(FORGOTTEN)).scalar_one()
        return {"events": events, "users": users, "forgotten": gone}

    def close(self) -> None:
        """Let go of the database."""
        with self._writer:
            self._engine.dispose()

    def _commit(self) -> None:
        """One transaction for all that wait."""
        batch: list[_Append] = []
        try:
            with database.writing(self._engine) as connection:
                # only now: what was given up while another process wrote must not be stored
                batch = self._claimed()
                gone = _forgotten(connection, {row["user_id"] for each in batch for row in each.rows})
                kept = [[row for row in each.rows if row["user_id"] not in gone] for each in batch]
                if any(kept):
                    database.insert_once(connection, [*chain.from_iterable(kept)])
        except BaseException as error:  # the others wait for it
            for each in batch or self._claimed():
                each.stored.set_exception(error)
        else:
            for each, rows in zip(batch, kept, strict=True):
                each.stored.set_result(len(rows))

    def _claimed(self) -> list[_Append]:
        """All that wait and have not been given up."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        return [each for each in waiting if each.claim()]

    def _parts(self) -> Iterator[Sequence[Any]]:
        """Rows by their numbers, a short read each, so that no writer waits for a long one."""
        seconds = sa.func.coalesce(EVENTS.c.time, EVENTS.c.received)
        columns = EVENTS.c.number, EVENTS.c.user_id, EVENTS.c.domain, EVENTS.c.item_id, seconds, EVENTS.c.kind
        others = EVENTS.c.weight, EVENTS.c.recommendation_id, EVENTS.c.user_whole, EVENTS.c.item_whole
        query = sa.select(*columns, *others)
        query = query.order_by(EVENTS.c.number).limit(READ_AT_ONCE)
        last = -1
        while True:
            with database.reading(self._engine) as connection:
                rows = connection.execute(query.where(EVENTS.c.number > last)).all()
            if not rows:
                return
            yield rows
            last = rows[-1].number


@dataclass(frozen=True, eq=False)
class _Append:
    """Rows that wait for a transaction until ``deadline`` (monotonic), and how many of them are on disk."""

    rows: list[Record]
    deadline: float
    stored: Future[int] = field(default_factory=Future)

    @classmethod
    def of(cls, events: Sequence[tuple[str | int, Event]], deadline: float) -> _Append:
        """The rows of events, each with its user; DataError for what cannot be kept."""
        received = int(time.time())
        return cls([{**_row(user, event), "received": received} for user, event in events], deadline)

    def claim(self) -> bool:
        """Whether a transaction may take the rows; False once their caller has given up."""
        if not self.stored.set_running_or_notify_cancel():
            return False
        if time.monotonic() > self.deadline:
            self.stored.set_exception(StoreError(BUSY))
            return False
        return True


def _row(user: str | int, event: Event) -> Record:
    if event.weight is not None and not 0 < event.weight < math.inf:
        raise DataError(f"An event's weight must be a number above 0, not {event.weight}.")
    led = event.recommendation_id
    return {
        "user_id": _key(user),
        "user_whole": _is_number(user),
        "domain": _text(event.domain, "domain's name"),
        "item_id": _key(event.item, "item's id"),
        "item_whole": _is_number(event.item),
        "time": None if event.time is None else whole_seconds(event.time),
        "event_key": _event_key(event),
        "kind": None if event.kind is None else _text(event.kind, "kind"),
        "weight": event.weight,
        "recommendation_id": None if led is None else _text(led, "recommendation id"),
    }


def _event_key(event: Event) -> str | None:
    """What two deliveries of one event have in common; None where nothing distinguishes a repetition."""
    if event.id is None and event.time is None:
        return None
    parts: list[object] = (
        [event.domain, _key(event.item), whole_seconds(event.time)] if event.id is None else [event.id]
    )
    if event.id is None and event.kind is not None:
        parts.append(event.kind)  # to buy is another event than to look at it
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _key(raw: object, what: str = "user's id") -> str:
    """An id as it is kept and compared: 17 as "17"."""
    if _is_number(raw) and INT64.min <= raw <= INT64.max:
        return str(int(raw))
    return _text(raw, what)


def _text(raw: object, what: str) -> str:
    if isinstance(raw, str) and raw and not UNKEPT.search(raw):
        return raw
    raise DataError(f"An event's {what} must be text or a whole number of 64 bits, not {raw!r}.")


def _is_number(raw: object) -> TypeGuard[int | np.integer]:
    return isinstance(raw, int | np.integer) and not isinstance(raw, bool)


def _is_whole(key: str) -> bool:
    """Whether a key is a whole number as Python writes it."""
    try:
        return str(int(key)) == key
    except ValueError:
        return False


def _forgotten(connection: sa.Connection, keys: set[str]) -> set[str]:
    """Which of these users are to be forgotten."""
    ordered, gone = sorted(keys), set[str]()
    for start in range(0, len(ordered), NAMED_AT_ONCE):
        some = FORGOTTEN.c.user_id.in_(ordered[start : start + NAMED_AT_ONCE])
        gone |= set(connection.execute(sa.select(FORGOTTEN.c.user_id).where(some)).scalars())
    return gone


def _ids(table: pl.DataFrame, role: str) -> pl.Series:
    import polars as pl

    return table[role].cast(pl.Int64) if table[f"{role}_whole"].all() and len(table) else table[role]
