"""Pairs of user and item that are known and not learned from: seen, or disliked. No list holds them.

A pair is learned from, disliked or only seen, never two of these. Of its events that are learned from or
count against it the latest decides; events that only mark it as seen change nothing about that. N events or
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.mapped import gathered
from landbridge.core.types import AnyArray, Bool, Int64, blocks
from landbridge.data.interactions import Interactions, in_order
from landbridge.data.kinds import DISLIKED, LEARNED, SEEN

UNTIMED = 1 << 62  # events without times come after all that have one
LONG_AGO = -UNTIMED  # a pair without a time was always known


@dataclass(frozen=True, eq=False)
class Seen:
    """``pairs``: without weights, with the time since when they are known; ``disliked_N``: bool (N,)."""

    pairs: Interactions
    disliked_N: Bool

    def __post_init__(self) -> None:
        if self.disliked_N.shape != (len(self.pairs),) or self.disliked_N.dtype != np.bool_:
            raise DataError("There must be one mark per seen pair.")
        self.disliked_N.flags.writeable = False

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def disliked(self) -> Interactions:
        """The pairs that count against their item."""
        return self.pairs.take(self.disliked_N)

    def take(self, mask_N: Bool) -> Seen:
        """The pairs where ``mask_N`` is true."""
        kept = (self.disliked_N[block][mask_N[block]] for block in blocks(len(self)))
        return Seen(self.pairs.take(mask_N), gathered(kept, self.disliked_N))


@dataclass(frozen=True, eq=False)
class Rows:
    """Events in any order, N of them; ``standing_N``: int8, learned from, seen or disliked; None: all are
    learned from.

    Other columns as in :class:`Interactions`; a ``time`` of ``UNTIMED`` or more is none.
    """

    user_idx: AnyArray
    item_idx: AnyArray
    standing_N: AnyArray | None
    weight: AnyArray | None = None
    time: AnyArray | None = None
    kinds: AnyArray | None = None

    def take(self, mask_N: Bool) -> Rows:
        """The events where ``mask_N`` is true."""
        return Rows(
            self.user_idx[mask_N],
            self.item_idx[mask_N],
            None if self.standing_N is None else self.standing_N[mask_N],
            None if self.weight is None else self.weight[mask_N],
            None if self.time is None else self.time[mask_N],
            None if self.kinds is None else self.kinds[mask_N],
        )


def divided_or_learned(
    rows: Rows, n_users: int, n_items: int, duplicates: str
) -> tuple[Interactions, Seen | None]:
    """As :func:`divided`; without what is only known where all events are learned from."""
    if rows.standing_N is None:
        return _learned(rows, n_users, n_items, duplicates), None
    return divided(rows, n_users, n_items, duplicates)


def divided(rows: Rows, n_users: int, n_items: int, duplicates: str = "last") -> tuple[Interactions, Seen]:
    """What is learned from, repeated pairs by ``duplicates``, and what is only known."""
    assert rows.standing_N is not None
    if not rows.standing_N.any():
        none = rows.take(np.zeros(len(rows.user_idx), bool))
        return _learned(rows, n_users, n_items, duplicates), _seen(none, none, n_users, n_items)
    key_N = rows.user_idx.astype(np.int64) * max(n_items, 1) + rows.item_idx
    verdict_N = _verdicts(key_N, rows)
    learned = rows.take((verdict_N == LEARNED) & (rows.standing_N == LEARNED))
    disliked, seen = (
        rows.take((verdict_N == standing) & (rows.standing_N == standing)) for standing in (DISLIKED, SEEN)
    )
    return _learned(learned, n_users, n_items, duplicates), _seen(disliked, seen, n_users, n_items)


def _learned(rows: Rows, n_users: int, n_items: int, duplicates: str) -> Interactions:
    columns = rows.weight, rows.time, duplicates, rows.kinds
    return Interactions.from_events(rows.user_idx, rows.item_idx, n_users, n_items, *columns)


def _verdicts(key_N: Int64, rows: Rows) -> AnyArray:
    """The standing of each event's pair, (N,)."""
    assert rows.standing_N is not None
    verdict_N = np.full(len(key_N), SEEN, np.int8)
    deciding = np.flatnonzero(rows.standing_N != SEEN)
    if not len(deciding):
        return verdict_N
    time_N = None if rows.time is None else rows.time[deciding]
    order_N, last_N = in_order(key_N[deciding], time_N)
    last = deciding[order_N[last_N]]  # sorted by key
    place_N = np.minimum(np.searchsorted(key_N[last], key_N), len(last) - 1)
    return np.where(key_N[last][place_N] == key_N, rows.standing_N[last][place_N], verdict_N)


def _seen(disliked: Rows, seen: Rows, n_users: int, n_items: int) -> Seen:
    """A disliked pair is known since its last dislike, a seen one since it was first seen."""
    before = None if seen.time is None else -_since(seen.time)
    first = Interactions.from_events(seen.user_idx, seen.item_idx, n_users, n_items, None, before)
    last = Interactions.from_events(
        disliked.user_idx,
        disliked.item_idx,
        n_users,
        n_items,
        None,
        None if disliked.time is None else _since(disliked.time),
    )
    timed = first.time is not None and last.time is not None
    user_N, item_N = (
        np.concatenate([getattr(first, name), getattr(last, name)]) for name in ("user_idx", "item_idx")
    )
    order_N = np.lexsort((item_N, user_N))
    times = np.concatenate([-first.time, last.time])[order_N] if timed else None  # type: ignore[operator]
    marks_N = np.repeat([False, True], [len(first), len(last)])[order_N]
    return Seen(Interactions(user_N[order_N], item_N[order_N], n_users, n_items, None, times), marks_N)


def _since(time_N: AnyArray) -> AnyArray:
    return np.where(time_N >= UNTIMED, LONG_AGO, time_N)
