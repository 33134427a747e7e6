"""Item mean: the mean weight of an item's events, shrunk towards the mean of the domain.

Funk, "Netflix update: try this at home" (2006). With the weights w_ui of the n_i events of item i, the mean m
of all weights of the domain and a strength of λ events,

    score_i = (Σ_u w_ui + λ m) / (n_i + λ)                                                             (1)

Shapes: B queries, I items, N events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landbridge import FitOptions, Fitted, Interactions, Method, MultiDomain, Queries
from landbridge.core.settings import setting
from landbridge.models.base import StoredState


@dataclass(frozen=True, eq=False)
class ItemMeanModel(Fitted):
    """One score per item, the same for every user. ``score_I``: domain -> scores, (I,)."""

    score_I: Mapping[str, np.ndarray]
    kind: ClassVar[str] = "itemmean"

    @property
    def personal(self) -> bool:
        """Whether scores differ between users."""
        return False

    def score(self, domain: str, queries: Queries) -> np.ndarray:
        """The same row for every query, (B, I)."""
        return np.tile(self.score_I[self.history.named(domain)], (len(queries), 1))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The scores of every domain, by name."""
        return dict(self.score_I), {}

    @classmethod
    def from_state(cls, kept: StoredState) -> ItemMeanModel:
        """The model whose state was kept."""
        return cls(kept.history, kept.method, kept.log, dict(kept.arrays))


@dataclass(frozen=True)
class ItemMean(Method):
    """Mean weight per item."""

    strength: float = setting(
        5.0, "Events' worth of the domain's mean added to every item.", low=0.1, symbol="λ"
    )
    name: ClassVar[str] = "itemmean"
    paper: ClassVar[str] = "Funk 2006"

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> ItemMeanModel:
        """One pass over the events; there are no epochs, so ``options`` are not needed."""
        scores = {domain: self._means(events) for domain, events in train.domains.items()}
        return ItemMeanModel(train, self, (), scores)

    def _means(self, events: Interactions) -> np.ndarray:
        """Eq. (1), (I,)."""
        weight_N = np.ones(len(events)) if events.weight is None else events.weight
        mean = float(weight_N.mean()) if len(events) else 0.0
        total_I = np.bincount(events.item_idx, weight_N, minlength=events.n_items)
        scores_I = (total_I + self.strength * mean) / (events.item_counts + self.strength)  # Eq. (1)
        return scores_I.astype(np.float32)
