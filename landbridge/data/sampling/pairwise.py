"""Training pairs of pairwise methods: each event once per epoch, shuffled, with a sampled negative item.

Negatives are drawn among the items the user has no event with, never a positive:

    "domain"       uniformly in the domain of the positive
    "all"          uniformly over all domains of the table
    "popularity"   in the domain of the positive, in proportion to their events

An epoch depends on seed, label and its number alone. A resumed fit therefore needs only its epoch's
number, and the number of threads does not change a result.
Users U, items I, domains D, pairs N.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.core.types import Float32, Int32, Int64
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
        from landbridge.data.sampling.kernels import negatives

        order_N = generator(self.seed, "order", self.label, str(number)).permutation(self._usable_N)
        user_N, positive_N = self.events.user_idx[order_N], self.events.item_idx[order_N]
        negative_N = np.empty_like(positive_N)
        key = generator(self.seed, "negatives", self.label, str(number)).integers(2**63)
        rows = self.events.by_user
        negatives(
            np.uint64(key),
            user_N,
            positive_N,
            rows.offsets,
            rows.columns,
            *self.ranges,
            negative_N,
        )
        weight = self.events.weight
        return Pairs(user_N, positive_N, negative_N, None if weight is None else weight[order_N])

    def batches(self, number: int, size: int) -> Iterator[Pairs]:
        """The epoch in batches of ``size``; the last may be smaller."""
        pairs = self.epoch(number)
        for start in range(0, len(pairs.user_N), size):
            yield Pairs(*(None if column is None else column[start : start + size] for column in pairs))  # type: ignore[arg-type]

    @cached_property
    def ranges(self) -> tuple[Int64, Int32, Int64]:
        """Boundaries of the item ranges that negatives come from, (D + 1,); the items of all events,
        sorted, and where each range begins there (empty unless by popularity)."""
        inner = [part.start for part in self.slices.values()] if self.negatives != "all" else [0]
        starts_D = np.array([*inner, self.events.n_items], np.int64)
        by_popularity = self.negatives == "popularity"
        pool_M = np.sort(self.events.item_idx) if by_popularity else np.empty(0, np.int32)
        return starts_D, pool_M, np.searchsorted(pool_M, starts_D).astype(np.int64)

    @cached_property
    def _usable_N(self) -> Int64:
        """Events that have a negative: the user lacks an item of the range."""
        starts_D, _, _ = self.ranges
        size_D = np.diff(starts_D)
        domain_N = np.searchsorted(starts_D, self.events.item_idx, side="right") - 1
        # a user has each item at most once, so counting events counts items
        key_N = self.events.user_idx.astype(np.int64) * len(size_D) + domain_N
        own_N = np.bincount(key_N, minlength=1)[key_N]
        return np.flatnonzero(own_N < size_D[domain_N])
