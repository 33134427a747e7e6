"""Where the events of a table are while they are read: in memory, or on disk (:mod:`.out_of_core`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeAlias, TypeVar

from landbridge.core.types import Int32
from landbridge.data.interactions import Interactions
from landbridge.data.io.encoding import Events
from landbridge.data.io.event_rules import with_seen_rows
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import TableSource, check_events, read_table
from landbridge.data.kinds import EventKinds
from landbridge.data.provenance import SkippedRow, TableOrigin
from landbridge.data.seen import Seen

if TYPE_CHECKING:
    import polars as pl

Parse: TypeAlias = Callable[[EventTable], dict[str, Events]]  # a table's events by domain


class Ids(Protocol):
    """``ids`` of one column, sorted and unique, (V,)."""

    @property
    def ids(self) -> pl.Series: ...


class DomainEvents(Protocol):
    """The events of one domain, wherever they are: what :class:`Events` has."""

    @property
    def user(self) -> Ids: ...
    @property
    def item(self) -> Ids: ...
    @property
    def where(self) -> str: ...
    @property
    def titled(self) -> pl.DataFrame | None: ...
    @property
    def is_timed(self) -> bool: ...
    @property
    def has_kinds(self) -> bool: ...
    @property
    def latest(self) -> float: ...
    def faded(self, kinds: EventKinds, latest: float) -> Self: ...
    def divided(self, place_V: Int32, n_users: int, rule: str) -> tuple[Interactions, Seen | None]: ...


E = TypeVar("E", bound=DomainEvents)


@dataclass(frozen=True, eq=False)
class TableRead(Generic[E]):
    """A table that was read: ``rows``, columns by role as the file has them, and domain -> its events."""

    rows: pl.LazyFrame
    origin: TableOrigin
    events: dict[str, E]
    skipped: tuple[SkippedRow, ...] = ()


class Storage(Protocol[E]):
    """Reads tables, and keeps their events."""

    def read(self, source: TableSource, parse: Parse) -> TableRead[E]:
        """The events of a table; DataError where users, items or every event is missing."""

    def with_seen(self, events: E, seen: E) -> E:
        """The events followed by those of a table of seen pairs, none of which is learned from."""


@dataclass(frozen=True)
class InMemory:
    """Everything in memory."""

    def read(self, source: TableSource, parse: Parse) -> TableRead[Events]:
        """The events of a table; DataError where users, items or every event is missing."""
        table, origin = read_table(source)
        check_events(origin, table.skipped)
        table, events = table.parsed(parse)
        return TableRead(table.frame.lazy(), origin, events, table.skipped or ())

    def with_seen(self, events: Events, seen: Events) -> Events:
        """The events followed by those of a table of seen pairs, none of which is learned from."""
        return with_seen_rows(events, seen)
