"""landbridge as a program of :mod:`benchmarks.engine`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.engine_child import Events, serve
from landbridge.core.threads import thread_limit
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import Pairs, Pairwise
from landbridge.models.pairwise import kernels as pairwise_kernels  # noqa: F401 (loading numba is no part of learning)
from landbridge.models.pairwise.table import PairwiseTable, table_state, train_tables
from landbridge.training.optimizers import Optimizer


class Ours:
    """One table; as in a fit, the pairs of an epoch are made while the one before it is learned."""

    def __init__(self, events: Events, settings: dict[str, Any]) -> None:
        table = Interactions.from_events(*events)
        optimizer = Optimizer(settings["optimizer"], settings["lr"])
        self.pairs = Pairwise(table, {"all": slice(0, table.n_items)})
        self.table = PairwiseTable(
            self.pairs, optimizer, settings["reg"], settings["batch_size"], settings.get("layers", 0)
        )
        start = self.table.start(settings["factors"], settings["init_std"])
        self.state = {f"all|{key}": array for key, array in start.items()}
        self.pool, self.threads, self.number = ThreadPoolExecutor(2), settings["threads"], 0

    def learn(self, epochs: int, steps: int | None) -> float:
        with thread_limit(self.threads):
            return self._epochs(epochs) if steps is None else self._batches(epochs, steps)

    def _epochs(self, epochs: int) -> float:
        step = train_tables({"all": self.table}, self.number + epochs, self.pool)
        for _ in range(epochs):
            self.state, _ = step(self.state, self.number)
            self.number += 1
        return 1.0

    def _batches(self, epochs: int, steps: int) -> float:
        pairs = self.pairs.epoch(self.number)
        size = min(steps * self.table.batch_size, len(pairs.user_N))
        some = Pairs(*(column if column is None else column[:size] for column in pairs))
        for _ in range(epochs):
            own, _ = self.table.epoch(table_state(self.state, "all"), self.number, [some])
            self.state = {f"all|{key}": array for key, array in own.items()}
        return size / len(pairs.user_N)

    def rows(self) -> tuple[Any, Any]:
        return self.table.rows(table_state(self.state, "all"))


if __name__ == "__main__":
    serve(Ours)
