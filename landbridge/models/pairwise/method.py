"""Base class of BPRMF and LightGCN: their settings, tables, epochs and fitted model."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Record
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairwise, part_size
from landbridge.models.base import Method
from landbridge.models.common.cold_start import COLD_POLICY, POPULARITY_WEIGHT, ColdPolicy
from landbridge.models.common.sharing import Sharing, tables_of
from landbridge.models.cost import FLOAT32, INT32, Cost, Work, total
from landbridge.models.pairwise import cost as pairwise_cost
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec
from landbridge.models.pairwise.table import PairwiseTable, table_state, train_tables
from landbridge.training.epochs import State, run_epochs
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class PairwiseMethod(Method):
    """Settings, tables and epochs of BPRMF and LightGCN. They always run on the CPU."""

    factors: int = setting(64, "Length of an embedding.", low=1, symbol="d")
    sharing: Sharing = setting("separate", "A table for each domain, or one for all domains joined.")
    lr: float = setting(1e-3, "Learning rate.", above=0, symbol="η")
    reg: float = setting(1e-3, "L2 penalty of the embeddings of each pair.", low=0, high=1e12, symbol="λ")
    reg_power: int = setting(2, "Power of their norms: 2, halved, or 1, as UCLR prints it.", low=1, high=2)
    epochs: int = setting(60, "Passes over all events.", low=1)
    batch_size: int = setting(2048, "Pairs per step.", low=1)
    optimizer: Literal["adam", "adagrad", "sgd"] = setting("adam", "Rule of the steps.")
    negatives: Literal["domain", "all", "popularity"] = setting(
        "domain", "Where negatives are drawn: the event's domain, all domains, or by popularity."
    )
    init_std: float = setting(0.01, "Standard deviation of the embeddings at the start.", above=0)
    cold_policy: ColdPolicy = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"spread": "init_std", "cold_weight": "popularity_weight"}
    )

    def learn(self, train: MultiDomain, options: FitOptions, layers: int) -> EmbeddingModel:
        """Train every table. A checkpoint holds the embeddings, the optimiser's state and the epoch."""
        tables = self._tables(train, options.seed, layers)

        def start() -> State:
            return {
                f"{label}|{key}": array
                for label, table in tables.items()
                for key, array in table.start(self.factors, self.init_std).items()
            }

        identity = {"settings": asdict(self), "data": train.fingerprint, "seed": options.seed}
        with thread_limit(options.threads), ThreadPoolExecutor(options.threads) as pool:
            state, log = run_epochs(
                f"{type(self).__name__} {self.sharing}",
                self.epochs,
                start,
                train_tables(tables, self.epochs, pool),
                lambda state: self._fitted(train, tables, state, ()),
                options,
                identity,
            )
            return self._fitted(train, tables, state, log)

    def cost_with(self, counts: Counts, layers: int) -> Cost:
        """An epoch of every table (:mod:`landbridge.models.pairwise.cost`). In memory are the embeddings with
        two moments of Adam, of this epoch and the last, the order of the events, a part of the pairs of each
        table and the next one, and the fitted rows."""
        tables = counts.tables(self.sharing)
        row = FLOAT32 * self.factors
        rows = sum(table.n_users + table.n_items for table in tables)
        pairs = INT32 * sum(
            2 * table.events + 8 * min(table.events, float(part_size(self.batch_size))) for table in tables
        )
        graph = pairwise_cost.graph_bytes(tables, self.factors) if layers else 0.0
        propagated = total(pairwise_cost.propagation_work(table, self.factors, layers) for table in tables)
        return Cost(
            once=Work(sort=2 * counts.events, normal=self.factors * rows, stream=8 * row * rows) + propagated,
            epoch=total(
                pairwise_cost.epoch_work(table, self.factors, self.batch_size, layers) for table in tables
            ),
            epochs=self.epochs,
            peak=row * 6 * rows + pairs + graph,
            model=row * rows,
        )

    def _tables(self, train: MultiDomain, seed: int, layers: int) -> dict[str, PairwiseTable]:
        optimizer = Optimizer(self.optimizer, self.lr)
        return {
            label: PairwiseTable(
                Pairwise(events, slices, self.negatives, seed, label),
                optimizer,
                self.reg,
                self.batch_size,
                layers,
                self.reg_power,
            )
            for label, (events, slices) in tables_of(train, self.sharing).items()
        }

    def _fitted(
        self, train: MultiDomain, tables: dict[str, PairwiseTable], state: State, log: tuple[Record, ...]
    ) -> EmbeddingModel:
        users: dict[str, Float32] = {}
        items: dict[str, Float32] = {}
        for label, table in tables.items():
            user_UF, item_IF = table.rows(table_state(state, label))
            users |= dict.fromkeys(table.pairs.slices, user_UF)
            items |= {name: np.ascontiguousarray(item_IF[here]) for name, here in table.pairs.slices.items()}
        rule = FoldInSpec(
            self.sharing,
            self.negatives,
            self.reg,
            self.epochs,
            Optimizer(self.optimizer, self.lr),
            self.reg_power,
        )
        return EmbeddingModel(train, self, log, users, items, self.cold_policy, self.popularity_weight, rule)
