"""``Factors``: what a factorisation leaves behind, and how a row of events becomes a user.

A user's row is the optimum of her part of the objective at fixed items,

    x = A⁻¹ b,   A = α₀ Σ_{d∈P} Y_dᵀY_d + Σ_{j∈S} w_j y_j y_jᵀ + ridge I,   b = Σ_{j∈S} w_j y_j           (1)

with P the domains that take part for her and S her events in them. An item's score is x·y_i; because
A is symmetric it splits exactly into one contribution per event,

    x·y_i = Σ_{j∈S} w_j y_j · (A⁻¹ y_i)                                                                (2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.data.interactions import Rows
from landbridge.data.multidomain import MultiDomain
from landbridge.errors import SettingsError, unknown
from landbridge.models.base import Fitted, Float32, Method, Queries
from landbridge.models.explanation import Explanation
from landbridge.models.parts import als

COLD_POLICIES = ("blend", "mean", "popularity", "zero")


@dataclass(frozen=True)
class RowRule:
    """How a user's events in several domains make one row.

    ``tie``: "separate" (own domain only), "pooled" (one catalogue) or "consensus" (parties' sum).
    ``everywhere``: in a consensus, all domains take part rather than those in which she has events.
    ``shrink``: λ_z of the consensus. ``catalogue``: items with events, per domain.
    """

    tie: str
    alpha0: float
    reg: float
    exponent: float
    catalogue: Mapping[str, int]
    everywhere: bool = False
    shrink: float = 0.0

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which domains take part for each query, (B, D), in the order of ``catalogue``."""
        if self.tie == "separate":
            return np.tile(np.array([name == domain for name in self.catalogue]), (len(counts_BD), 1))
        if self.tie == "consensus" and not self.everywhere:
            return counts_BD > 0
        return np.ones_like(counts_BD, bool)

    def ridge(self, counts_BD: npt.NDArray[np.int64], part_BD: npt.NDArray[np.bool_]) -> Float32:
        """The regularisation of each row, (B,)."""
        sizes = list(self.catalogue.values())
        if self.tie == "pooled":
            return als.ridge(counts_BD.sum(axis=1), sum(sizes), self.alpha0, self.reg, self.exponent)
        tied_B = (self.tie == "consensus") & (self.everywhere | (part_BD.sum(axis=1) >= 2))
        total_B = np.where(tied_B, np.float32(self.shrink), np.float32(0))  # the consensus shrinks, no party
        for column, size in enumerate(sizes):
            own_B = als.ridge(counts_BD[:, column], size, self.alpha0, self.reg, self.exponent)
            total_B += np.where(part_BD[:, column], own_B, 0)
        return total_B


@dataclass(frozen=True, eq=False)
class Factors(Fitted):
    """``user_UF`` and ``item_IF``: domain -> float32; domains that share rows share the array.

    ``cold_policy`` serves newcomers of a domain, people without an event in it. "blend": ``cold_weight``
    times an item's popularity (share of the domain's users who have it) is added to what their events
    elsewhere say; "popularity": popularity alone. Only people of whom nothing usable is known are
    touched by "mean" (the mean trained row) and "zero" (every item alike).
    """

    user_UF: Mapping[str, Float32]
    item_IF: Mapping[str, Float32]
    rule: RowRule
    cold_policy: str
    cold_weight: float
    kind: ClassVar[str] = "factors"

    def __post_init__(self) -> None:
        if self.cold_policy not in COLD_POLICIES:
            raise SettingsError(unknown("cold_policy", self.cold_policy, COLD_POLICIES))

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
            given_B = _counts(queries.events, self.known, len(queries)).any(axis=1)
            rows_BF[given_B] = folded_BF[given_B]
        rows_BF[self._cold_B(domain, queries)] = self._cold_F[domain]
        return rows_BF

    def fold_in(self, domain: str, events: Mapping[str, Rows], size: int) -> Float32:
        """Rows of people given by ``size`` rows of events per domain, (B, F), at fixed items: Eq. (1)."""
        counts_BD = _counts(events, self.known, size)
        part_BD = self.rule.parties(domain, counts_BD)
        ridge_B = self.rule.ridge(counts_BD, part_BD)
        rows_BF = np.zeros((size, self.item_IF[domain].shape[1]), np.float32)
        patterns, pattern_B = np.unique(part_BD, axis=0, return_inverse=True)
        for pattern, part_D in enumerate(patterns):
            chosen_B = np.flatnonzero(pattern_B.reshape(-1) == pattern)
            names = [name for name, part in zip(self.known.names, part_D, strict=True) if part]
            if names:
                rows_BF[chosen_B] = self._solve(names, events, chosen_B, ridge_B[chosen_B])
        return rows_BF

    def explain(self, domain: str, user_idx: int, item_idx: int) -> Explanation:
        """The score of one item for a known person: her events by Eq. (2), and what the cold policy adds.

        There is a rest where her row is not the optimum of her events: within the tolerance of CDIMF, where
        she was left out of its consensus, and under its published variant.
        """
        asked = Queries.of_users([user_idx])
        score = float(self.score(domain, asked)[0, item_idx])
        newcomer = bool(self._newcomer_B(domain, asked)[0])
        if self._cold_B(domain, asked)[0] or (newcomer and self.cold_policy == "popularity"):
            unused_D = self.known.activity_UD[user_idx]
            nothing = {n: np.zeros(c, np.float32) for n, c in zip(self.known.names, unused_D, strict=True)}
            return Explanation(nothing, score, 0.0)
        blended = newcomer and self.cold_policy == "blend"
        popularity = self.cold_weight * float(self._popularity_I[domain][item_idx]) if blended else 0.0
        events = self._contributions(domain, user_idx, item_idx)
        total = sum(float(part_N.sum(dtype=np.float64)) for part_N in events.values())
        return Explanation(events, popularity, score - popularity - total)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Every distinct user array once, and which domain uses which."""
        distinct = list({id(array): array for array in self.user_UF.values()}.values())
        place = {id(array): number for number, array in enumerate(distinct)}
        arrays: dict[str, npt.NDArray[Any]] = {f"user:{n}": array for n, array in enumerate(distinct)}
        arrays |= {f"item:{name}": array for name, array in self.item_IF.items()}
        rule = {**vars(self.rule), "catalogue": dict(self.rule.catalogue)}
        users = {name: place[id(array)] for name, array in self.user_UF.items()}
        return arrays, {
            "users": users,
            "rule": rule,
            "cold_policy": self.cold_policy,
            "cold_weight": self.cold_weight,
        }

    @classmethod
    def from_state(
        cls,
        known: MultiDomain,
        method: Method,
        log: tuple[Mapping[str, Any], ...],
        arrays: Mapping[str, npt.NDArray[Any]],
        about: Mapping[str, Any],
    ) -> Factors:
        """The inverse of ``state``."""
        users = {name: arrays[f"user:{about['users'][name]}"] for name in known.names}
        items = {name: arrays[f"item:{name}"] for name in known.names}
        rule = {
            **about["rule"],
            "catalogue": {name: about["rule"]["catalogue"][name] for name in known.names},
        }
        return cls(
            known, method, log, users, items, RowRule(**rule), about["cold_policy"], about["cold_weight"]
        )

    @cached_property
    def _gramians(self) -> dict[str, npt.NDArray[np.float64]]:
        return {name: als.gramian(item_IF, 1) for name, item_IF in self.item_IF.items()}

    @cached_property
    def _trained_U(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Whose row was learned from events, per domain."""
        if self.rule.tie == "separate":
            return {name: table.user_counts > 0 for name, table in self.known.domains.items()}
        return dict.fromkeys(self.known.names, np.asarray(self.known.activity_UD.any(axis=1)))

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
        offsets = self.known[domain].by_user.offsets  # of the people asked for, not of everybody
        own_events_B = offsets[queries.user_idx + 1] - offsets[queries.user_idx]
        count_B = np.where(queries.user_idx >= 0, own_events_B, 0)
        if queries.events is None:
            return np.asarray(count_B == 0)
        counts_BD = _counts(queries.events, self.known, len(queries))
        own_B = counts_BD[:, self.known.names.index(domain)]
        return np.asarray(np.where(counts_BD.any(axis=1), own_B, count_B) == 0)

    def _cold_B(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        trained_B = (queries.user_idx >= 0) & self._trained_U[domain][queries.user_idx]
        if queries.events is None:
            return np.asarray(~trained_B)
        counts_BD = _counts(queries.events, self.known, len(queries))
        usable_B = (counts_BD > 0) & self.rule.parties(domain, counts_BD)
        replaced_B = counts_BD.any(axis=1)
        return np.asarray(~np.where(replaced_B, usable_B.any(axis=1), trained_B))

    def _contributions(self, domain: str, user_idx: int, item_idx: int) -> dict[str, Float32]:
        """What each known event adds to the score of one item, Eq. (2): domain -> (N of the user,)."""
        events = {name: _one_row(table.by_user, user_idx) for name, table in self.known.domains.items()}
        counts_BD = _counts(events, self.known, 1)
        part_BD = self.rule.parties(domain, counts_BD)
        system_FF = self.rule.ridge(counts_BD, part_BD)[0] * np.eye(self.item_IF[domain].shape[1])
        parties = [name for name, part in zip(self.known.names, part_BD[0], strict=True) if part]
        for name in parties:
            y_NF = self.item_IF[name][events[name].columns].astype(np.float64)
            system_FF += self.rule.alpha0 * self._gramians[name] + (y_NF.T * _weights(events[name])) @ y_NF
        towards_F = np.linalg.solve(system_FF, self.item_IF[domain][item_idx].astype(np.float64))
        return {
            name: (_weights(row) * (self.item_IF[name][row.columns] @ towards_F)).astype(np.float32)
            if name in parties
            else np.zeros(len(row.columns), np.float32)
            for name, row in events.items()
        }

    def _solve(
        self, names: list[str], events: Mapping[str, Rows], chosen_B: npt.NDArray[np.int64], ridge_B: Float32
    ) -> Float32:
        """Eq. (1) for queries with the same parties: only the items they touch are gathered."""
        touched_JF, rows = _gather(names, events, chosen_B, self.item_IF)
        gramian_FF = sum(self._gramians[name] for name in names)
        spectrum_F, rotation_FF = np.linalg.eigh(gramian_FF)
        rotation_FF = rotation_FF.astype(np.float32)
        fixed = als.Basis(rotation_FF, np.maximum(spectrum_F, 0), touched_JF @ rotation_FF)
        with als.limited(1):
            return np.asarray(als.solve(rows, fixed, self.rule.alpha0, ridge_B) @ rotation_FF.T)


def _gather(
    names: list[str],
    events: Mapping[str, Rows],
    chosen_B: npt.NDArray[np.int64],
    item_IF: Mapping[str, Float32],
) -> tuple[Float32, Rows]:
    """The factors of all events of the chosen queries, (J, F), and rows that point into them."""
    owners, columns_JF, weights = [], [], []
    for name in names:
        if name in events:
            offsets, columns, weight = events[name]
            owner_N = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
            place_N = np.full(len(offsets) - 1, -1)
            place_N[chosen_B] = np.arange(len(chosen_B))
            kept_N = place_N[owner_N] >= 0
            owners.append(place_N[owner_N][kept_N])
            columns_JF.append(item_IF[name][columns[kept_N]])
            weights.append(np.ones(int(kept_N.sum()), np.float32) if weight is None else weight[kept_N])
    n_factors = item_IF[names[0]].shape[1]
    owner_J = np.concatenate([*owners, np.empty(0, np.int64)])
    order_J = np.argsort(owner_J, kind="stable")
    offsets_B = np.concatenate(([0], np.cumsum(np.bincount(owner_J, minlength=len(chosen_B))))).astype(
        np.int64
    )
    touched_JF = np.concatenate([*columns_JF, np.empty((0, n_factors), np.float32)])
    weight_J = np.concatenate([*weights, np.empty(0, np.float32)])[order_J]
    return touched_JF, Rows(offsets_B, order_J.astype(np.int32), weight_J)


def _counts(events: Mapping[str, Rows], known: MultiDomain, size: int) -> npt.NDArray[np.int64]:
    """Events per query and domain, (B, D)."""
    none_B = np.zeros(size, np.int64)
    return np.stack([np.diff(events[n].offsets) if n in events else none_B for n in known.names], axis=1)


def _one_row(rows: Rows, row: int) -> Rows:
    part = slice(rows.offsets[row], rows.offsets[row + 1])
    weight = None if rows.weight is None else rows.weight[part]
    return Rows(np.array([0, part.stop - part.start], np.int64), rows.columns[part], weight)


def _weights(row: Rows) -> Float32:
    return np.ones(len(row.columns), np.float32) if row.weight is None else row.weight
