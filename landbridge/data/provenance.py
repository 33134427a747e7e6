"""How event tables were read: which columns were used, which ids became one, which rows were left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from landbridge.core.files import atomic_write
from landbridge.core.types import Record

SHOWN = 8  # names of a long list in a sentence


@dataclass(frozen=True)
class TableOrigin:
    """A table of events: ``where`` it came from, the ``domains`` in it, and its columns.

    ``used``: role -> column. ``unused``: all other columns. ``time_like``: those of them that look like
    times, where the table has no time. ``rows``: how many it has, those left out included.
    """

    where: str
    domains: tuple[str, ...]
    used: Mapping[str, str]
    unused: tuple[str, ...] = ()
    time_like: tuple[str, ...] = ()
    rows: int = 0

    def time_hint(self, role: str) -> str:
        """What to do about a missing time column; ``role``: what it is called on the command line."""
        if not self.time_like:
            return f"give {self.where} a time column"
        return (
            f"name one of the columns of {self.where} that look like times ({listed(self.time_like)}) with "
            f"--column {role}={self.time_like[0]}"
        )


@dataclass(frozen=True)
class SkippedRow:
    """A row that could not be read: its table, its number (from 1, header excluded), why, and its content."""

    where: str
    row: int
    reason: str
    content: Record

    @property
    def sentence(self) -> str:
        """Where and why, without a full stop."""
        return f"row {self.row} of {self.where}, {self.reason[0].lower()}{self.reason[1:]}"


@dataclass(frozen=True)
class Provenance:
    """How data were read; empty where they were not read from tables.

    ``tables`` of events, ``seen``: tables of seen pairs. ``folded``: whose ids (``users``, ``items``) -> how
    many of them became another one.
    ``skipped``: the rows that were left out; ``skipped_to``: where they are written. ``links_left_out``: why
    rows of a table of item links were left out -> how many. ``item_features``: what to know of items and
    the table of their features -> of how many items; ``user_features``: the same of users. ``mapped``: where
    events are mapped from, in a sentence; empty where they are in memory.
    """

    tables: tuple[TableOrigin, ...] = ()
    seen: tuple[TableOrigin, ...] = ()
    folded: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[SkippedRow, ...] = ()
    skipped_to: Path | None = None
    links_left_out: Mapping[str, int] = field(default_factory=dict)
    item_features: Mapping[str, int] = field(default_factory=dict)
    user_features: Mapping[str, int] = field(default_factory=dict)
    mapped: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was not used, not kept or changed, one sentence each."""
        unused = [
            f"Columns of {table.where} that are not used: {listed(table.unused)}."
            for table in (*self.tables, *self.seen)
            if table.unused
        ]
        links = [f"Item links left out: {count:,} {why}." for why, count in self.links_left_out.items()]
        features = [f"Item features: {count:,} items {what}." for what, count in self.item_features.items()]
        users = [f"User features: {count:,} users {what}." for what, count in self.user_features.items()]
        mapped = [self.mapped] if self.mapped else []
        return (
            *mapped,
            *unused,
            *map(self.folding, self.folded),
            *self._skipped(),
            *links,
            *features,
            *users,
        )

    def folding(self, whose: str) -> str:
        """How many ids of ``users`` or of ``items`` became another one, in a sentence."""
        return f"Ids of {whose} that became another one by folding: {self.folded[whose]:,}."

    def _skipped(self) -> list[str]:
        if not self.skipped:
            return []
        first = self.skipped[0]
        return [
            f"Rows left out since they cannot be read: {len(self.skipped):,} (see {self.skipped_to}), the "
            f"first: {first.sentence}."
        ]

    def time_hint(self, domain: str) -> str:
        """What to do about a missing time column of a domain."""
        # columns named without a table are those of all tables
        role = "time" if len(self.tables) == 1 else f"{domain}.time"
        hints = [table.time_hint(role) for table in self.tables if domain in table.domains]
        return hints[0] if hints else "read a time column"

    def write_skipped(self) -> None:
        """Write the rows that were left out as JSON lines: table, row, reason and content."""
        import orjson

        if self.skipped_to is None or not self.skipped:
            return
        lines = [
            {"table": row.where, "row": row.row, "reason": row.reason, **row.content} for row in self.skipped
        ]
        with atomic_write(self.skipped_to) as temporary:
            temporary.write_bytes(b"".join(orjson.dumps(line, default=str) + b"\n" for line in lines))


def listed(names: tuple[str, ...]) -> str:
    """Names in a sentence; of a long list the first."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
