"""Popularity: an item's score is the number of its events; the same for every user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.training.options import FitOptions


@dataclass(frozen=True, eq=False)
class PopularityModel(Fitted):
    """One score per item, the same for every user. ``score_I``: domain -> float32 (I,)."""

    score_I: Mapping[str, Float32]
    kind: ClassVar[str] = "counts"
    personal: ClassVar[bool] = False

    def score(self, domain: str, queries: Queries) -> Float32:
        """The same row for every query, (B, I)."""
        return np.tile(self.score_I[self.history.named(domain)], (len(queries), 1))

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
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

    name: ClassVar[str] = "popularity"
    folds_in: ClassVar[str] = "needs none"

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> PopularityModel:
        """Count; there is nothing to choose."""
        scores = {name: events.item_counts.astype(np.float32) for name, events in train.domains.items()}
        return PopularityModel(train, self, (), scores)
