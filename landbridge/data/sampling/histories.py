"""Histories beside the events of a batch, with items and whole domains masked, and never with the target.

For an event (u, i) of domain d

    own       at most L items of u in d other than i, each left out with chance m                      (1)
    every     the same in every domain, without those of d with chance M                               (2)

An epoch depends on seed and number alone, as in :mod:`landbridge.data.sampling.domain_batches`.
Letters: N events, L places of a history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Int32
from landbridge.data.sampling.domain_batches import Batch, DomainBatches


class MaskedBatch(NamedTuple):
    """A domain's batch, and items of its users, (N, L), -1 where there is none: Eqs. (1) and (2). L may be
    smaller where no user has so many."""

    batch: Batch
    own_NL: Int32
    every: Mapping[str, Int32]


@dataclass(frozen=True, eq=False)
class MaskedBatches:
    """Samples batches with their histories. ``max_length``: L. ``mask``: m. ``domain_mask``: M."""

    batches: DomainBatches
    max_length: int
    mask: float
    domain_mask: float

    def steps(self, epoch: int) -> Iterator[dict[str, MaskedBatch]]:
        """The epoch: domain -> batch, domains without an event in the step left out."""
        names, seed = self.batches.data.domain_names, self.batches.seed
        label = "history", str(epoch)
        keys = {
            (domain, of): np.uint64(generator(seed, *label, domain, of).integers(2**63))
            for domain in names
            for of in names
        }
        chances = {domain: generator(seed, *label, domain) for domain in names}
        done = dict.fromkeys(names, 0)
        for step in self.batches.steps(epoch):
            masked = {}
            for domain, batch in step.items():
                every = {of: self._drawn(keys[domain, of], done[domain], domain, of, batch) for of in names}
                own_NL = every[domain]
                left_out_N = chances[domain].random(len(own_NL)) < self.domain_mask
                every[domain] = np.where(left_out_N[:, None], np.int32(-1), own_NL)  # Eq. (2)
                masked[domain] = MaskedBatch(batch, own_NL, every)
                done[domain] += len(own_NL)
            yield masked

    def _drawn(self, key: np.uint64, first: int, domain: str, of: str, batch: Batch) -> Int32:
        """Items of ``of`` for events of ``domain``, which are not among them: Eq. (1)."""
        from landbridge.data.sampling.kernels import histories

        rows, item_N = self.batches.data[of].by_user, batch.item_NJ[:, 0]
        without_N = item_N if of == domain else np.full_like(item_N, -1)
        out_NL = np.empty((len(item_N), self._places[of]), np.int32)
        histories(key, first, batch.user_N, without_N, rows.offsets, rows.columns, self.mask, out_NL)
        return out_NL

    @cached_property
    def _places(self) -> dict[str, int]:
        """L by domain: no more than its longest history has."""
        return {
            name: min(self.max_length, int(events.user_counts.max(initial=0)))
            for name, events in self.batches.data.domains.items()
        }
