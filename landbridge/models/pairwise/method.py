"""What BPRMF and LightGCN share: settings, tables by sharing, epochs, and what is left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.threads import thread_limit
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import NEGATIVES, Pairwise
from landbridge.models.base import Float32, Method
from landbridge.models.common.sharing import SHARING, tables_of
from landbridge.models.pairwise.fitted import EmbeddingModel, FoldInSpec
from landbridge.models.pairwise.table import PairwiseTable, table_state, train_tables
from landbridge.training.epochs import Record, State, run_epochs
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class PairwiseMethod(Method):
    """``reg`` is λ; ``spread``: standard deviation of the rows at the start.

    ``optimizer``: "adam", "adagrad" or "sgd" (:mod:`landbridge.training.optimizers`). ``negatives``:
    "domain",
    "all" or "popularity" (:mod:`landbridge.data.sampling.pairwise`). It runs on the CPU, whatever the device.
    """

    factors: int = 64
    sharing: str = "separate"
    lr: float = 1e-3
    reg: float = 1e-3
    epochs: int = 60
    batch_size: int = 2048
    optimizer: str = "adam"
    negatives: str = "domain"
    spread: float = 0.01
    cold_policy: str = "blend"
    popularity_weight: float = 3.0

    def __post_init__(self) -> None:
        Optimizer(self.optimizer, self.lr)
        for key, valid in (("sharing", SHARING), ("negatives", NEGATIVES)):
            if getattr(self, key) not in valid:
                raise SettingsError(unknown(key, getattr(self, key), valid))
        if min(self.factors, self.batch_size) < 1 or self.reg < 0:
            raise SettingsError("factors and batch_size must be 1 or more and reg 0 or more.")

    def learn(self, train: MultiDomain, options: FitOptions, layers: int) -> EmbeddingModel:
        """All epochs on every table; a resumed fit needs the rows, the optimiser's slots and the epoch."""
        tables = self._tables(train, options.seed, layers)

        def start() -> State:
            return {
                f"{label}|{key}": array
                for label, table in tables.items()
                for key, array in table.start(self.factors, self.spread).items()
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

    def _tables(self, train: MultiDomain, seed: int, layers: int) -> dict[str, PairwiseTable]:
        optimizer = Optimizer(self.optimizer, self.lr)
        return {
            label: PairwiseTable(
                Pairwise(events, slices, self.negatives, seed, label),
                optimizer,
                self.reg,
                self.batch_size,
                layers,
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
            self.sharing, self.negatives, self.reg, self.epochs, Optimizer(self.optimizer, self.lr)
        )
        return EmbeddingModel(train, self, log, users, items, self.cold_policy, self.popularity_weight, rule)
