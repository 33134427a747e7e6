"""Popularity: an item's score is the number of its events, the same for every user; events may fade.

    score_i = Σ_{n of item i} 2^(-(t - t_n) / h)                                                        (1)

with t the time of the domain's last event and h the half-life; all events count alike without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.types import Arrays, Float32, Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY, Interactions
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.models.search_space import Choice, Space
from landbridge.training.options import FitOptions


@dataclass(frozen=True, eq=False)
class PopularityModel(Fitted):
    """One score per item, the same for every user. ``score_I``: domain -> float32 (I,)."""

    score_I: Mapping[str, Float32]
    kind: ClassVar[str] = "counts"
    unexplained: ClassVar[str] = "every user gets the same scores"
    personal: ClassVar[bool] = False

    def score(self, domain: str, queries: Queries) -> Float32:
        """The same row for every query, (B, I)."""
        return np.tile(self.score_I[self.history.named(domain)], (len(queries), 1))

    def state(self) -> tuple[Arrays, Record]:
        """One array per domain."""
        return {f"score:{name}": score_I for name, score_I in self.score_I.items()}, {}

    @classmethod
    def from_state(cls, kept: StoredState) -> PopularityModel:
        """The inverse of ``state``."""
        history, method, log, arrays, _ = kept
        return cls(history, method, log, {name: arrays[f"score:{name}"] for name in history.domain_names})


@dataclass(frozen=True)
class Popularity(Method):
    """Counts the events of every item."""

    half_life_days: float = setting(
        0.0, "Days after which an event counts half, where there are times; 0: never.", low=0, symbol="h"
    )
    relative_cost: ClassVar[int] = 0
    name: ClassVar[str] = "popularity"
    folds_in: ClassVar[str] = "needs none"
    space: ClassVar[Space] = MappingProxyType({"half_life_days": Choice((0.0, 7.0, 30.0, 90.0, 365.0))})

    @property
    def single_domain(self) -> bool:
        """As in :class:`Method`."""
        return True

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """Its search chooses the half-life where there are times."""
        return {cls.name: cls()}

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> PopularityModel:
        """Count, Eq. (1)."""
        scores = {name: self._counts_I(events) for name, events in train.domains.items()}
        return PopularityModel(train, self, (), scores)

    def _counts_I(self, events: Interactions) -> Float32:
        if not self.half_life_days or events.time is None or not len(events):
            return events.item_counts.astype(np.float32)
        age_N = (events.time.max() - events.time) / (DAY * self.half_life_days)
        return np.bincount(events.item_idx, np.exp2(-age_N), minlength=events.n_items).astype(np.float32)
