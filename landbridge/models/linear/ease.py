"""EASE across domains: closed-form item–item regressions with a ridge within and a ridge across domains.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), on any number of domains. The items
of a target domain d are predicted from the items i of all domains s(i) with the ridge

    λ_i = λ_in if s(i) = d, else λ_out = ratio · λ_in;   plus p / (1 − p) · G_ii                       (1)

in :mod:`landbridge.models.linear.ridge`, which has the solution in three forms. With the sharing ``cross``
the ratio says how much one catalogue may say about another: 1 is the joined table, ∞ a model per domain. p is
the rate of dropout that the second term amounts to (Steck, NeurIPS 2020). Where items are shared, i
runs over the products: of one that d has λ_in, else the smallest λ_out of the domains that have it.

Where items have features F, the users' events X have rows √w Fᵀ below them (``feature_weight``):

    G = XᵀX + w FFᵀ                                                                                    (2)

so that items of one feature predict each other, new ones too, in and across domains. Since a column b_j of B
is an optimum, λ_i b_ij = Σ_r x_ri (x_rj (1 - b_jj) - x_r·b_j) over the rows r of users and features; of that
feature v is, without b_jj,

    w f_iv (f_jv (1 - ξ) - Σ_k f_kv b_kj) / λ_i                                                        (3)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.types import Float32, Float64, Int32
from landbridge.data.counts import Counts, RowLengths, TableCounts
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Method
from landbridge.models.cost import FLOAT32, Cost, Work
from landbridge.models.linear import cost as linear_cost
from landbridge.models.linear import ridge
from landbridge.models.linear.matrix import ItemMatrix, SparseMatrix
from landbridge.models.linear.method import LinearMethod, Sharing
from landbridge.models.linear.table import FeatureRows, UserItemTable
from landbridge.models.search_space import Choice, Real, Space

QUICK = 0.5  # GiB of the dense forms that auto tries: up to about 5,000 items
Form = Literal["auto", "exact", "dual", "local"]


@dataclass(frozen=True)
class EASE(LinearMethod):
    """A linear model of every item on all other items, of all domains."""

    reg: float = setting(50.0, "Ridge of items of the same domain.", above=0, symbol="λ_in")
    cross_ratio: float = setting(
        3.0, "Ridge of items of other domains in multiples of reg.", above=0, symbol="λ_out/λ_in"
    )
    pair_ratios: Mapping[str, Mapping[str, float]] = setting(
        {}, "cross_ratio by source and target domain, where a pair needs its own.", above=0
    )
    form: Form = setting(
        "local", "Regress on all items (exact, dual with fewer users than items) or on the nearest (local)."
    )
    neighbours: int = setting(100, "Items that predict an item in the local form.", low=1, symbol="N")
    denoise: float = setting(
        0.0, "Rate of dropout of events that the ridge amounts to.", low=0, below=1, symbol="p"
    )
    max_diagonal: float = setting(0.0, "Weight that an item may have for itself.", low=0, below=1, symbol="ξ")
    memory_gib: float = setting(4.0, "Memory that the exact and the dual form may take, in GiB.", above=0)
    relative_cost: ClassVar[int] = 1
    name: ClassVar[str] = "ease"
    across: ClassVar[str] = "cross_ratio"
    paper: ClassVar[str] = "Steck, WWW 2019"
    space: ClassVar[Space] = MappingProxyType(
        {
            "reg": Real(1.0, 3000.0, log=True),
            "cross_ratio": Real(1.0, 100.0, log=True),
            "form": Choice(("local", "auto")),
            "neighbours": Choice((50, 100, 200)),
            "denoise": Real(0.0, 0.5),
            "half_life_days": Choice((0.0, 30.0, 90.0, 365.0)),
            "rank_exponent": Choice((0.0, 0.25, 0.5, 1.0)),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    # sparse data want recent events, dense data the exact form and a large ridge, data without times the last
    starts: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "reg": 40.0,
            "cross_ratio": 2.0,
            "half_life_days": 90.0,
            "rank_exponent": 0.5,
            "denoise": 0.3,
            "neighbours": 200,
        },
        {"reg": 300.0, "cross_ratio": 7.0, "half_life_days": 30.0, "denoise": 0.35, "neighbours": 200},
        {"reg": 300.0, "form": "auto", "rank_exponent": 0.5},
        {"reg": 5.0, "cross_ratio": 1.0},
    )

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """One candidate per sharing, in a dense form only where that takes about a second."""
        return {f"ease {sharing}": cls(sharing=sharing, memory_gib=QUICK) for sharing in get_args(Sharing)}

    def cost(self, counts: Counts) -> Cost:
        """Of the form that is chosen, :mod:`landbridge.models.linear.cost`."""
        work, peak, model = Work(), 0.0, 0.0
        tables = self.costed_tables(counts)
        for table, targets in tables:
            own, most, matrices = self._table_cost(table, targets)
            work, peak, model = work + own, max(peak, most), model + matrices
        local = all(self._form_of(table).form == "local" for table, _ in tables)
        division = self.division(counts, model) if local else None
        return Cost(work, Work(), 0, peak + model, model, division=division)

    def _table_cost(self, table: TableCounts, targets: list[RowLengths]) -> tuple[Work, float, float]:
        """Of one table: the work, the bytes beside the matrices, and those of the matrices."""
        read = Work(sort=2 * table.events)
        chosen = self._form_of(table)
        sizes = [items.n_rows for items in targets]
        if chosen.form != "local":
            differs = self.sharing == "cross" and len(targets) > 1
            dense = FLOAT32 * table.n_items * sum(sizes)
            work = (
                linear_cost.exact_work(table, sizes, differs)
                if chosen.form == "exact"
                else linear_cost.dual_work(table, sizes)
            )
            return read + work, linear_cost.table_bytes(table) + chosen.bytes - 4 * table.n_items**2, dense
        most = min(self.neighbours, table.n_items)
        whole = ridge.keeps_gramian(table.n_items)
        # the co-occurrences of every target, and the whole Gramian where it is kept, Eq. (1)
        work = read + Work(scatter=table.users.squares * (2 if whole else 1))
        peak, model = 0.0, 0.0
        for items in targets:
            found = linear_cost.neighbours(table, items, most)
            work += linear_cost.listing_work(found) + linear_cost.regression_work(table, found, whole)
            peak = max(peak, linear_cost.list_bytes(found, most))
            model += linear_cost.matrix_bytes(found, table.n_items)
        gramian = FLOAT32 * table.n_items**2 if whole else 0.0
        return work, linear_cost.table_bytes(table) + gramian + peak, model

    def _form_of(self, table: TableCounts) -> ridge.Plan:
        return ridge.plan(int(table.n_users), int(table.n_items), self.form, self.memory_gib * 2**30)

    def matrices(self, table: UserItemTable) -> Mapping[str, ItemMatrix]:
        """B of every target domain, in the form that the settings and the memory allow."""
        chosen = self._plan(table)
        if chosen.form == "local":
            return self.columns(table, table.items)
        solve = ridge.exact if chosen.form == "exact" else ridge.dual
        return solve(table, self._ridges(table), self.max_diagonal, chosen)

    def columns(self, table: UserItemTable, targets: Mapping[str, Int32]) -> Mapping[str, SparseMatrix]:
        """As in :class:`LinearMethod`, in the local form, which solves one target at a time."""
        return ridge.local(table, targets, self._ridges(table), self.max_diagonal, self.neighbours)

    def divides(self, table: UserItemTable) -> bool:
        """As in :class:`LinearMethod`: in the local form, unless it keeps the whole Gramian."""
        return self._plan(table).form == "local" and not ridge.keeps_gramian(table.n_items)

    def feature_terms(
        self, rows: FeatureRows, target: str, item: int, weight_J: Float32
    ) -> tuple[Float64, Float64]:
        """As in :class:`LinearMethod`, Eq. (3)."""
        # an item that is no neighbour is not in the regression
        scale_J = (weight_J != 0) / self._ridge_J(rows, target)
        own_V = rows.feature_JV[[item]].toarray()[0]
        return scale_J, (1 - self.max_diagonal) * own_V - rows.feature_JV.T @ weight_J.astype(np.float64)

    def about(self, table: UserItemTable) -> Mapping[str, Any]:
        """The form, and the memory that it takes."""
        chosen = self._plan(table)
        return {"items": table.n_items, "form": chosen.form, "bytes": chosen.bytes}

    def _plan(self, table: UserItemTable) -> ridge.Plan:
        return ridge.plan(table.n_users, table.n_items, self.form, self.memory_gib * 2**30)

    def _ridges(self, table: UserItemTable) -> dict[str, Float64]:
        return {name: self._ridge_J(table, name) for name in table.items}

    def _ridge_J(self, table: UserItemTable | FeatureRows, target: str) -> Float64:
        """Eq. (1) for every item of the table, (J,)."""
        ratio_J = np.full(len(table.diagonal_J), np.inf)
        for source, item_I in table.items.items():
            ratio_J[item_I] = np.minimum(ratio_J[item_I], self._ratio(source, target))
        ratio_J[table.items[target]] = 1.0
        return np.asarray(self.denoise / (1 - self.denoise) * table.diagonal_J + self.reg * ratio_J)

    def _ratio(self, source: str, target: str) -> float:
        if self.sharing != "cross" or source == target:
            return 1.0
        return self.pair_ratios.get(source, {}).get(target, self.cross_ratio)
