"""Sequential rules: an item is recommended for what it has followed soon after, in any domain.

Kamehkhosh et al. (RecTemp 2017), Ludewig & Jannach (UMUAI 2018), there for sessions. The events of a user in
the order of time, those of all domains together, are one sequence; m(n) is the item of its n-th event. With
the window L and n_i events of item i in the data,

    C_ij = Σ_u Σ_{n' < n <= n' + L} (n - n')^-d   over n', n with m(n') = i, m(n) = j                   (1)
    W_ij = b_ij C_ij n_i^-a                                                                            (2)

b is ``cross_weight`` where i and j are of different domains, else 1; with a = 1, d = 0 and L without end W_ij
is the share of those with i who had j later. Every target j keeps the N items of the largest W_ij. The score
of an item is Σ_i x_ui W_ij over the items of the user, where one that r later events of them follow has

    x_ui = (1 + r)^-e                                                                                  (3)

No weights are learned: it takes one pass over the events, and is what a sequence model has to surpass.

Letters: J source items, I target items of a domain, N events or neighbours, L distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from landbridge.core.settings import setting
from landbridge.core.threads import all_threads
from landbridge.core.types import Float64, Int32, Ragged
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.sequences import user_histories
from landbridge.models.base import Method
from landbridge.models.common.cold_start import POPULARITY_WEIGHT
from landbridge.models.cost import FLOAT64, INT32, Cost, Work
from landbridge.models.linear import cost as linear_cost
from landbridge.models.linear import ridge
from landbridge.models.linear.event_values import EventValues
from landbridge.models.linear.fitted import EventSumModel
from landbridge.models.linear.matrix import ItemMatrix, SparseMatrix
from landbridge.models.linear.method import COLD_POLICY
from landbridge.models.search_space import Choice, Real, Space
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class SequentialRules(Method):
    """What has followed the items of the user soon after."""

    sharing: Literal["separate", "cross"] = setting(
        "cross", "A sequence per domain, or one of all with a weight of its own across domains."
    )
    window: int = setting(10, "Largest distance in events at which one follows another.", low=1, symbol="L")
    distance_exponent: float = setting(
        1.0, "What follows at distance n counts n^-d.", low=0, high=5, symbol="d"
    )
    source_exponent: float = setting(
        0.7, "Exponent of the number of events of the item that is followed.", low=0, high=1, symbol="a"
    )
    neighbours: int = setting(500, "Items before it that an item keeps.", low=1, symbol="N")
    rank_exponent: float = setting(
        1.0,
        "An event followed by r later events of its user counts (1 + r)^-e when scoring.",
        low=0,
        high=3,
        symbol="e",
        of_times=True,
    )
    cross_weight: float = setting(1.0, "Factor of rules across domains.", low=0, high=1, symbol="b")
    cold_policy: Literal["blend", "popularity", "zero"] = setting("blend", COLD_POLICY)
    popularity_weight: float = setting(3.0, POPULARITY_WEIGHT, low=0)
    relative_cost: ClassVar[int] = 1
    name: ClassVar[str] = "seqrules"
    paper: ClassVar[str] = "Ludewig & Jannach, UMUAI 2018"
    needs: ClassVar[str] = "times"
    folds_in: ClassVar[str] = "exact"
    uses_order: ClassVar[bool] = True
    space: ClassVar[Space] = MappingProxyType(
        {
            "sharing": Choice(("separate", "cross")),
            "window": Choice((3, 10, 30)),
            "distance_exponent": Real(0.0, 2.0),
            "source_exponent": Real(0.0, 1.0),
            "neighbours": Choice((100, 500, 1000)),
            "rank_exponent": Real(0.25, 2.0),
            "cross_weight": Real(0.02, 1.0, log=True),
            "popularity_weight": Choice((0.0, 1.0, 3.0, 10.0)),
        }
    )

    @classmethod
    def in_auto(cls, data: MultiDomain) -> Mapping[str, Method]:
        """Where events have times: one candidate, whose search decides what domains say of each other."""
        timed = all(events.time is not None for events in data.domains.values())
        return {cls.name: cls()} if timed else {}

    @property
    def single_domain(self) -> bool:
        """As in :class:`Method`."""
        return self.sharing == "separate"

    def space_on(self, data: MultiDomain) -> Space:
        """As in :class:`Method`; what domains say of each other is a question where there are several."""
        several, space = len(data.domains) > 1, super().space_on(data)
        of_several = ("sharing", "cross_weight")
        return {name: values for name, values in space.items() if several or name not in of_several}

    def cost(self, counts: Counts) -> Cost:
        """An addition for every pair of Eq. (1), the lists of the largest, and the sequences with their
        places and index."""
        work, peak, model = Work(), 0.0, 0.0
        for table, targets in linear_cost.tables(counts, separate=self.single_domain):
            added, most = table.users.total(self._pairs_K), min(self.neighbours, table.n_items)
            each = added / max(table.events, 1.0)
            found = [linear_cost.neighbours(table, items, most, each) for items in targets]
            work += Work(scatter=added, sort=3 * table.events)
            for own in found:
                work += linear_cost.listing_work(own)
                model += linear_cost.matrix_bytes(own, table.n_items)
            lists = max(linear_cost.list_bytes(own, most) for own in found)
            peak = max(peak, 2 * (INT32 + FLOAT64) * table.events + lists)
        return Cost(work, Work(), 0, peak + model, model)

    def _pairs_K(self, n_K: Float64) -> Float64:
        """Pairs of events at most L apart in a sequence of n."""
        near_K = np.minimum(n_K, self.window + 1.0)
        pairs_K: Float64 = near_K * (near_K - 1) / 2 + (n_K - near_K) * self.window
        return pairs_K

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> RulesModel:
        """Count what follows what, Eq. (1); DataError for a domain without times."""
        options = options or FitOptions()
        names = train.domain_names
        groups = [[name] for name in names] if self.single_domain else [names]
        parts: dict[str, dict[str, ItemMatrix]] = {name: {} for name in names}
        with all_threads(options.threads), options.progress.task(f"fit {self.name}", len(groups)) as task:
            for number, group in enumerate(groups, start=1):
                some = train.select(group)
                slices = some.item_slices
                sequences = _Sequences.of(user_histories(some), slices[group[-1]].stop)
                for target, own in slices.items():
                    whole = self._rules(sequences, own)
                    for source, items in slices.items():
                        item_I = np.arange(items.start, items.stop, dtype=np.int32)
                        parts[source][target] = whole.rows_of(item_I)
                task.step(number, {})
        values = EventValues(exponent=0.0, rank_exponent=self.rank_exponent, across=not self.single_domain)
        return RulesModel(train, self, (), parts, values, self.cold_policy, self.popularity_weight)

    def _rules(self, sequences: _Sequences, own: slice) -> SparseMatrix:
        """Eq. (2) for the items of one domain, with a row per item of the sequences."""
        from landbridge.models.linear import kernels

        item_I = np.arange(own.start, own.stop, dtype=np.int32)
        factor_J = np.full(sequences.n_items, self.cross_weight, np.float64)
        factor_J[own] = 1
        factor_J *= np.maximum(sequences.count_J, 1.0) ** -self.source_exponent
        longest = min(self.window, int(sequences.place_N.max(initial=0)))
        weight_L = np.arange(1, longest + 1, dtype=np.float64) ** -self.distance_exponent
        out = ridge.neighbour_lists(len(item_I), min(self.neighbours, sequences.n_items))
        chunk_C = ridge.chunks(1.0 + sequences.count_J[own] * self.window)
        kernels.followed(
            len(chunk_C) - 1,
            sequences.item_N,
            sequences.place_N,
            (sequences.of_item.offsets, sequences.of_item.columns),
            weight_L.astype(np.float32),
            factor_J.astype(np.float32),
            item_I,
            chunk_C,
            out,
        )
        return ridge.sparse_matrix(out, sequences.n_items)


@dataclass(frozen=True, eq=False)
class RulesModel(EventSumModel):
    """A fitted :class:`SequentialRules`."""

    kind: ClassVar[str] = "rules"


@dataclass(frozen=True, eq=False)
class _Sequences:
    """The items of all sequences one after the other, how many events of its sequence come before each, and
    the events of every item."""

    item_N: Int32
    place_N: Int32
    of_item: Ragged

    @classmethod
    def of(cls, histories: Ragged, n_items: int) -> _Sequences:
        """Of users' items, oldest first."""
        event_N = np.arange(len(histories.columns), dtype=np.int32)
        place_N = event_N - np.repeat(histories.offsets[:-1], histories.lengths).astype(np.int32)
        return cls(histories.columns, place_N, Ragged.from_index(histories.columns, event_N, n_items))

    @property
    def n_items(self) -> int:
        """J."""
        return len(self.of_item)

    @property
    def count_J(self) -> Float64:
        """The events of every item, (J,)."""
        return self.of_item.lengths.astype(np.float64)
