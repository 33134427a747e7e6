"""``LinearMethod``: what EASE and item-kNN have in common, from the tables of a sharing to a fitted model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from landbridge.core.parallel import Executor, in_order
from landbridge.core.settings import setting
from landbridge.core.threads import all_threads
from landbridge.core.types import Float32, Float64, Int32, Int64, blocks
from landbridge.data.counts import Counts, RowLengths, TableCounts
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.base import Method
from landbridge.models.common.cold_start import POPULARITY_WEIGHT
from landbridge.models.common.sharing import product_tables_of
from landbridge.models.cost import Division
from landbridge.models.linear import cost as linear_cost
from landbridge.models.linear.event_values import EventValues
from landbridge.models.linear.fitted import ItemItemModel
from landbridge.models.linear.matrix import ItemMatrix, SparseMatrix, side_by_side
from landbridge.models.linear.table import FeatureRows, UserItemTable
from landbridge.models.search_space import Space
from landbridge.training.options import FitOptions

ITEMS = 4096  # of a block that an executor does
Sharing = Literal["separate", "joined", "cross"]
COLD_POLICY = (
    "Scores of users without events in a domain: what their other events say with popularity added "
    "(blend) or without it (zero), or popularity alone."
)


@dataclass(frozen=True)
class LinearMethod(Method):
    """A method that computes an item–item matrix; subclasses say how, for the items of each domain."""

    sharing: Sharing = setting(
        "cross", "A table per domain, one joined table, or that with a weight of its own across domains."
    )
    weight_exponent: float = setting(
        1.0, "An event counts (weight / mean weight) to this power.", low=0, high=2
    )
    user_exponent: float = setting(
        0.0, "An event counts n_u^-a with n_u the events of its user in the table.", low=0, high=2, symbol="a"
    )
    half_life_days: float = setting(
        0.0,
        "Days after which an event of a user counts half when scoring, where there are times; 0: never.",
        low=0,
        symbol="h",
        of_times=True,
    )
    rank_exponent: float = setting(
        0.0,
        "An event followed by r later events of its user counts (1 + r)^-b when scoring.",
        low=0,
        high=3,
        symbol="b",
        of_times=True,
    )
    feature_weight: float = setting(
        1.0,
        "What an item's feature counts beside an event, where items have features; 0: nothing.",
        low=0,
        symbol="w",
    )
    cold_policy: Literal["blend", "popularity", "zero"] = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    folds_in: ClassVar[str] = "exact"
    shared_items: ClassVar[str] = "one column per product"
    item_features: ClassVar[str] = "as rows beside the users"
    across: ClassVar[str]  # the setting that says how much other domains count

    def space_on(self, data: MultiDomain) -> Space:
        """As in :class:`Method`; how much other domains count is a question only where they are apart."""
        space = super().space_on(data)
        apart = self.sharing == "cross" and len(data.domains) > 1
        return {name: values for name, values in space.items() if apart or name != self.across}

    @property
    def single_domain(self) -> bool:
        """As in :class:`Method`."""
        return self.sharing == "separate"

    @property
    def uses_features(self) -> bool:
        """As in :class:`Method`."""
        return self.feature_weight > 0

    @abstractmethod
    def matrices(self, table: UserItemTable) -> Mapping[str, ItemMatrix]:
        """Target domain -> item–item matrix with a row per item of the table."""

    @abstractmethod
    def columns(self, table: UserItemTable, targets: Mapping[str, Int32]) -> Mapping[str, SparseMatrix]:
        """Target domain -> the columns of its matrix for some items of the table, each for itself."""

    def divides(self, table: UserItemTable) -> bool:
        """Whether ``matrices`` computes every column for itself, so that blocks of items can be apart."""
        return True

    def new_columns(
        self, data: MultiDomain, values: EventValues, new_N: Mapping[str, Int64]
    ) -> dict[str, dict[str, SparseMatrix]]:
        """Source domain -> target domain -> the columns of the target's items ``new_N``, as a fit on ``data``
        would make them."""
        parts: dict[str, dict[str, SparseMatrix]] = {name: {} for name in data.domain_names}
        for events, items in self._tables(data).values():
            targets = {name: item_I[new_N[name]] for name, item_I in items.items()}
            table = self._with_features(data, self._table(events, items, values))
            for target, whole in self.columns(table, targets).items():
                for source, item_I in items.items():
                    parts[source][target] = whole.rows_of(item_I)
        return parts

    def costed_tables(self, counts: Counts) -> list[tuple[TableCounts, list[RowLengths]]]:
        """The tables of the sharing, each with the items of its target domains."""
        return linear_cost.tables(counts, separate=self.sharing == "separate")

    def division(self, counts: Counts, model: float) -> Division:
        """Blocks of target items: every node has the tables, and sends its columns, of ``model`` bytes in
        all."""
        tables = sum(linear_cost.table_bytes(table) for table, _ in self.costed_tables(counts))
        return Division(whole=tables, moved=tables + model)

    @abstractmethod
    def feature_terms(
        self, rows: FeatureRows, target: str, item: int, weight_J: Float32
    ) -> tuple[Float64, Float64]:
        """c_i, (J,), and t_v, (V,): feature v of item i adds c_i f_iv t_v to its weight W_ij towards an item
        of a domain, whose column of W is ``weight_J``."""

    def feature_rows(self, data: MultiDomain) -> dict[str, FeatureRows]:
        """Domain -> the features below the table that the domain is of, as ``fit`` took them."""
        features = data.item_features
        if features is None or not self.uses_features:
            return {}
        values = EventValues.of(data, self.weight_exponent, self.half_life_days, self.rank_exponent)
        made: dict[str, FeatureRows] = {}
        for events, items in self._tables(data).values():
            table = self._table(events, items, values).with_features(features, self.feature_weight)
            feature_JV = np.sqrt(self.feature_weight) * features.matrix_of(items, table.n_items)
            made |= dict.fromkeys(items, FeatureRows(feature_JV.tocsr(), table.diagonal_J, items))
        return made

    def about(self, table: UserItemTable) -> Mapping[str, Any]:
        """What the log of the fitted model says about a table."""
        return {"items": table.n_items}

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> ItemItemModel:
        """Compute the matrices of every table; one record of the log per table."""
        options = options or FitOptions()
        values = EventValues.of(train, self.weight_exponent, self.half_life_days, self.rank_exponent)
        parts: dict[str, dict[str, ItemMatrix]] = {name: {} for name in train.domain_names}
        tables = self._tables(train)
        log: list[Mapping[str, Any]] = []
        with all_threads(options.threads), options.progress.task(f"fit {self.name}", len(tables)) as task:
            for label, (events, items) in tables.items():
                table = self._with_features(train, self._table(events, items, values))
                for target, whole in self._matrices(table, options.executor).items():
                    for source, item_I in items.items():
                        parts[source][target] = whole.rows_of(item_I)
                log.append({"table": label, **self.about(table)})
                task.step(len(log), {})
        return ItemItemModel(train, self, tuple(log), parts, values, self.cold_policy, self.popularity_weight)

    def _matrices(self, table: UserItemTable, executor: Executor | None) -> Mapping[str, ItemMatrix]:
        """``matrices``, by blocks of target items where an executor does them and they divide."""
        if executor is None or not self.divides(table):
            return self.matrices(table)
        parts = [
            _Block(name, part)
            for name, item_I in table.items.items()
            for part in blocks(max(len(item_I), 1), ITEMS)
        ]
        made: dict[str, list[SparseMatrix]] = {name: [] for name in table.items}
        fn = partial(_columns, self, table, executor.threads_each)
        for part, columns in zip(parts, in_order(executor, fn, parts), strict=True):
            made[part.target].append(columns)
        return {name: side_by_side(columns) for name, columns in made.items()}

    def _with_features(self, data: MultiDomain, table: UserItemTable) -> UserItemTable:
        """The table, with rows of features where there are any and they are used."""
        if data.item_features is None or not self.uses_features:
            return table
        return table.with_features(data.item_features, self.feature_weight)

    def _tables(self, data: MultiDomain) -> dict[str, tuple[Interactions, dict[str, Int32]]]:
        return product_tables_of(data, "separate" if self.sharing == "separate" else "joined")

    def _table(self, events: Interactions, items: Mapping[str, Int32], values: EventValues) -> UserItemTable:
        return UserItemTable.of(events, items, values, self.user_exponent)


@dataclass(frozen=True)
class _Block:
    """Items of a target domain."""

    target: str
    items: slice

    def __str__(self) -> str:
        return f"items {self.items.start} to {self.items.stop - 1} of {self.target}"


def _columns(method: LinearMethod, table: UserItemTable, threads: int, block: _Block) -> SparseMatrix:
    """The columns of a block."""
    with all_threads(threads):
        return method.columns(table, {block.target: table.items[block.target][block.items]})[block.target]
