"""Training on pairs: an item of the user should score higher than a sampled negative.

One table X (R, F) holds the embeddings of users, then those of items. For the pairs (u, i, j) of a batch,
with x = x_u·x_i - x_u·x_j and the weight w of the event, the objective is

    Σ w · -ln σ(x) + λ/2 (‖x_u‖² + ‖x_i‖² + ‖x_j‖²),                                                   (1)

a sum and not a mean, so that ``lr`` means the same for every batch size. With c = -w σ(-x) its gradients are

    c (x_i - x_j) + λx_u,   c x_u + λx_i,   -c x_u + λx_j                                              (2)

(Rendle et al., "BPR", UAI 2009). With ``reg_power`` 1 the penalty is λ(‖x_u‖ + ‖x_i‖ + ‖x_j‖), as UCLR prints
it in its Eqs. (2) and (6), and λx in Eq. (2) is λx/‖x‖, zero at a zero row. On a graph A with degrees D the
scores come from the propagated embeddings

    X' = 1/(K+1) Σ_{k=0…K} (D^(-½) A D^(-½))ᵏ X                                                        (3)

(He et al., "LightGCN", SIGIR 2020), while λ stays on X. The operator is symmetric, so the gradient by X is
(3) applied to the gradient by X'. With K = 0 a step touches only the rows of its batch, otherwise all rows.
A fit starts from Gaussian embeddings. Seed and epoch determine everything, for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DivergenceError
from landbridge.core.rng import generator
from landbridge.core.types import AnyArray, Float32, Record, read_only
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import Pairs, Pairwise
from landbridge.models.common.graph import neighbours
from landbridge.training.epochs import State
from landbridge.training.optimizers import KINDS, Optimizer

CHUNKS = 64  # pieces of about equal work for the threads of a product
NO_WEIGHT = read_only(np.empty(0, np.float32))  # kernels take no None: an empty array means weights of 1
Graph = tuple[AnyArray, AnyArray, Float32, AnyArray]
Losses = dict[str, float]
SLOTS = ("table", "first", "second", "count")


@dataclass(frozen=True, eq=False)
class PairwiseTable:
    """One table of events to train on, without a graph or, with ``layers`` > 0, over its own graph."""

    pairs: Pairwise
    optimizer: Optimizer
    reg: float
    batch_size: int
    layers: int = 0
    reg_power: int = 2

    @property
    def events(self) -> Interactions:
        """The events of the table."""
        return self.pairs.events

    def start(self, factors: int, init_std: float) -> State:
        """Gaussian embeddings of standard deviation ``init_std``, and the optimiser's initial state."""
        sides = {"users": self.events.n_users, "items": self.events.n_items}
        table_RF = np.concatenate(
            [
                generator(self.pairs.seed, side, self.pairs.label).standard_normal(
                    (rows, factors), np.float32
                )
                for side, rows in sides.items()
            ]
        ) * np.float32(init_std)
        return {"table": table_RF, **self.optimizer.slots(table_RF)}

    def epoch(self, state: State, number: int, pairs: Pairs | None = None) -> tuple[State, Losses]:
        """The state after one more epoch, and the mean loss per domain.

        ``pairs``: the pairs of the epoch if they are already drawn. DivergenceError if a loss is not finite.
        """
        from landbridge.models.pairwise.kernels import descend

        # copies: with patience the previous state may be the best one so far
        new = {key: state[key].copy() for key in SLOTS}
        user_N, positive_N, negative_N, weight = pairs or self.pairs.epoch(number)
        first_item = np.int32(self.events.n_users)
        index_3N = np.stack([user_N, positive_N + first_item, negative_N + first_item])
        loss_N = np.zeros(len(user_N), np.float32)
        steps = descend(
            new["table"],
            (new["first"], new["second"], new["count"]),
            index_3N,
            NO_WEIGHT if weight is None else weight,
            self.batch_size,
            self.graph,
            self.layers,
            self.reg,
            self.reg_power,
            KINDS[self.optimizer.kind],
            self.optimizer.constants,
            loss_N,
        )
        if not np.isfinite(loss_N).all() or not np.isfinite(new["table"]).all():
            raise DivergenceError(
                f"Training of {self.pairs.label!r} diverged in epoch {number}, step {steps}; "
                f"lower lr (now {self.optimizer.lr})."
            )
        return new, self._by_domain(positive_N, loss_N)

    def rows(self, state: State) -> tuple[Float32, Float32]:
        """The embeddings that make the scores, Eq. (3): those of users and those of items."""
        from landbridge.models.pairwise.kernels import propagate

        final_RF = state["table"]
        if self.layers:
            final_RF, spare_RF = np.empty_like(final_RF), np.empty_like(final_RF)
            propagate(self.graph, state["table"], self.layers, final_RF, spare_RF)
        return final_RF[: self.events.n_users], final_RF[self.events.n_users :]

    @cached_property
    def graph(self) -> Graph:
        """The adjacency of users and items in CSR form, D^(-½), and chunks of rows with about equal work."""
        if not self.layers:
            return np.zeros(1, np.int64), np.empty(0, np.int32), NO_WEIGHT, np.zeros(1, np.int64)
        edges = neighbours(self.events)
        degree_R = edges.lengths
        scale_R = (1 / np.sqrt(np.maximum(degree_R, 1))).astype(np.float32)
        # degrees are skewed: chunks of equally many rows would leave threads idle
        work_R = np.cumsum(degree_R + 1)
        inner = np.searchsorted(work_R, np.linspace(0, work_R[-1] if len(work_R) else 0, CHUNKS + 1)[1:-1])
        return (
            edges.offsets,
            edges.columns,
            scale_R,
            np.concatenate(([0], inner, [len(degree_R)])).astype(np.int64),
        )

    def _by_domain(self, positive_N: npt.NDArray[np.int32], loss_N: Float32) -> Losses:
        starts = [items.start for items in self.pairs.slices.values()]
        domain_N = np.searchsorted(starts, positive_N, side="right") - 1
        total_D = np.bincount(domain_N, loss_N, len(starts))
        count_D = np.maximum(np.bincount(domain_N, minlength=len(starts)), 1)
        return dict(zip(self.pairs.slices, (total_D / count_D).tolist(), strict=True))


def train_tables(
    tables: Mapping[str, PairwiseTable], epochs: int, pool: Executor
) -> Callable[[State, int], tuple[State, Record]]:
    """One epoch of all tables as a step of the epoch loop; it records one loss per domain.

    The state of a table has the prefix ``label|``. The pool draws the pairs of the next epoch while this one
    is trained, and trains tables without a graph in parallel. With a graph the products use all threads, so
    tables are trained one after the other.
    """
    ready: dict[tuple[str, int], Future[Pairs]] = {}

    def draw_pairs(number: int) -> None:
        for label, table in tables.items():
            if number < epochs and (label, number) not in ready:
                ready[label, number] = pool.submit(table.pairs.epoch, number)

    def train(label: str, state: State, number: int) -> tuple[State, Losses]:
        return tables[label].epoch(table_state(state, label), number, ready.pop((label, number)).result())

    def step(state: State, number: int) -> tuple[State, Record]:
        draw_pairs(number)
        without_graph = [label for label, table in tables.items() if not table.layers]
        started = {label: pool.submit(train, label, state, number) for label in without_graph}
        draw_pairs(number + 1)  # after the tables of this epoch: one thread takes them in this order
        new: State = {}
        facts: Record = {}
        for label in tables:
            own, losses = started[label].result() if label in started else train(label, state, number)
            new |= {f"{label}|{key}": array for key, array in own.items()}
            facts |= {f"loss:{name}": loss for name, loss in losses.items()}
        return new, facts

    return step


def table_state(state: State, label: str) -> State:
    """The part of the state that belongs to one table."""
    return {key: state[f"{label}|{key}"] for key in SLOTS}
