"""What becomes of the events of a table: learned from, and how much they count, or only known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import AnyArray, Float32, Int64
from landbridge.data.io.encoding import EncodedColumn, Events, encode
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.ties import Ties, in_file_order
from landbridge.data.kinds import DISLIKED, LEARNED, SEEN, EventKinds
from landbridge.data.seen import UNTIMED

if TYPE_CHECKING:
    import polars as pl


class Standing(NamedTuple):
    """The standing of each event, what its kind counts, and its kind as a bit, (N,); None: all alike."""

    standing: AnyArray | None
    weight: Float32 | None
    kinds: Int64 | None


@dataclass(frozen=True)
class EventRules:
    """``min_rating``: events rated lower count against their item. ``learns``: whether events are learned
    from at all; those of a table of seen pairs are not. ``ties``: the order of a user's events of equal
    time."""

    min_rating: float | None
    kinds: EventKinds
    learns: bool = True
    ties: Ties = "random"

    def of_seen(self) -> EventRules:
        """The rules of a table of seen pairs."""
        return replace(self, learns=False, ties="random")

    def ordered(self, time: pl.Series | None, user: pl.Series, where: str) -> pl.Series | None:
        """The times of the events of a table, with an order of ties; DataError where that needs times."""
        if self.ties == "random":
            return time
        if time is None:
            raise DataError(
                f"ties is 'file', but {where} has no time column; leave ties out, or name the column with "
                "columns={'time': ...}."
            )
        return in_file_order(user, time)

    def read(self, table: EventTable) -> Standing:
        """The rules applied; DataError for a kind that has no value, or without the ratings of min_rating."""
        standing, weight, bits = self._of_kinds(table)
        low = self._low(table)
        if low is not None and low.any():
            standing = np.zeros(len(table), np.int8) if standing is None else standing
            standing = np.where(low, np.int8(DISLIKED), standing)
        if self.learns:
            return Standing(standing, weight, bits)
        standing = np.zeros(len(table), np.int8) if standing is None else standing
        return Standing(np.where(standing == DISLIKED, standing, np.int8(SEEN)), None, None)

    def nothing_learned(self, where: str) -> str:
        """The error where a domain has no event to learn from."""
        if self.min_rating is not None:
            return f"No event of {where} reaches min_rating; lower it or leave this domain out."
        return (
            f"No event of {where} is learned from; give a kind of theirs a weight or leave this domain out."
        )

    def _of_kinds(self, table: EventTable) -> Standing:
        if "kind" not in table:
            return Standing(None, None, None)
        kind = table.text("kind")
        table.raise_on_bad_rows(kind.is_null() | (kind == ""), "kind", "is missing", "fill or remove it")
        column = EncodedColumn.of(kind)
        with_where = f"Column 'kind' of {table.where}: "
        try:
            known = [(self.kinds.standing(each), self.kinds.weight(each)) for each in column.ids]
        except DataError as error:
            raise DataError(f"{with_where}{error}") from None
        standing, weight = (np.array(each)[column.idx] for each in zip(*known, strict=True))
        bits = np.array([self.kinds.bit(each) for each in column.ids], np.int64)[column.idx]
        plain = not standing.any()
        return Standing(None if plain else standing.astype(np.int8), weight.astype(np.float32), bits)

    def _low(self, table: EventTable) -> AnyArray | None:
        """Which events are rated below ``min_rating``, (N,)."""
        rating = None if self.min_rating is None else table.numbers("rating")
        if self.min_rating is None or (rating is None and not self.learns):
            return None
        if rating is None:
            raise DataError(
                f"min_rating is set but {table.where} has no rating column; "
                "name it with columns={'rating': ...} or --column rating=NAME."
            )
        return np.asarray((rating < self.min_rating).to_numpy())


def with_seen_rows(events: Events, seen: Events) -> Events:
    """The events of a domain followed by those of a table of seen pairs."""
    n_events, n_seen = len(events.user.idx), len(seen.user.idx)
    ones, no_kind = np.ones(n_seen, np.float32), np.zeros(n_seen, np.int64)
    standing = np.full(n_events, LEARNED, np.int8) if events.standing is None else events.standing
    return Events(
        _joined(events.user, seen.user, "user", seen.where),
        _joined(events.item, seen.item, "item", seen.where),
        None if events.time is None else np.append(events.time, _times(seen)),
        None if events.weight is None else np.append(events.weight, ones),
        None if events.title is None else events.title.extend_constant(None, n_seen),
        events.where,
        np.append(standing, seen.standing if seen.standing is not None else np.full(n_seen, SEEN, np.int8)),
        None if events.kinds is None else np.append(events.kinds, no_kind),
    )


def _times(seen: Events) -> AnyArray:
    return np.full(len(seen.user.idx), UNTIMED) if seen.time is None else seen.time


def _joined(column: EncodedColumn, more: EncodedColumn, role: str, where: str) -> EncodedColumn:
    """Two columns of ids as one."""
    import polars as pl

    check_same_ids(column.ids, more.ids, role, where)
    ids = pl.concat([column.ids.alias("id"), more.ids.alias("id")]).unique().sort()
    return EncodedColumn(ids, np.append(encode(column.ids, ids)[column.idx], encode(more.ids, ids)[more.idx]))


def check_same_ids(ids: pl.Series, more: pl.Series, role: str, where: str) -> None:
    """DataError where ids of ``where`` are numbers and those of the events are not, or the reverse."""
    if ids.dtype != more.dtype:
        raise DataError(
            f"Column {role!r} of {where} holds {more.dtype}, and the events {ids.dtype}; give the "
            "same kind of ids."
        )
