"""Training pairs of pairwise methods: each event once per epoch, shuffled, with a sampled negative item.

Negatives are drawn among the items the user has no event with, never a positive:

    "domain"       uniformly in the domain of the positive
    "all"          uniformly over all domains of the table
    "popularity"   in the domain of the positive, in proportion to their events

An epoch depends on seed, label and its number alone. A resumed fit therefore needs only its epoch's
number, and the number of threads does not change a result. It is drawn in parts: what is held of all events
is their order, one number each.
Users U, items I, domains D, pairs N, of a part B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from landbridge.core import row_blocks
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.mapped import gathered
from landbridge.core.rng import generator
from landbridge.core.types import AnyArray, Float32, Int32, Int64
from landbridge.data.interactions import Interactions

NEGATIVES = ("domain", "all", "popularity")


class Pairs(NamedTuple):
    """Users with an item of theirs and a negative: int32 (N,); float32 weights of the events or None."""

    user_N: Int32
    positive_N: Int32
    negative_N: Int32
    weight_N: Float32 | None


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Samples the pairs of ``events``, a table over the concatenated item catalogues of the domains.

    ``slices``: domain -> its items. An event whose user has every candidate item has no negative and is left
    out.
    """

    events: Interactions
    slices: Mapping[str, slice]
    negatives: str = "domain"
    seed: int = 0
    label: str = ""

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise SettingsError(unknown("negatives", self.negatives, NEGATIVES))

    def epoch(self, number: int) -> Pairs:
        """All pairs of one epoch, in its order."""
        return next(self.parts(number, max(len(self._usable_N), 1)))

    def parts(self, number: int, size: int) -> Iterator[Pairs]:
        """The epoch in parts of ``size`` pairs, which are drawn one after the other; at least one part."""
        from landbridge.data.sampling.kernels import negatives

        order_N = np.array(self._usable_N)
        generator(self.seed, "order", self.label, str(number)).shuffle(order_N)
        key = generator(self.seed, "negatives", self.label, str(number)).integers(2**63)
        rows, weight = self.events.by_user, self.events.weight
        for start in range(0, max(len(order_N), 1), size):
            event_B = order_N[start : start + size]
            user_B, positive_B = self.events.user_idx[event_B], self.events.item_idx[event_B]
            negative_B = np.empty_like(positive_B)
            negatives(
                np.uint64(key),
                start,
                user_B,
                positive_B,
                rows.offsets,
                rows.columns,
                *self.ranges,
                negative_B,
            )
            yield Pairs(user_B, positive_B, negative_B, None if weight is None else weight[event_B])

    def n_parts(self, size: int) -> int:
        """How many :meth:`parts` an epoch has."""
        return max(-(-len(self._usable_N) // size), 1)

    def batches(self, number: int, size: int) -> Iterator[Pairs]:
        """The epoch in batches of ``size``; the last may be smaller."""
        for part in self.parts(number, part_size(size)):
            for start in range(0, len(part.user_N), size):
                yield Pairs(*(None if column is None else column[start : start + size] for column in part))  # type: ignore[arg-type]

    @cached_property
    def ranges(self) -> tuple[Int64, Int32, Int64]:
        """Boundaries of the item ranges that negatives come from, (D + 1,); the items of all events,
        sorted, and where each range begins there (empty unless by popularity)."""
        inner = [part.start for part in self.slices.values()] if self.negatives != "all" else [0]
        starts_D = np.array([*inner, self.events.n_items], np.int64)
        pool_M = self._sorted_items_N if self.negatives == "popularity" else np.empty(0, np.int32)
        # of one type: NumPy would make a copy of the pool
        return starts_D, pool_M, np.searchsorted(pool_M, starts_D.astype(np.int32)).astype(np.int64)

    @cached_property
    def _sorted_items_N(self) -> Int32:
        """The items of all events, sorted."""
        count_I = self.events.item_counts
        item_I = np.arange(len(count_I), dtype=np.int32)
        parts = (
            np.repeat(item_I[some], count_I[some])
            for some in row_blocks.row_blocks(np.append(0, np.cumsum(count_I)))
        )
        return gathered(parts, self.events.user_idx, np.int32)

    @cached_property
    def _usable_N(self) -> AnyArray:
        """Events that have a negative: the user lacks an item of the range. As small numbers as suffice."""
        starts_D, _, _ = self.ranges
        size_D = np.diff(starts_D)
        rows, kind = self.events.by_user, np.min_scalar_type(-max(len(self.events), 1))

        def usable(users: slice) -> Int64:
            own = rows.block(users)
            domain_B = np.searchsorted(starts_D, own.columns, side="right") - 1
            # a user has each item at most once, so counting events counts items
            key_B = own.entry_rows * len(size_D) + domain_B
            own_B = np.bincount(key_B, minlength=1)[key_B]
            return np.asarray(np.flatnonzero(own_B < size_D[domain_B]) + rows.offsets[users.start])

        parts = (usable(users).astype(kind) for users in row_blocks.row_blocks(rows.offsets))
        return gathered(parts, self.events.user_idx, kind)


def part_size(batch_size: int) -> int:
    """How many pairs are drawn at once: whole batches, of about as many pairs as other blocks have events."""
    return max(row_blocks.AT_ONCE // batch_size, 1) * batch_size
