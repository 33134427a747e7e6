"""One batch of each domain per training step, in proportion to its events, so that an epoch has each once.

A batch holds events, K negatives for each (drawn as in :mod:`landbridge.data.sampling.pairwise`) and, on
request, one item of the user in every other domain. With N_d events in domain d and B events per
step over all domains, an epoch has

    S = min(⌈Σ_d N_d / B⌉, max_d N_d)                                                                  (1)

steps, and step k takes the events ⌊k N_d / S⌋ to ⌊(k + 1) N_d / S⌋ of the domain's shuffled N_d. A domain
with fewer events than there are steps is missing from some of them, and is never repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Float32, Int32
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairs, Pairwise

NEGATIVES = ("domain", "popularity")


class Batch(NamedTuple):
    """Events of one domain. J = 1 + K: an item of the user, and K negatives.

    ``side_NS``: an item of the user in each other domain, in the order of the data, -1 where there is none;
    no columns unless requested.
    """

    user_N: Int32
    item_NJ: Int32
    side_NS: Int32
    weight_N: Float32 | None

    def part(self, start: int, stop: int) -> Batch:
        """The events ``start`` to ``stop``."""
        here = slice(start, stop)
        weight = None if self.weight_N is None else self.weight_N[here]
        return Batch(self.user_N[here], self.item_NJ[here], self.side_NS[here], weight)


@dataclass(frozen=True, eq=False)
class DomainBatches:
    """Samples the batches. ``size``: events per step over all domains, B. ``per_positive``: K."""

    data: MultiDomain
    size: int
    negatives: str
    per_positive: int
    seed: int
    sides: bool = False

    def steps(self, epoch: int) -> Iterator[dict[str, Batch]]:
        """The epoch: domain -> batch, domains without an event in the step left out."""
        whole = {name: self.whole(name, epoch) for name in self.data.domain_names}
        counts = [len(batch.user_N) for batch in whole.values()]
        steps = min(-(-sum(counts) // self.size), max(counts))  # Eq. (1)
        for step in range(steps):
            parts = {
                # proportional cuts: every domain spreads its events evenly over the steps of the epoch
                name: batch.part(step * n // steps, (step + 1) * n // steps)
                for (name, batch), n in zip(whole.items(), counts, strict=True)
            }
            yield {name: part for name, part in parts.items() if len(part.user_N)}

    def whole(self, domain: str, epoch: int) -> Batch:
        """All events of a domain in the order of the epoch."""
        pairs = self._pairs[domain].epoch(epoch)
        item_NJ = np.stack([pairs.positive_N, *self._negatives(domain, pairs, epoch)], axis=1)
        return Batch(pairs.user_N, item_NJ, self._sides(domain, pairs.user_N, epoch), pairs.weight_N)

    def _negatives(self, domain: str, pairs: Pairs, epoch: int) -> Iterator[Int32]:
        """K items per event, one column after the other."""
        from landbridge.data.sampling.kernels import negatives

        source, rows = self._pairs[domain], self.data[domain].by_user
        yield pairs.negative_N
        for column in range(1, self.per_positive):
            key = generator(self.seed, "negatives", domain, str(epoch), str(column)).integers(2**63)
            drawn_N = np.empty_like(pairs.negative_N)
            users, items = pairs.user_N, pairs.positive_N
            negatives(np.uint64(key), 0, users, items, rows.offsets, rows.columns, *source.ranges, drawn_N)
            yield drawn_N

    def _sides(self, domain: str, user_N: Int32, epoch: int) -> Int32:
        """A random item of each user in every other domain, -1 where there is none, (N, S)."""
        others = [name for name in self.data.domain_names if name != domain] if self.sides else []
        chance_NS = generator(self.seed, "sides", domain, str(epoch)).random((len(user_N), len(others)))
        side_NS = np.full(chance_NS.shape, -1, np.int32)
        for column, name in enumerate(others):
            rows = self.data[name].by_user
            count_N = rows.lengths[user_N]
            has_N = count_N > 0
            # a place that may be out of range where the user has no event; it is masked in the next line
            place_N = rows.offsets[user_N] + (chance_NS[:, column] * count_N).astype(np.int64)
            side_NS[has_N, column] = rows.columns[place_N[has_N]]
        return side_NS

    @cached_property
    def _pairs(self) -> dict[str, Pairwise]:
        return {
            name: Pairwise(events, {name: slice(0, events.n_items)}, self.negatives, self.seed, name)
            for name, events in self.data.domains.items()
        }
