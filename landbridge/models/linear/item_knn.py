"""Item-kNN across domains: every item keeps its most similar items, of its own or of any domain.

Sarwar et al. (WWW 2001) with the usual refinements (Deshpande & Karypis, TOIS 2004; Aiolli, RecSys 2013).
With the weighted columns x of a table and their co-occurrence G_ij = Σ_u x_ui x_uj

    s_ij = b_ij (G_ij / (‖x_i‖^2a ‖x_j‖^2c + h))^q                                                     (1)

a = c = ½ is the cosine, h the shrinkage, q the power; b is ``cross_weight`` where i and j are of different
domains, else 1. Every target j keeps the N items of the largest s_ij; a score is Σ_i x_ui s_ij. The
weights of an event of user u with n_u events, an item with n_i, and v its value:

    none    x = v n_u^-e                                                                               (2)
    tfidf   x = v ln(1 + I / n_u)                                                                      (3)
    bm25    x = ln(1 + I / n_u) · v (k + 1) / (v + k (1 − b + b n_i / n̄)),   k = 1.2, b = 0.75         (4)

with an item as the document and its users as the terms, I items in the table. Where
items are shared, i and j are products, and one that the target domain has is of that domain. Where items have
features, the columns x go on with √w times the features (``feature_weight``), so that content makes items
alike, too, and alone it does for new ones; the part of feature v in G_ij, w f_iv f_jv, is its part in s_ij:

    s_ij w f_iv f_jv / G_ij                                                                            (5)

Letters as in ``kernels``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.types import Float32, Float64, Int32, Ragged, read_only
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.base import Method
from landbridge.models.cost import Cost, Work, total
from landbridge.models.linear import cost as linear_cost
from landbridge.models.linear import ridge
from landbridge.models.linear.event_values import EventValues
from landbridge.models.linear.matrix import ItemMatrix, SparseMatrix
from landbridge.models.linear.method import LinearMethod
from landbridge.models.linear.table import FeatureRows, UserItemTable
from landbridge.models.search_space import Choice, Real, Space

K1, LENGTH = 1.2, 0.75  # k and b of Eq. (4): what the literature on BM25 takes


@dataclass(frozen=True)
class ItemKNN(LinearMethod):
    """The items most similar to those of the user."""

    user_exponent: float = setting(
        0.5, "An event counts n_u^-e with n_u the events of its user in the table.", low=0, high=2, symbol="e"
    )
    similarity: Literal["none", "tfidf", "bm25"] = setting("none", "How the events of a user are weighted.")
    neighbours: int = setting(200, "Similar items that an item keeps.", low=1, symbol="N")
    shrinkage: float = setting(
        5.0, "Added to the product of norms; rare items become less similar.", low=0, symbol="h"
    )
    source_exponent: float = setting(
        0.5, "Exponent of the squared norm of the user's item.", low=0, high=1, symbol="a"
    )
    target_exponent: float = setting(
        0.5, "Exponent of the squared norm of the scored item.", low=0, high=1, symbol="c"
    )
    power: float = setting(1.0, "Exponent of the similarity.", above=0, high=5, symbol="q")
    # its events count n_u^-e, EASE's 1
    feature_weight: float = 0.1
    cross_weight: float = setting(0.5, "Factor of the similarity across domains.", low=0, high=1, symbol="b")
    relative_cost: ClassVar[int] = 1
    name: ClassVar[str] = "itemknn"
    across: ClassVar[str] = "cross_weight"
    paper: ClassVar[str] = "Sarwar et al., WWW 2001"
    space: ClassVar[Space] = MappingProxyType(
        {
            "similarity": Choice(("none", "tfidf", "bm25")),
            "neighbours": Choice((50, 200, 500)),
            "shrinkage": Real(0.1, 100.0, log=True),
            "user_exponent": Real(0.0, 1.0),
            "target_exponent": Real(0.2, 0.8),
            "power": Real(0.5, 2.0),
            "cross_weight": Real(0.02, 1.0, log=True),
            "half_life_days": Choice((0.0, 30.0, 90.0, 365.0)),
            "rank_exponent": Choice((0.0, 0.25, 0.5, 1.0)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    starts: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "half_life_days": 30.0,
            "rank_exponent": 0.25,
            "neighbours": 50,
            "user_exponent": 0.35,
            "shrinkage": 50.0,
            "target_exponent": 0.6,
            "cross_weight": 0.25,
        },
        {"user_exponent": 0.3, "rank_exponent": 0.5},
        {"cross_weight": 1.0},
    )

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """One candidate: its search weighs the other domains."""
        return {"itemknn": cls()}

    def cost(self, counts: Counts) -> Cost:
        """The co-occurrences of every item with all others, one power for each, and the lists of the largest,
        Eqs. (1) to (3) of :mod:`landbridge.models.linear.cost`."""
        work, peak, model = [], 0.0, 0.0
        for table, targets in self.costed_tables(counts):
            most = min(self.neighbours, table.n_items)
            found = [linear_cost.neighbours(table, items, most) for items in targets]
            powers = sum(each.total(each.touched_KQ) for each in found)
            work += [Work(scatter=table.users.squares, power=powers, sort=3 * table.events)]
            work += [linear_cost.listing_work(each) for each in found]
            lists = max(linear_cost.list_bytes(each, most) for each in found)
            model += sum(linear_cost.matrix_bytes(each, table.n_items) for each in found)
            peak = max(peak, linear_cost.table_bytes(table) + lists)
        return Cost(total(work), Work(), 0, peak + model, model, division=self.division(counts, model))

    def matrices(self, table: UserItemTable) -> Mapping[str, ItemMatrix]:
        """The neighbours of the items of every target domain."""
        return self.columns(table, table.items)

    def columns(self, table: UserItemTable, targets: Mapping[str, Int32]) -> Mapping[str, SparseMatrix]:
        """As in :class:`LinearMethod`."""
        return {name: self._neighbours(table, name, item_I) for name, item_I in targets.items()}

    def feature_terms(
        self, rows: FeatureRows, target: str, item: int, weight_J: Float32
    ) -> tuple[Float64, Float64]:
        """As in :class:`LinearMethod`, Eq. (5), with G_ij from s_ij by Eq. (1)."""
        near_N = np.flatnonzero(weight_J)
        norm_N = self._norm_J(rows, self.source_exponent)[near_N].astype(np.float64)
        norm = float(self._norm_J(rows, self.target_exponent)[item])
        like_N = weight_J[near_N].astype(np.float64)
        plain_N = (like_N / self._bonus_J(rows, target)[near_N]) ** (1 / self.power)
        scale_J = np.zeros(len(weight_J))
        scale_J[near_N] = like_N / (plain_N * (norm_N * norm + self.shrinkage))
        return scale_J, rows.feature_JV[[item]].toarray()[0]

    def _table(self, events: Interactions, items: Mapping[str, Int32], values: EventValues) -> UserItemTable:
        exponent = self.user_exponent if self.similarity == "none" else 0.0
        table = UserItemTable.of(events, items, values, exponent)
        if self.similarity == "none":
            return table  # Eq. (2)
        return table.weighted(self._term_weights(table))

    def _term_weights(self, table: UserItemTable) -> Callable[[Ragged, slice], Float32]:
        """x of the events of a block of users, (N,), Eqs. (3) and (4)."""
        rarity_U = np.log1p(table.n_items / np.maximum(table.rows.lengths, 1))
        length_J = table.columns.lengths / max(table.columns.lengths.mean(), 1e-9)

        def value(part: Ragged, block: slice) -> Float32:
            rarity_N = rarity_U[block][part.entry_rows]
            if self.similarity == "tfidf":
                return (part.weights * rarity_N).astype(np.float32)  # Eq. (3)
            length_N = 1 - LENGTH + LENGTH * length_J[part.columns]
            saturated_N = part.weights * (K1 + 1) / (part.weights + K1 * length_N)
            return np.asarray(saturated_N * rarity_N, np.float32)  # Eq. (4)

        return value

    def _neighbours(self, table: UserItemTable, target: str, item_I: Int32) -> SparseMatrix:
        """Eq. (1) for items of one domain, with a row per item of the table."""
        from landbridge.models.linear import kernels

        out = ridge.neighbour_lists(len(item_I), min(self.neighbours, table.n_items))
        norms = (self._norm_J(table, exponent) for exponent in (self.source_exponent, self.target_exponent))
        settings = np.float32(self.shrinkage), np.float32(self.power)
        chunk_C = ridge.balanced(table, item_I)
        kernels.nearest(
            len(chunk_C) - 1, table.by_user, table.by_item, *norms, self._bonus_J(table, target), settings,
            read_only(item_I), chunk_C, out,
        )  # fmt: skip
        return ridge.sparse_matrix(out, table.n_items)

    def _norm_J(self, table: UserItemTable | FeatureRows, exponent: float) -> Float32:
        """‖x_i‖^2e of every item; 1 for an item without events, which has no neighbours."""
        diagonal_J: Float64 = table.diagonal_J
        return np.asarray(np.where(diagonal_J > 0, diagonal_J, 1) ** exponent, np.float32)

    def _bonus_J(self, table: UserItemTable | FeatureRows, target: str) -> Float32:
        """b of every source item for the items of the target domain, (J,)."""
        weight = self.cross_weight if self.sharing == "cross" else 1.0
        bonus_J = np.full(len(table.diagonal_J), weight, np.float32)
        bonus_J[table.items[target]] = 1
        return bonus_J
