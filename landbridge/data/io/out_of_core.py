"""Events larger than memory: read in blocks of rows, and sorted on disk.

1. The needed columns are written to one Arrow file, in chunks. A block of its rows is a small table, to
   which the rules of whole tables apply. What these say of a whole column is known before (``TimeForm``) or
   follows from all blocks: ids are whole numbers where those of every block are.
2. The events of a block are written to a file of their domain, with raw ids, and ids are counted.
3. Distribution sort: users are cut into ranges of about equally many events, the events of each range are
   written to a file, in their order, and each file is sorted and merged in memory by the rules of
   :mod:`landbridge.data.seen`. No pair of user and item lies in two ranges.

Memory: ids, a block, a constant; a user of more events than a block is a range alone. N events, V ids.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from landbridge.core.files import write_errors
from landbridge.core.mapped import ColumnFile
from landbridge.core.types import AnyArray, Int32, Int64, blocks
from landbridge.data.interactions import GrowingEvents, Interactions
from landbridge.data.io.encoding import EncodedColumn, Events
from landbridge.data.io.event_rules import check_same_ids
from landbridge.data.io.parsing import parsing_errors
from landbridge.data.io.storage import Parse, TableRead
from landbridge.data.io.tables import (
    ScannedTable,
    TableSource,
    check_columns,
    check_events,
    height,
    plain_file,
    scan_table,
)
from landbridge.data.io.time_form import DatedText, TimeForm
from landbridge.data.kinds import LEARNED, EventKinds
from landbridge.data.seen import UNTIMED, Rows, Seen, divided_or_learned
from landbridge.data.titles import without_blank

if TYPE_CHECKING:
    import polars as pl

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what events have where a table of theirs says nothing
USUAL: Mapping[str, float] = {"time": UNTIMED, "weight": 1.0, "standing": LEARNED, "kinds": 0}


@dataclass(frozen=True)
class OnDisk:
    """Events in files of the folder ``scratch``, ``rows`` of them in memory at a time."""

    scratch: Path
    rows: int

    def read(self, source: TableSource, parse: Parse) -> TableRead[EventsOnDisk]:
        """The events of a table; DataError where users, items or every event is missing."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        with parsing_errors(source.where, plain_file(source.source)):
            scanned = scan_table(replace(source, rules=replace(source.rules, scratch=self.scratch)))
            check_columns(scanned.origin(0))
            rows = _written(scanned, folder / "rows.arrow")
        origin = scanned.origin(height(rows))
        check_events(origin, None)
        form = self._time_form(scanned, rows)
        files: dict[str, _DomainFiles] = {}
        for start, frame in self._blocks(rows):
            for name, events in parse(scanned.block(frame, start, form)).items():
                own = files.setdefault(name, _DomainFiles(folder / str(len(files)), events.where))
                own.add(events)
        ordered = {name: files[name].finished(self) for name in _in_order(list(files))}
        return TableRead(rows, origin, ordered)

    def with_seen(self, events: EventsOnDisk, seen: EventsOnDisk) -> EventsOnDisk:
        """The events followed by those of a table of seen pairs, none of which is learned from."""
        for role, own, other in (("user", events.user, seen.user), ("item", events.item, seen.item)):
            check_same_ids(own.ids, other.ids, role, seen.where)
        columns = {**events.columns, "standing": np.dtype(np.int8)}
        if "time" in columns and "time" in seen.columns:
            columns["time"] = np.result_type(columns["time"], seen.columns["time"])
        return replace(
            events,
            user=IdCounts.of([events.user.table, seen.user.table]),
            item=IdCounts.of([events.item.table, seen.item.table]),
            files=(*events.files, *seen.files),
            columns=columns,
            latest=max(events.latest, seen.latest) if "time" in columns else events.latest,
        )

    def _blocks(self, rows: pl.LazyFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """The number of rows before each block, and the block."""
        for block in blocks(height(rows), self.rows):
            yield block.start, rows.slice(block.start, block.stop - block.start).collect()

    def _time_form(self, scanned: ScannedTable, rows: pl.LazyFrame) -> TimeForm | None:
        """How the times of all rows are written; None where they are no text."""
        import polars as pl

        if rows.collect_schema().get("time") != pl.String:
            return None
        form = TimeForm()
        for start, frame in self._blocks(rows.select("time")):
            form += scanned.block(frame, start, None).time_form()
            if form.example is None:
                form = replace(form, example=DatedText.of(frame["time"]).example())
        return form


@dataclass(frozen=True, eq=False)
class IdCounts:
    """Ids, sorted and unique, and how many events each has: ``id`` and ``events`` of ``table``, (V,)."""

    table: pl.DataFrame

    @classmethod
    def of(cls, tables: Sequence[pl.DataFrame]) -> IdCounts:
        """All ids of some tables; whole numbers become text where any of the ids are."""
        return cls(_merged(tables).sort("id"))

    @property
    def ids(self) -> pl.Series:
        """The ids."""
        return self.table["id"]

    @property
    def count_V(self) -> Int64:
        """The events of each."""
        return self.table["events"].to_numpy()


@dataclass(frozen=True, eq=False)
class EventsOnDisk:
    """The events of one domain, in ``files`` with raw ids, one after the other.

    ``columns``: the optional ones and their types; a file that lacks one has the usual value. ``aged``: the
    half-life and the latest time, by which weights fade.
    """

    user: IdCounts
    item: IdCounts
    files: tuple[Path, ...]
    columns: Mapping[str, np.dtype[Any]]
    titled: pl.DataFrame | None
    latest: float
    where: str
    storage: OnDisk
    aged: tuple[EventKinds, float] | None = None

    @property
    def is_timed(self) -> bool:
        """Whether the events have times."""
        return "time" in self.columns

    @property
    def has_kinds(self) -> bool:
        """Whether the events have kinds."""
        return "kinds" in self.columns

    def faded(self, kinds: EventKinds, latest: float) -> Self:
        """The events with weights by their age at the time ``latest``."""
        return replace(self, aged=(kinds, latest))

    def divided(self, place_V: Int32, n_users: int, rule: str) -> tuple[Interactions, Seen | None]:
        """What is learned from, and what is only known, both mapped; None where all are learned from.

        ``place_V``: the dense index of each id of ``user``; ``rule``: of repeated pairs.
        """
        folder = Path(tempfile.mkdtemp(dir=self.storage.scratch))
        count_U = np.zeros(n_users, np.int64)
        np.add.at(count_U, place_V, self.user.count_V)
        learned, known = (GrowingEvents(partial(_column, folder, name)) for name in ("learned", "known"))
        marks = ColumnFile(folder / "disliked")
        size = n_users, len(self.item.ids)
        for events in distributed(self._records(place_V), "user", count_U, self.storage.rows, folder):
            own, seen = divided_or_learned(self._rows(events), *size, rule)
            learned.add(own)
            if seen is not None:
                known.add(seen.pairs)
                marks.append(seen.disliked_N)
        if "standing" not in self.columns:
            return learned.finished(*size), None
        return learned.finished(*size), Seen(known.finished(*size), marks.opened())

    def _records(self, place_V: Int32) -> Iterator[AnyArray]:
        """The events of each file with dense indices, as records."""
        import polars as pl

        kinds = [("user", np.int32), ("item", np.int32), *self.columns.items()]
        for file in self.files:
            frame = pl.read_ipc(file)
            events = np.empty(len(frame), np.dtype(kinds))
            events["user"] = place_V[_places(frame["user"], self.user.ids)]
            events["item"] = _places(frame["item"], self.item.ids)
            for name in self.columns:
                events[name] = frame[name].to_numpy() if name in frame.columns else USUAL[name]
            yield events

    def _rows(self, events: AnyArray) -> Rows:
        column = {name: np.ascontiguousarray(events[name]) for name in events.dtype.names or ()}
        weight, time = column.get("weight"), column.get("time")
        if self.aged is not None and time is not None:
            kinds, latest = self.aged
            weight = kinds.aged(weight, time, latest)
        return Rows(column["user"], column["item"], column.get("standing"), weight, time, column.get("kinds"))


def _places(column: pl.Series, ids: pl.Series) -> Int32:
    """The index of each id of a block in the sorted ``ids``, which hold them all; what it costs follows the
    block, where a table of all ids by their hashes would be made for every block."""
    own = EncodedColumn.of(column.cast(ids.dtype))
    place_V = ids.search_sorted(own.ids)
    return place_V.to_numpy().astype(np.int32)[own.idx]


def distributed(
    records: Iterable[AnyArray], key: str, count_K: Int64, rows: int, folder: Path
) -> Iterator[AnyArray]:
    """The records in ranges of their ``key``, from the smallest on, each in the order in which they came.

    ``count_K``: how many records each key has; a range has about ``rows`` of them.
    """
    # a key belongs to the range in which its first record would stand, were all sorted
    range_K = (np.cumsum(count_K) - count_K) // rows
    n_ranges = int(range_K[-1]) + 1 if len(range_K) else 0
    paths = [folder / f"range-{number}" for number in range(n_ranges)]
    dtype: np.dtype[Any] | None = None
    for block in records:
        dtype = block.dtype
        range_N = range_K[block[key]]
        order_N = np.argsort(range_N, kind="stable")
        ends = np.searchsorted(range_N[order_N], np.arange(n_ranges + 1))
        sorted_N = block[order_N]
        for number in np.flatnonzero(np.diff(ends)):
            with paths[number].open("ab") as stream:
                stream.write(sorted_N[ends[number] : ends[number + 1]].view(np.uint8).data)
    for path in paths:
        if path.exists() and dtype is not None:
            yield np.fromfile(path, dtype)
            path.unlink()


@dataclass
class _DomainFiles:
    """The events of a domain as they are read, block by block."""

    prefix: Path
    where: str
    files: list[Path] = field(default_factory=list)
    users: _IdCounter = field(default_factory=lambda: _IdCounter())
    items: _IdCounter = field(default_factory=lambda: _IdCounter())
    columns: dict[str, np.dtype[Any]] = field(default_factory=dict)
    titled: pl.DataFrame | None = None
    latest: float = -np.inf

    def add(self, events: Events) -> None:
        """Write the events of a block."""
        import polars as pl

        columns = {"time": events.time, "weight": events.weight, "standing": events.standing,
                   "kinds": events.kinds}  # fmt: skip
        given = {name: column for name, column in columns.items() if column is not None}
        raw = {
            "user": events.user.ids.gather(events.user.idx),
            "item": events.item.ids.gather(events.item.idx),
        }
        path = self.prefix.with_name(f"{self.prefix.name}-{len(self.files)}.arrow")
        with _disk_errors(path):
            pl.DataFrame({**raw, **given}).write_ipc(path)
        self.files.append(path)
        self.users.add(events.user.ids, events.user.idx)
        self.items.add(events.item.ids, events.item.idx)
        for name, column in given.items():
            self.columns[name] = np.result_type(self.columns.get(name, column.dtype), column.dtype)
        self.latest = max(self.latest, events.latest)
        if events.titled is not None:
            self._add_titles(events.titled)

    def _add_titles(self, titled: pl.DataFrame) -> None:
        """Keep the first title of each item."""
        import polars as pl

        named = titled.with_columns(without_blank(titled["title"])).drop_nulls().cast(pl.String)
        all_named = named if self.titled is None else pl.concat([self.titled, named])
        self.titled = all_named.unique("item", keep="first", maintain_order=True)

    def finished(self, storage: OnDisk) -> EventsOnDisk:
        """All events."""
        counts = self.users.finished(), self.items.finished()
        return EventsOnDisk(
            *counts, tuple(self.files), self.columns, self.titled, self.latest, self.where, storage
        )


@dataclass
class _IdCounter:
    """Ids and how many events each has, block by block."""

    tables: list[pl.DataFrame] = field(default_factory=list)

    def add(self, ids: pl.Series, idx: Int32) -> None:
        """Count a block's ids."""
        import polars as pl

        self.tables.append(pl.DataFrame({"id": ids, "events": np.bincount(idx, minlength=len(ids))}))
        # merged when they have doubled, so that every id is merged a few times only
        if len(self.tables) > 1 and sum(map(len, self.tables[1:])) > len(self.tables[0]):
            self.tables = [_merged(self.tables)]

    def finished(self) -> IdCounts:
        """All ids."""
        return IdCounts.of(self.tables)


def _column(folder: Path, name: str, column: str, dtype: np.dtype[Any]) -> ColumnFile:
    """A column of events that are learned from, or known."""
    return ColumnFile(folder / f"{name}-{column}-{dtype}", dtype)


def _merged(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The events of each id in all tables."""
    import polars as pl

    some_are_text = any(table["id"].dtype == pl.String for table in tables)
    kind = pl.String() if some_are_text else pl.Int64()
    together = pl.concat([table.select(pl.col("id").cast(kind), pl.col("events")) for table in tables])
    return together.group_by("id").agg(pl.col("events").sum())


def _in_order(names: list[str]) -> list[str]:
    """Names of domains as one column of them would be sorted."""
    import polars as pl

    from landbridge.data.vocabulary import whole_number

    numbers = [whole_number(name) for name in names]
    if None not in numbers:
        return [str(number) for number in sorted(number for number in numbers if number is not None)]
    return pl.Series(names, dtype=pl.String).sort().to_list()


def _written(scanned: ScannedTable, path: Path) -> pl.LazyFrame:
    """All rows of the table, in an Arrow file: unlike Parquet it says why it cannot be written."""
    import polars as pl

    with _disk_errors(path):
        scanned.lazy.sink_ipc(path)
    return pl.scan_ipc(path, glob=False)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """What polars says of a full disk, as a StoreError: its errors of reading and of writing are of one
    type, and differ in the number of the system's error only."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        code = int(number[1]) if number else getattr(error, "errno", None)
        if code not in DISK_FULL:
            raise
        with write_errors(path):
            raise OSError(code, os.strerror(code)) from error
