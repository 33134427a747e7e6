"""``DotProductModel``: a row per user and a row per item, and what people without a row are served.

Shape letters as in :mod:`landbridge.models.base`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Ragged
from landbridge.models.base import Float32, Queries
from landbridge.models.common.cold_start import COLD_POLICIES as COLD_POLICIES
from landbridge.models.common.cold_start import ColdStartMixin, event_counts, mean_embedding


@dataclass(frozen=True, eq=False)
class DotProductModel(ColdStartMixin):
    """``user_UF`` and ``item_IF``: domain -> float32; domains that share rows share the array.

    ``cold_policy`` and ``popularity_weight``: :class:`~landbridge.models.common.cold_start.ColdStartMixin`.
    """

    user_UF: Mapping[str, Float32]
    item_IF: Mapping[str, Float32]
    cold_policy: str
    popularity_weight: float

    @abstractmethod
    def fold_in(self, domain: str, events: Mapping[str, Ragged], size: int) -> Float32:
        """Rows of people given by ``size`` rows of events per domain, (B, F), at fixed items."""

    def warm_scores(self, domain: str, queries: Queries) -> Float32:
        """User row times item rows, (B, I)."""
        return np.asarray(self.query_vectors(domain, queries) @ self.item_IF[domain].T)

    def query_vectors(self, domain: str, queries: Queries) -> Float32:
        """One row per query, (B, F): looked up, folded in, or the cold row."""
        rows_BF = self.user_UF[self.history.named(domain)][queries.user_idx]
        if queries.events is not None:
            folded_BF = self.fold_in(domain, queries.events, len(queries))
            given_B = event_counts(queries.events, self.history, len(queries)).any(axis=1)
            rows_BF[given_B] = folded_BF[given_B]
        rows_BF[self._cold_B(domain, queries)] = self._cold_F[domain]
        return rows_BF

    def rows_state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Every distinct user array once and all items, which domain uses which, and the cold policy."""
        distinct = list({id(array): array for array in self.user_UF.values()}.values())
        place = {id(array): number for number, array in enumerate(distinct)}
        arrays: dict[str, npt.NDArray[Any]] = {f"user:{n}": array for n, array in enumerate(distinct)}
        arrays |= {f"item:{name}": array for name, array in self.item_IF.items()}
        users = {name: place[id(array)] for name, array in self.user_UF.items()}
        return arrays, {
            "users": users,
            "cold_policy": self.cold_policy,
            "cold_weight": self.popularity_weight,
        }

    @cached_property
    def _cold_F(self) -> dict[str, Float32]:
        """The row of people of whom nothing usable is known, per domain."""
        if self.cold_policy == "mean":
            return {
                name: mean_embedding(self.user_UF[name], trained) for name, trained in self._trained_U.items()
            }
        return {name: np.zeros(rows_UF.shape[1], np.float32) for name, rows_UF in self.user_UF.items()}


def embeddings_from(
    history: MultiDomain, arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]
) -> tuple[dict[str, Float32], dict[str, Float32], str, float]:
    """User rows, item rows, cold policy and weight of :meth:`Dot.rows_state`, in the order of the fields."""
    users = {name: arrays[f"user:{about['users'][name]}"] for name in history.domain_names}
    items = {name: arrays[f"item:{name}"] for name in history.domain_names}
    return users, items, about["cold_policy"], about["cold_weight"]
