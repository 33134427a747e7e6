"""``EventSumModel`` and ``ItemItemModel``: a score is a sum over the user's events, in any domain.

With x_u the row of the user's events over the items of all domains (their values are those of
:mod:`landbridge.models.linear.event_values`) and W the item–item matrix

    score(u, j) = Σ_{i∈S_u} x_ui W_ij + ε pop_j                                                        (1)

so that a new user needs no fit, an explanation is the terms of the sum, and the domains of the source items
say where a score comes from. ε (``FILL``) only orders by popularity the items that get no score.
Letters: B queries, I items, N events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float32, Int32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Queries, StoredState
from landbridge.models.common.cold_start import ColdStartMixin
from landbridge.models.explanation import Explanation, in_parts
from landbridge.models.linear.event_values import EventValues
from landbridge.models.linear.matrix import Growth, ItemMatrix, check_matrix, matrix_from
from landbridge.models.linear.table import FeatureRows

if TYPE_CHECKING:
    from landbridge.models.linear.method import LinearMethod

FILL = np.float32(1e-6)


@dataclass(frozen=True, eq=False)
class EventSumModel(ColdStartMixin):
    """``matrices``: source domain -> target domain -> W; a pair that is missing shares nothing.

    ``values``: how events become x. ``cold_policy`` and ``popularity_weight`` as in
    :class:`~landbridge.models.common.cold_start.ColdStartMixin`.
    """

    matrices: Mapping[str, Mapping[str, ItemMatrix]]
    values: EventValues
    cold_policy: str
    popularity_weight: float
    explains: ClassVar[bool] = True

    def parties(self, domain: str, counts_BD: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The domains that have a matrix towards ``domain``."""
        sources_D = np.array([domain in self.matrices[name] for name in self.history.domain_names])
        return np.tile(sources_D, (len(counts_BD), 1))

    def warm_scores(self, domain: str, queries: Queries) -> Float32:
        """Eq. (1) for every item of the domain, (B, I)."""
        scores_BI = np.tile(FILL * self._popularity_I[domain], (len(queries), 1))
        for source, rows in self._values(queries).items():
            if domain in self.matrices[source]:
                self.matrices[source][domain].add_product(rows, scores_BI)
        return scores_BI

    def explain(self, domain: str, query: Queries, item_N: Int32) -> list[Explanation]:
        """The terms of Eq. (1), and the popularity that it and the cold policy add."""
        score_N = self.score(domain, query)[0, item_N].tolist()
        own = self._values(query)
        nothing = {name: np.zeros(len(rows.columns), np.float32) for name, rows in own.items()}
        if self.cold_policy == "popularity" and self._no_events_B(domain, query)[0]:
            return [Explanation(nothing, score, 0.0) for score in score_N]
        explanations = []
        for score, item in zip(score_N, item_N.tolist(), strict=True):
            events = nothing | {
                name: rows.weights * self.matrices[name][domain].column(rows.columns, item)
                for name, rows in own.items()
                if domain in self.matrices[name]
            }
            explanations.append(in_parts(score, self._popularity_part(domain, query, item), events))
        return explanations

    def similar(self, domain: str, item: int, to: str) -> Float32:
        """The weights from one item to every item of the domain ``to``, (I,): its row of W.

        Domains that share nothing are compared as in :class:`~landbridge.models.base.Fitted`.
        """
        if to not in self.matrices[domain]:
            return super().similar(domain, item, to)
        return self.matrices[domain][to].row(item)

    def check_arrays(self) -> None:
        """As in :class:`Fitted`."""
        for source, targets in self.matrices.items():
            for target, matrix in targets.items():
                shape = self.history[source].n_items, self.history[target].n_items
                check_matrix(matrix, shape, f"{source!r} to {target!r}")

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """The arrays of every matrix, by source, target and name."""
        arrays = {
            f"{source}/{target}/{name}": array
            for source, targets in self._numbered(self.matrices).items()
            for target, matrix in self._numbered(targets).items()
            for name, array in matrix.arrays().items()
        }
        return arrays, {
            "values": vars(self.values),
            "cold_policy": self.cold_policy,
            "popularity_weight": self.popularity_weight,
        }

    @classmethod
    def from_state(cls, kept: StoredState) -> Self:
        """The inverse of ``state``."""
        history, method, log, arrays, about = kept
        parts: dict[tuple[int, int], dict[str, npt.NDArray[Any]]] = {}
        for key, array in arrays.items():
            source, target, name = key.split("/")
            parts.setdefault((int(source), int(target)), {})[name] = array
        names = history.domain_names
        matrices: dict[str, dict[str, ItemMatrix]] = {name: {} for name in names}
        for (s, t), own in sorted(parts.items()):
            matrices[names[s]][names[t]] = matrix_from(own, history[names[t]].n_items)
        values = EventValues(**about["values"])
        return cls(history, method, log, matrices, values, about["cold_policy"], about["popularity_weight"])

    @cached_property
    def _history_values(self) -> dict[str, Ragged]:
        """x of every known user, domain -> rows of users."""
        return self.values.of_history(self.history)

    def _values(self, queries: Queries) -> dict[str, Ragged]:
        """x of every query, domain -> rows of queries: of its own events, else of the user's."""
        own = self.values.of_queries(queries)
        none = Ragged.empty(len(queries))
        return {
            name: own.get(name, none).concat(rows.take(queries.looked_up_B))
            for name, rows in self._history_values.items()
        }

    def _numbered(self, by_domain: Mapping[str, Any]) -> dict[int, Any]:
        """With the numbers of domains for names, which a key could not hold safely."""
        return {self.history.domain_names.index(name): part for name, part in by_domain.items()}

    def _popularity_part(self, domain: str, query: Queries, item: int) -> float:
        blended = self.cold_policy == "blend" and self._no_events_B(domain, query)[0]
        weight = float(FILL) + (self.popularity_weight if blended else 0.0)
        return weight * float(self._popularity_I[domain][item])


@dataclass(frozen=True, eq=False)
class ItemItemModel(EventSumModel):
    """Of a method that learns from the features of items, too, and so has columns for new ones."""

    kind: ClassVar[str] = "item_item"

    def explain_features(self, domain: str, query: Queries, item: int) -> dict[int, float]:
        """As in :class:`Fitted`: each term of Eq. (1) as the method divides W_ij by features."""
        only = self.cold_policy == "popularity" and self._no_events_B(domain, query)[0]
        if domain not in self._feature_rows or only:
            return {}
        rows = self._feature_rows[domain]
        weight_J, value_J = np.zeros((2, len(rows.diagonal_J)), np.float32)
        values = self._values(query)
        for name, item_I in rows.items.items():
            every_I = np.arange(len(item_I), dtype=np.int32)
            weight_J[item_I] = self.matrices[name][domain].column(every_I, item)
            np.add.at(value_J, item_I[values[name].columns], values[name].weights)
        column = int(rows.items[domain][item])
        scale_J, term_V = self._linear.feature_terms(rows, domain, column, weight_J)
        part_V = term_V * (rows.feature_JV.T @ (value_J * scale_J))
        own_N = rows.feature_JV[[column]].indices
        return dict(zip(own_N.tolist(), part_V[own_N].tolist(), strict=True))

    def grown(self, data: MultiDomain) -> ItemItemModel:
        """As in :class:`Fitted`: a new item has the column of a fit with it, of EASE in the local form; its
        events say nothing of items that were there before the next fit."""
        growth = {
            name: Growth(items.index(self.history.items[name].ids), len(items))
            for name, items in data.items.items()
        }
        new_N = {name: np.flatnonzero(data.new_items(name)) for name in data.domain_names}
        columns = self._linear.new_columns(data, self.values, new_N)
        matrices = {
            source: {
                target: matrix.grown(growth[source], growth[target], new_N[target], columns[source][target])
                for target, matrix in targets.items()
            }
            for source, targets in self.matrices.items()
        }
        return replace(self, history=data, matrices=matrices)

    @cached_property
    def _feature_rows(self) -> dict[str, FeatureRows]:
        """Domain -> the features below its table; empty where none were used."""
        return self._linear.feature_rows(self.history)

    @property
    def _linear(self) -> LinearMethod:
        return cast("LinearMethod", self.method)  # what makes models of this kind
