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

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DivergenceError
from landbridge.core.rng import generator
from landbridge.core.types import AnyArray, Float32, Int64, Record, read_only
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import Pairs, Pairwise, part_size
from landbridge.models.common.graph import neighbours
from landbridge.training.epochs import State
from landbridge.training.optimizers import KINDS, Optimizer

CHUNKS = 64  # pieces of about equal work for the threads of a product
NO_WEIGHT = read_only(np.empty(0, np.float32))  # kernels take no None: an empty array means weights of 1
Graph = tuple[AnyArray, AnyArray, Float32, AnyArray]
Losses = dict[str, float]
T = TypeVar("T")
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

    def epoch(self, state: State, number: int, parts: Iterable[Pairs] | None = None) -> tuple[State, Losses]:
        """The state after one more epoch, and the mean loss per domain.

        ``parts``: the pairs of the epoch if they are already drawn. DivergenceError if a loss is not finite.
        """
        # copies: with patience the previous state may be the best one so far
        new = {key: state[key].copy() for key in SLOTS}
        steps = 0
        total_D: npt.NDArray[np.float64] = np.zeros(len(self.pairs.slices))
        count_D = np.zeros(len(total_D), np.int64)
        for pairs in self.pairs.parts(number, self.part_size) if parts is None else parts:
            loss_B = np.zeros(len(pairs.user_N), np.float32)
            steps += self._descend(new, pairs, loss_B)
            if not np.isfinite(loss_B).all() or not np.isfinite(new["table"]).all():
                raise DivergenceError(
                    f"Training of {self.pairs.label!r} diverged in epoch {number}, step {steps}; "
                    f"lower lr (now {self.optimizer.lr})."
                )
            domain_B = self._domains(pairs.positive_N)
            # in one sum with what came before: the same bits for any size of parts
            places_B = np.concatenate([np.arange(len(total_D)), domain_B])
            total_D = np.bincount(places_B, np.concatenate([total_D, loss_B])).astype(np.float64, copy=False)
            count_D += np.bincount(domain_B, minlength=len(count_D))
        return new, dict(zip(self.pairs.slices, (total_D / np.maximum(count_D, 1)).tolist(), strict=True))

    @property
    def part_size(self) -> int:
        """How many pairs are drawn at once."""
        return part_size(self.batch_size)

    @property
    def n_parts(self) -> int:
        """How many parts an epoch has."""
        return self.pairs.n_parts(self.part_size)

    def parts_from(self, number: int, epochs: int) -> Iterator[Pairs]:
        """The parts of this epoch and those after it."""
        return chain.from_iterable(self.pairs.parts(each, self.part_size) for each in range(number, epochs))

    def _descend(self, new: State, pairs: Pairs, loss_B: Float32) -> int:
        """Train on some pairs in place; their losses go into ``loss_B``. The number of steps done."""
        from landbridge.models.pairwise.kernels import descend

        user_B, positive_B, negative_B, weight = pairs
        first_item = np.int32(self.events.n_users)
        steps: int = descend(
            new["table"],
            (new["first"], new["second"], new["count"]),
            np.stack([user_B, positive_B + first_item, negative_B + first_item]),
            NO_WEIGHT if weight is None else weight,
            self.batch_size,
            self.graph,
            self.layers,
            self.reg,
            self.reg_power,
            KINDS[self.optimizer.kind],
            self.optimizer.constants,
            loss_B,
        )
        return steps

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

    def _domains(self, positive_B: npt.NDArray[np.int32]) -> Int64:
        """The number of the domain of each pair, (B,)."""
        starts_D = [items.start for items in self.pairs.slices.values()]
        return np.asarray(np.searchsorted(starts_D, positive_B, side="right") - 1)


class Ahead(Generic[T]):
    """An iterator whose next item is made by a pool while the caller works on the one before."""

    def __init__(self, items: Iterator[T], pool: Executor) -> None:
        self._items, self._pool = items, pool
        self._next = pool.submit(next, items, None)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        # made here where the pool has not begun: all of its threads may be callers
        item = next(self._items, None) if self._next.cancel() else self._next.result()
        if item is None:
            raise StopIteration
        self._next = self._pool.submit(next, self._items, None)
        return item


def train_tables(
    tables: Mapping[str, PairwiseTable], epochs: int, pool: Executor
) -> Callable[[State, int], tuple[State, Record]]:
    """One epoch of all tables as a step of the epoch loop; it records one loss per domain.

    The state of a table has the prefix ``label|``. The pool draws pairs while those before them are trained
    on, and trains tables without a graph in parallel. With a graph the products use all threads, so tables
    are trained one after the other.
    """
    drawn: dict[str, Ahead[Pairs]] = {}

    def train(label: str, state: State, number: int) -> tuple[State, Losses]:
        # the first before their number, which is known when it is drawn
        first = next(drawn[label])
        parts = chain([first], islice(drawn[label], tables[label].n_parts - 1))
        return tables[label].epoch(table_state(state, label), number, parts)

    def step(state: State, number: int) -> tuple[State, Record]:
        for label, table in tables.items():
            if label not in drawn:  # the first epoch of this fit
                drawn[label] = Ahead(table.parts_from(number, epochs), pool)
        without_graph = [label for label, table in tables.items() if not table.layers]
        started = {label: pool.submit(train, label, state, number) for label in without_graph}
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
