"""Explanations: what each event of the user adds to an item's score, exactly or by leave-one-out.

For models whose embeddings are the optimum of their events the score splits by
:mod:`landbridge.models.als.fitted`, Eq. (2), also for new users with events. For other models an event's
contribution is what the score loses without it; events can overlap, so what the contributions do not add up
to is reported as a rest.

Letters: N events of one user, J those that are left out one by one, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from landbridge.core.types import AnyArray, Int32, Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.inference import ROUNDING
from landbridge.models.base import Fitted
from landbridge.serving.engine.catalog import ItemCatalog
from landbridge.serving.engine.messages import Contribution
from landbridge.serving.engine.rankers import Ranker

LEFT_OUT = 200  # of a long history the latest events
POPULAR, REST = "popular in this domain", "not from single events"
UNKNOWN_USER = np.array([-1], np.int32)


class ItemExplanations(NamedTuple):
    """``events``: domain -> items and what each adds; ``popularity``: what every cold-start user gets."""

    events: Mapping[str, tuple[Int32, AnyArray]]
    popularity: float
    exact: bool


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains the scores of one model as its lists give them."""

    fitted: Fitted
    ranker: Ranker
    catalogues: Mapping[str, ItemCatalog]

    def parts(self, domain: str, query: Queries, item: int) -> tuple[float, list[Contribution], bool]:
        """A score, its parts, largest first, and whether they are exact."""
        score = float(self.ranker.score(domain, query, item)[0])
        explanation = self._explained(domain, query, item, score)
        parts = [
            Contribution(entry.domain, entry.item, entry.title, entry.score)
            for name, (item_N, part_N) in explanation.events.items()
            for entry in self.catalogues[name].listed(item_N[None], part_N[None])[0]
            if entry.score != 0
        ]
        if explanation.popularity != 0:
            parts.append(Contribution(domain, None, POPULAR, explanation.popularity))
        # the parts must sum to the score that the list showed
        rest = score - sum(part.value for part in parts)
        if abs(rest) > ROUNDING * max(abs(value) for value in (score, *(part.value for part in parts))):
            parts.append(Contribution(domain, None, REST, rest))
        return score, sorted(parts, key=lambda part: -part.value), explanation.exact

    def _explained(self, domain: str, query: Queries, item: int, score: float) -> ItemExplanations:
        if not self.fitted.personal or not self.fitted.knows(domain, query)[0]:
            return ItemExplanations({}, score, True)
        if not self.fitted.explains:
            return self._one_by_one(domain, query, item)
        result, own = self.fitted.explain(domain, query, item), query.histories_by_domain(self.fitted.history)
        events = {name: (own[name].columns, part_N) for name, part_N in result.events.items()}
        return ItemExplanations(events, result.popularity, True)

    def _one_by_one(self, domain: str, query: Queries, item: int) -> ItemExplanations:
        """What the score loses without each event, the others as they are."""
        query = query_with_history(self.fitted.history, query)
        left_J, without = leave_one_out_queries(query)
        score_J = self.ranker.score(domain, without, item).astype(np.float64)
        part_N = np.zeros(sum(len(rows.columns) for rows in (query.events or {}).values()))
        part_N[left_J] = score_J[-1] - score_J[:-1]
        events, start = {}, 0
        for name, rows in (query.events or {}).items():
            events[name] = rows.columns, part_N[start : start + len(rows.columns)]
            start += len(rows.columns)
        return ItemExplanations(events, 0.0, False)


def query_with_history(known: MultiDomain, query: Queries) -> Queries:
    """One query by events: its own, else the user's history."""
    if query.events is not None:
        return Queries(UNKNOWN_USER, query.events, query.times)
    tables = known.domains.items()
    events = {name: table.by_user.take(query.user_idx) for name, table in tables}
    times = {
        name: table.time[table.by_user.locate(query.user_idx)[1]]
        for name, table in tables
        if table.time is not None
    }
    return Queries(UNKNOWN_USER, events, times)


def leave_one_out_queries(query: Queries) -> tuple[Int64, Queries]:
    """Which of the query's events, numbered over all domains, are left out, (J,), and a query without
    each of them, the last one with all, (J + 1)."""
    events, times = query.events or {}, query.times or {}
    size = sum(len(rows.columns) for rows in events.values())
    nothing = [np.empty(0, np.int64)]
    own = [times.get(name, np.zeros(len(rows.columns), np.int64)) for name, rows in events.items()]
    # only the latest events: each costs a scoring of the whole query
    left_J = np.argsort(np.concatenate(nothing + own), kind="stable")[-LEFT_OUT:]
    kept_JN = np.ones((len(left_J) + 1, size), bool)
    kept_JN[np.arange(len(left_J)), left_J] = False
    few: dict[str, Ragged] = {}
    few_times, start = {}, 0
    for (name, rows), time_N in zip(events.items(), own, strict=True):
        kept = kept_JN[:, start : start + len(rows.columns)]
        place_M = np.nonzero(kept)[1]
        offsets = np.concatenate(([0], np.cumsum(kept.sum(axis=1)))).astype(np.int64)
        weight_M = None if rows.weight is None else rows.weight[place_M]
        few[name], few_times[name] = Ragged(offsets, rows.columns[place_M], weight_M), time_N[place_M]
        start += len(rows.columns)
    return left_J, Queries(np.repeat(UNKNOWN_USER, len(kept_JN)), few, few_times)
