"""Popularity: an item's score is the number of its events, the same for every user; events may fade.

    c_di = Σ_{n of item i} 2^(-(t - t_n) / h)                                                           (1)

with t the time of the last event of domain d and h the half-life; all events count alike without one. Where
items are shared, an item's share of its domain's events may be shrunk towards the share that its product p
has of the events of all domains D_p that have it, and be scored as a number of events again:

    q_p = Σ_{d∈D_p} c_dp / Σ_{d∈D_p} n_d,  n_d = Σ_i c_di                                               (2)
    score_di = n_d (c_di + κ q_p) / (n_d + κ)                                                           (3)

κ is ``pooling``, the number of events at which both shares weigh the same. Without it, and for an item of one
domain alone, the score is c_di.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.types import Arrays, Float32, Float64, Record, blocks
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY, Interactions
from landbridge.data.products import Products
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.models.common.event_age import HALF_LIFE
from landbridge.models.cost import FLOAT32, FLOAT64, Cost, Work
from landbridge.models.search_space import Choice, Real, Space
from landbridge.training.options import FitOptions

POOLED = 1000.0  # events; where the search of pooled popularity begins


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

    def grown(self, data: MultiDomain) -> PopularityModel:
        """As in :class:`Fitted`: a new item has no events."""
        scores = {name: np.zeros(len(data.items[name]), np.float32) for name in self.score_I}
        for name, score_I in self.score_I.items():
            scores[name][data.items[name].index(self.history.items[name].ids)] = score_I
        return replace(self, history=data, score_I=scores)

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

    half_life_days: float = setting(0.0, HALF_LIFE, low=0, symbol="h", of_times=True)
    pooling: float = setting(
        0.0,
        "Of shared items: events of a domain that weigh as much as the share in all domains; 0: no pooling.",
        low=0,
        symbol="κ",
    )
    relative_cost: ClassVar[int] = 0
    name: ClassVar[str] = "popularity"
    folds_in: ClassVar[str] = "needs none"
    shared_items: ClassVar[str] = "shares pooled by `pooling`"
    space: ClassVar[Space] = MappingProxyType({"half_life_days": Choice((0.0, 7.0, 30.0, 90.0, 365.0))})
    shared_space: ClassVar[Space] = MappingProxyType({"pooling": Real(10.0, 1e6, log=True)})

    @property
    def single_domain(self) -> bool:
        """As in :class:`Method`."""
        return self.pooling == 0

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """Its search chooses the half-life where there are times; pooled, too, where items are shared."""
        pooled = {f"{cls.name} pooled": cls(pooling=POOLED)} if data.shares_items else {}
        return {cls.name: cls()} | pooled

    def cost(self, counts: Counts) -> Cost:
        """One addition per event."""
        items = sum(table.n_items for table in counts.domains.values())
        return Cost(
            Work(scatter=counts.events), Work(), 0, FLOAT64 * (items + counts.events), FLOAT32 * items
        )

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> PopularityModel:
        """Count, Eq. (1), and pool, Eqs. (2) and (3)."""
        counts = {name: self._counts_I(events) for name, events in train.domains.items()}
        if self.uses_products and train.products is not None:
            counts = self._pooled(counts, train.products)
        scores = {name: count_I.astype(np.float32) for name, count_I in counts.items()}
        return PopularityModel(train, self, (), scores)

    def _counts_I(self, events: Interactions) -> Float64:
        if not self.half_life_days or events.time is None or not len(events):
            return events.item_counts.astype(np.float64)
        latest, fading_I = events.time.max(), np.zeros(events.n_items)
        for block in blocks(len(events)):
            age_B = (latest - events.time[block]) / (DAY * self.half_life_days)
            np.add.at(fading_I, events.item_idx[block], np.exp2(-age_B))
        return fading_I

    def _pooled(self, counts: Mapping[str, Float64], products: Products) -> dict[str, Float64]:
        """Eq. (3) for the items of every domain."""
        of = {name: (counts[name], product_I) for name, product_I in products.product_I.items()}
        count_P, total_P = np.zeros((2, products.n_products))
        for count_I, product_I in of.values():
            count_P[product_I] += count_I
            total_P[product_I] += count_I.sum()
        share_P = np.divide(count_P, total_P, out=np.zeros_like(count_P), where=total_P > 0)  # Eq. (2)
        return {
            name: count_I.sum() / (count_I.sum() + self.pooling)
            * (count_I + self.pooling * share_P[product_I])  # Eq. (3)
            for name, (count_I, product_I) in of.items()
        }  # fmt: skip
