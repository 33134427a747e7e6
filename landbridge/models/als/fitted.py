"""``ALSModel``: what a factorisation leaves behind, and how a row of events becomes a user.

A user's embedding is the optimum of their part of the objective at fixed items,

    x = A⁻¹ b,   A = α₀ Σ_{d∈P} Y_dᵀY_d + Σ_{j∈S} w_j y_j y_jᵀ + ridge I,   b = Σ_{j∈S} w_j y_j           (1)

with P the domains that take part for the user and S the user's events in them. An item's score is x·y_i.
Where items are shared, a product counts once in the first term: the items of a product in k domains with 1/k
each. New items, which have the embedding of their features, are not in that term. Disliked items D of weight
v add v y_j y_jᵀ for each j in D to A, and nothing to b. A user with features g adds λ Bᵀg to b, λ without the
shrinkage of a consensus, and without events has x = Bᵀg (:mod:`landbridge.models.als.feature_map`). Because
A is symmetric, the score splits exactly into one contribution per event, and one of the user's features,

    x·y_i = Σ_{j∈S} w_j y_j · (A⁻¹ y_i)                                                                (2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.threads import thread_limit
from landbridge.core.types import Arrays, Float32, Int32, Ragged, Record, row_offsets
from landbridge.data.dataset import MultiDomain
from landbridge.data.products import Products, share_I
from landbridge.data.queries import event_counts
from landbridge.models.als import solver as als
from landbridge.models.als.feature_map import mapped_items, with_mapped, without_mapped
from landbridge.models.base import Queries, StoredState
from landbridge.models.common.dot_product import NONE, DotProductModel, embeddings_from
from landbridge.models.common.event_age import EventAge
from landbridge.models.explanation import Explanation, in_parts

KEPT = 256  # sets of domains whose eigenvectors a model keeps for the next fold-in


@dataclass(frozen=True)
class RidgeSpec:
    """How a user's events in several domains make one row.

    ``tie``: "separate" (own domain only), "pooled" (one catalogue) or "consensus" (parties' sum).
    ``everywhere``: in a consensus, all domains take part rather than those in which the user has events.
    ``shrink``: λ_z of the consensus. ``catalogue``: items with events, per domain. ``dislike_weight``: of a
    disliked item. ``products``: of a pooled catalogue with shared items, products with events; else 0.
    """

    tie: str
    alpha0: float
    reg: float
    exponent: float
    catalogue: Mapping[str, int]
    everywhere: bool = False
    shrink: float = 0.0
    dislike_weight: float = 0.0
    products: int = 0

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which domains take part for each query, (B, D), in the order of ``catalogue``."""
        if self.tie == "separate":
            return np.tile(np.array([name == domain for name in self.catalogue]), (len(counts_BD), 1))
        if self.tie == "consensus" and not self.everywhere:
            return counts_BD > 0
        return np.ones_like(counts_BD, bool)

    def ridge(self, counts_BD: npt.NDArray[np.int64], part_BD: npt.NDArray[np.bool_]) -> Float32:
        """The regularisation of each row, (B,)."""
        tied_B = (self.tie == "consensus") & (self.everywhere | (part_BD.sum(axis=1) >= 2))
        # the consensus shrinks, no party
        return self.penalty(counts_BD, part_BD) + np.where(tied_B, np.float32(self.shrink), np.float32(0))

    def penalty(self, counts_BD: npt.NDArray[np.int64], part_BD: npt.NDArray[np.bool_]) -> Float32:
        """λ of each row, (B,), summed over the domains that take part."""
        sizes = list(self.catalogue.values())
        penalty = als.FrequencyRidge(self.alpha0, self.reg, self.exponent)
        if self.tie == "pooled":
            return penalty.of(counts_BD.sum(axis=1), self.products or sum(sizes))
        total_B = np.zeros(len(counts_BD), np.float32)
        for column, size in enumerate(sizes):
            own_B = penalty.of(counts_BD[:, column], size)
            total_B += np.where(part_BD[:, column], own_B, 0)
        return total_B


@dataclass(frozen=True, eq=False)
class ALSModel(DotProductModel):
    """Rows that are optima of their events; see
    :class:`~landbridge.models.common.dot_product.DotProductModel`.

    ``map_VF``, ``user_map_VF``: domain -> the map from item features, or from those of users, to embeddings,
    (V, F); empty where none was learned. ``age``: how the events of a query count by their times.
    """

    rule: RidgeSpec
    map_VF: Mapping[str, Float32] = field(default_factory=dict)
    user_map_VF: Mapping[str, Float32] = field(default_factory=dict)
    age: EventAge = field(default_factory=EventAge)
    kind: ClassVar[str] = "factors"
    explains: ClassVar[bool] = True

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """As the rule says."""
        return self.rule.parties(domain, counts_BD)

    def knows(self, domain: str, queries: Queries) -> npt.NDArray[np.bool_]:
        """As in :class:`Fitted`; features of a user make an embedding, too."""
        return super().knows(domain, queries) | self._described_B(domain, queries.user_idx)

    def query_vectors(self, domain: str, queries: Queries) -> Float32:
        """As in :class:`DotProductModel`; known users with features bring these beside their own events."""
        queries = self.age.of_queries(queries)
        rows_BF = super().query_vectors(domain, queries)
        given_B = np.flatnonzero(queries.has_events_B & self._described_B(domain, queries.user_idx))
        if len(given_B):
            some = queries.take(given_B)
            rows_BF[given_B] = self.fold_in(
                domain, some.events or NONE, len(some), some.disliked or NONE, some.user_idx
            )
        return rows_BF

    def fold_in(
        self,
        domain: str,
        events: Mapping[str, Ragged],
        size: int,
        disliked: Mapping[str, Ragged] = NONE,
        user_B: Int32 | None = None,
    ) -> Float32:
        """Embeddings of new users from ``size`` rows of events, and of disliked items, per domain, (B, F),
        Eq. (1). ``user_B``: known users, whose features count."""
        counts_BD = event_counts(events, self.history.domain_names, size)
        part_BD = self.rule.parties(domain, counts_BD)
        ridge_B = self.rule.ridge(counts_BD, part_BD)
        rows_BF = np.zeros((size, self.item_IF[domain].shape[1]), np.float32)
        pull_BF = mapped_BF = None
        if user_B is not None:
            mapped_BF = self._mapped_users(domain, user_B)
            pull_BF = self.rule.penalty(counts_BD, part_BD)[:, None] * mapped_BF
        none = Ragged.empty(size)
        given = {
            name: als.with_dislikes(
                events.get(name, none), disliked.get(name, none), self.rule.dislike_weight
            )
            for name in events.keys() | disliked.keys()
        }
        # queries with the same parties share a Gramian, hence one eigendecomposition
        patterns, pattern_B = np.unique(part_BD, axis=0, return_inverse=True)
        for pattern, part_D in enumerate(patterns):
            chosen_B = np.flatnonzero(pattern_B.reshape(-1) == pattern)
            names = [name for name, part in zip(self.history.domain_names, part_D, strict=True) if part]
            if names:
                pull = None if pull_BF is None else pull_BF[chosen_B]
                rows_BF[chosen_B] = self._solve(names, given, chosen_B, ridge_B[chosen_B], pull)
        if mapped_BF is not None:
            # that a user has none of the items says nothing
            without_B = ~((counts_BD > 0) & part_BD).any(axis=1)
            rows_BF[without_B] = mapped_BF[without_B]
        return rows_BF

    def explain(self, domain: str, query: Queries, item_N: Int32) -> list[Explanation]:
        """The scores of some items: the query's events by Eq. (2), and what the cold-start policy adds.

        A rest remains: of the user's features, and where a known user's embedding is not the optimum, within
        the tolerance of CDIMF's parties, for users outside its consensus, and under its published variant.
        """
        score_N = self.score(domain, query)[0, item_N].tolist()
        cold_start = bool(self._no_events_B(domain, query)[0])
        own = self.age.of_histories(query, self.history)
        if self._is_popularity(domain, query):
            nothing = {name: np.zeros(len(rows.columns), np.float32) for name, rows in own.items()}
            return [Explanation(nothing, score, 0.0) for score in score_N]
        weight = self.popularity_weight if cold_start and self.cold_policy == "blend" else 0.0
        popularity_N = (weight * self._popularity_I[domain][item_N].astype(np.float64)).tolist()
        part_EN = self._contributions(domain, own, query.dislikes_by_domain(self.history), item_N)
        return [
            in_parts(score, popularity, {name: part[:, place] for name, part in part_EN.items()})
            for place, (score, popularity) in enumerate(zip(score_N, popularity_N, strict=True))
        ]

    def explain_features(self, domain: str, query: Queries, item: int) -> dict[int, float]:
        """As in :class:`Fitted`, f_iv x·a_v: by Eq. (1) of ``feature_map`` they and x·e_i sum to x·y_i."""
        features = self.history.item_features
        if domain not in self.map_VF or features is None or self._is_popularity(domain, query):
            return {}
        own = features.rows[domain].take([item])
        x_F = self.query_vectors(domain, query)[0]
        part_N = own.weights * (self.map_VF[domain][own.columns] @ x_F)
        return dict(zip(own.columns.tolist(), part_N.tolist(), strict=True))

    def grown(self, data: MultiDomain) -> ALSModel:
        """As in :class:`Fitted`: a new item has the embedding of its features, without a map zero as every
        item without events; all else stays."""
        items = {}
        for name, own_IF in self.item_IF.items():
            items[name] = np.zeros((len(data.items[name]), own_IF.shape[1]), np.float32)
            items[name][data.items[name].index(self.history.items[name].ids)] = own_IF
        if self.map_VF:
            items = with_mapped(data, items, self.map_VF, bool(self.rule.products))
        return replace(self, history=data, item_IF=items)

    def state(self) -> tuple[Arrays, Record]:
        """The rows, and the rule that makes them."""
        arrays, about = self.rows_state()
        arrays |= {f"map:{name}": map_VF for name, map_VF in self.map_VF.items()}
        arrays |= {f"user_map:{name}": map_VF for name, map_VF in self.user_map_VF.items()}
        rule = {**vars(self.rule), "catalogue": dict(self.rule.catalogue)}
        return arrays, {**about, "rule": rule, "age": {**vars(self.age), "latest": dict(self.age.latest)}}

    @classmethod
    def from_state(cls, kept: StoredState) -> ALSModel:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        catalogue = {name: about["rule"]["catalogue"][name] for name in history.domain_names}
        rule = RidgeSpec(**{**about["rule"], "catalogue": catalogue})
        maps, user_maps = (
            {name: arrays[f"{kind}:{name}"] for name in history.domain_names if f"{kind}:{name}" in arrays}
            for kind in ("map", "user_map")
        )
        age = EventAge(**about.get("age", {}))  # 0.1 had none
        embeddings = embeddings_from(history, arrays, about)
        return cls(history, method, log, *embeddings, rule, maps, user_maps, age)

    def check_arrays(self) -> None:
        """As in :class:`Fitted`."""
        super().check_arrays()
        of_items = self.history.item_features, self.map_VF, "item"
        of_users = self.history.user_features, self.user_map_VF, "user"
        for features, maps, whose in (of_items, of_users):
            for name, map_VF in maps.items():
                shape = 0 if features is None else features.n_features, self.item_IF[name].shape[1]
                if map_VF.shape != shape or not np.isfinite(map_VF).all():
                    raise DataError(
                        f"its map of {whose} features does not fit its data in {name!r}; fit it again."
                    )

    @cached_property
    def _gramians(self) -> dict[str, npt.NDArray[np.float64]]:
        item_IF = self.item_IF
        if self.map_VF:
            mapped_I = mapped_items(self.history, bool(self.rule.products))
            item_IF = {name: without_mapped(rows_IF, mapped_I[name]) for name, rows_IF in item_IF.items()}
        if not self.rule.products or self.history.products is None:
            return {name: als.gramian(rows_IF, 1) for name, rows_IF in item_IF.items()}
        return product_gramians(self.history.products, item_IF, 1)

    @cached_property
    def _eigen(self) -> dict[tuple[str, ...], tuple[npt.NDArray[np.float64], Float32]]:
        return {}

    def _eigen_of(self, names: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], Float32]:
        """Eigenvalues and eigenvectors of the Gramian over the items of some domains; some are kept."""
        if names in self._eigen:
            return self._eigen[names]
        spectrum_F, rotation_FF = np.linalg.eigh(sum(self._gramians[name] for name in names))
        eigen = np.maximum(spectrum_F, 0), rotation_FF.astype(np.float32)
        if len(self._eigen) < KEPT:
            self._eigen[names] = eigen
        return eigen

    def _contributions(
        self, domain: str, events: Mapping[str, Ragged], disliked: Mapping[str, Ragged], item_N: Int32
    ) -> dict[str, Float32]:
        """What each event of one query adds to the scores of some items, Eq. (2): domain -> (E, N)."""
        counts_BD = event_counts(events, self.history.domain_names, 1)
        part_BD = self.rule.parties(domain, counts_BD)
        system_FF = self.rule.ridge(counts_BD, part_BD)[0] * np.eye(self.item_IF[domain].shape[1])
        parties = [name for name, part in zip(self.history.domain_names, part_BD[0], strict=True) if part]
        for name in parties:
            y_EF = self.item_IF[name][events[name].columns].astype(np.float64)
            system_FF += self.rule.alpha0 * self._gramians[name] + (y_EF.T * _weights(events[name])) @ y_EF
            y_DF = self.item_IF[name][disliked[name].columns].astype(np.float64)
            system_FF += self.rule.dislike_weight * y_DF.T @ y_DF
        # A is symmetric: x · v = Σ_e w_e y_e · (A⁻¹ v), so one system serves all events and items
        towards_FN = np.linalg.solve(system_FF, self.item_IF[domain][item_N].T.astype(np.float64))
        return {
            name: (_weights(row)[:, None] * (self.item_IF[name][row.columns] @ towards_FN)).astype(np.float32)
            if name in parties
            else np.zeros((len(row.columns), len(item_N)), np.float32)
            for name, row in events.items()
        }

    def _described_B(self, domain: str, user_B: Int32) -> npt.NDArray[np.bool_]:
        """Which queries are users with features that the model uses, (B,)."""
        if domain not in self.user_map_VF:
            return np.zeros(len(user_B), bool)
        # -1, an unknown user, reads the last one
        return np.asarray((user_B >= 0) & self.history.described_U[user_B])

    def _mapped_users(self, domain: str, user_B: Int32) -> Float32:
        """Bᵀg of some users, (B, F)."""
        features = self.history.user_features
        assert features is not None
        own = features.take(user_B).matrix()
        return np.asarray(own @ self.user_map_VF[domain], np.float32)

    def _is_popularity(self, domain: str, query: Queries) -> bool:
        """Whether no event entered the scores of one query."""
        only = self.cold_policy == "popularity" and self._no_events_B(domain, query)[0]
        return bool(only or self._cold_B(domain, query)[0])

    def _solve(
        self,
        names: list[str],
        events: Mapping[str, Ragged],
        chosen_B: npt.NDArray[np.int64],
        ridge_B: Float32,
        pull_BF: Float32 | None,
    ) -> Float32:
        """Eq. (1) for queries with the same parties: only the items they touch are gathered."""
        touched_JF, rows = _gather(names, events, chosen_B, self.item_IF)
        spectrum_F, rotation_FF = self._eigen_of(tuple(names))
        fixed = als.Basis(rotation_FF, spectrum_F, touched_JF @ rotation_FF)
        pull_BF = None if pull_BF is None else pull_BF @ rotation_FF
        with thread_limit(1):
            solved_BF = als.solve(rows, fixed, self.rule.alpha0, ridge_B, pull_BF)
            return np.asarray(solved_BF @ rotation_FF.T)


def product_gramians(
    products: Products, item_IF: Mapping[str, Float32], threads: int
) -> dict[str, npt.NDArray[np.float64]]:
    """YᵀY of each domain's items, each with 1 / the number of domains that have its product."""
    root_I = {name: np.sqrt(share_I(products, name)).astype(np.float32)[:, None] for name in item_IF}
    return {name: als.gramian(rows_IF * root_I[name], threads) for name, rows_IF in item_IF.items()}


def _gather(
    names: list[str],
    events: Mapping[str, Ragged],
    chosen_B: npt.NDArray[np.int64],
    item_IF: Mapping[str, Float32],
) -> tuple[Float32, Ragged]:
    """The factors of all events of the chosen queries, (J, F), and rows that point into them."""
    owners, columns_JF, weights = [], [], []
    for name in names:
        if name in events:
            rows = events[name]
            owner_N = rows.entry_rows
            place_N = np.full(len(rows), -1)
            place_N[chosen_B] = np.arange(len(chosen_B))
            kept_N = place_N[owner_N] >= 0
            owners.append(place_N[owner_N][kept_N])
            columns_JF.append(item_IF[name][rows.columns[kept_N]])
            weights.append(rows.weights[kept_N])
    n_factors = item_IF[names[0]].shape[1]
    owner_J = np.concatenate([*owners, np.empty(0, np.int64)])
    # stable: the events of a query keep their order, and its sums the same bits in every batch
    order_J = np.argsort(owner_J, kind="stable")
    touched_JF = np.concatenate([*columns_JF, np.empty((0, n_factors), np.float32)])
    weight_J = np.concatenate([*weights, np.empty(0, np.float32)])[order_J]
    return touched_JF, Ragged(row_offsets(owner_J, len(chosen_B)), order_J.astype(np.int32), weight_J)


def _weights(row: Ragged) -> Float32:
    return np.ones(len(row.columns), np.float32) if row.weight is None else row.weight
