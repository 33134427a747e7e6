"""``Dot``: a row per user and a row per item, and what people without a row are served.

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

from landbridge.data.activity import events_in
from landbridge.data.interactions import Rows
from landbridge.data.multidomain import MultiDomain
from landbridge.errors import SettingsError, unknown
from landbridge.models.base import Fitted, Float32, Queries

COLD_POLICIES = ("blend", "mean", "popularity", "zero")


@dataclass(frozen=True, eq=False)
class Dot(Fitted):
    """``user_UF`` and ``item_IF``: domain -> float32; domains that share rows share the array.

    ``cold_policy`` serves newcomers of a domain, people without an event in it. "blend": ``cold_weight``
    times an item's popularity (share of the domain's users who have it) is added to what their events
    elsewhere say; "popularity": popularity alone. Only people of whom nothing usable is known are
    touched by "mean" (the mean trained row) and "zero" (every item alike).
    """

    user_UF: Mapping[str, Float32]
    item_IF: Mapping[str, Float32]
    cold_policy: str
    cold_weight: float

    def __post_init__(self) -> None:
        if self.cold_policy not in COLD_POLICIES:
            raise SettingsError(unknown("cold_policy", self.cold_policy, COLD_POLICIES))

    @abstractmethod
    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The domains whose events make up each query's row in ``domain``, (B, D)."""

    @abstractmethod
    def fold_in(self, domain: str, events: Mapping[str, Rows], size: int) -> Float32:
        """Rows of people given by ``size`` rows of events per domain, (B, F), at fixed items."""

    def score(self, domain: str, queries: Queries) -> Float32:
        """User row times item rows, for newcomers with the cold policy, (B, I)."""
        scores_BI = self.query_vectors(domain, queries) @ self.item_IF[self.known.named(domain)].T
        newcomer_B = self._newcomer_B(domain, queries)
        if self.cold_policy == "blend":
            scores_BI[newcomer_B] += np.float32(self.cold_weight) * self._popularity_I[domain]
        elif self.cold_policy == "popularity":
            scores_BI[newcomer_B] = self._popularity_I[domain]
        return np.asarray(scores_BI)

    def query_vectors(self, domain: str, queries: Queries) -> Float32:
        """One row per query, (B, F): looked up, folded in, or the cold row."""
        rows_BF = self.user_UF[self.known.named(domain)][queries.user_idx]
        if queries.events is not None:
            folded_BF = self.fold_in(domain, queries.events, len(queries))
            given_B = counts_of(queries.events, self.known, len(queries)).any(axis=1)
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
        return arrays, {"users": users, "cold_policy": self.cold_policy, "cold_weight": self.cold_weight}

    @cached_property
    def _trained_U(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Whose row was learned from events, per domain."""
        activity_UD = self.known.activity_UD
        return {
            name: np.asarray(((activity_UD > 0) & self.parties(name, activity_UD)).any(axis=1))
            for name in self.known.names
        }

    @cached_property
    def _cold_F(self) -> dict[str, Float32]:
        """The row of people of whom nothing usable is known, per domain."""
        if self.cold_policy == "mean":
            return {
                name: self.user_UF[name][trained].sum(axis=0) / np.float32(max(trained.sum(), 1))
                for name, trained in self._trained_U.items()
            }
        return {name: np.zeros(rows_UF.shape[1], np.float32) for name, rows_UF in self.user_UF.items()}

    @cached_property
    def _popularity_I(self) -> dict[str, Float32]:
        """The share of a domain's users who have each item."""
        return {
            name: (events.item_counts / max(int((events.user_counts > 0).sum()), 1)).astype(np.float32)
            for name, events in self.known.domains.items()
        }

    def _newcomer_B(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        """Who has no event in the domain."""
        return np.asarray(events_in(self.known, domain, queries) == 0)

    def _cold_B(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        trained_B = (queries.user_idx >= 0) & self._trained_U[domain][queries.user_idx]
        if queries.events is None:
            return np.asarray(~trained_B)
        counts_BD = counts_of(queries.events, self.known, len(queries))
        usable_B = (counts_BD > 0) & self.parties(domain, counts_BD)
        replaced_B = counts_BD.any(axis=1)
        return np.asarray(~np.where(replaced_B, usable_B.any(axis=1), trained_B))


def counts_of(events: Mapping[str, Rows], known: MultiDomain, size: int) -> npt.NDArray[np.int64]:
    """Events per query and domain, (B, D)."""
    none_B = np.zeros(size, np.int64)
    return np.stack([np.diff(events[n].offsets) if n in events else none_B for n in known.names], axis=1)


def rows_from(
    known: MultiDomain, arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]
) -> tuple[dict[str, Float32], dict[str, Float32], str, float]:
    """User rows, item rows, cold policy and weight of :meth:`Dot.rows_state`, in the order of the fields."""
    users = {name: arrays[f"user:{about['users'][name]}"] for name in known.names}
    items = {name: arrays[f"item:{name}"] for name in known.names}
    return users, items, about["cold_policy"], about["cold_weight"]
