"""Explanations: what each event of the user adds to an item's score, exactly or by leave-one-out.

For models whose embeddings are the optimum of their events the score splits by
:mod:`landbridge.models.als.fitted`, Eq. (2), also for new users with events. For other models an event's
contribution is what the score loses without it; events can overlap, so what the contributions do not add up
to is reported as a rest.

Letters: E events of one user, J those that are left out one by one, N items, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from landbridge.core.types import AnyArray, Float32, Int32, Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.inference import ROUNDING
from landbridge.models.base import Fitted
from landbridge.serving.engine.cancellation import checkpoint
from landbridge.serving.engine.catalog import ItemCatalog
from landbridge.serving.engine.messages import Contribution, FeaturePart
from landbridge.serving.engine.rankers import Ranker

LEFT_OUT = 200  # of a long history the latest events
LEFT_OUT_EVENTS = 50_000  # events of all queries with one left out: that is what they cost
SCORED_AT_ONCE = 32  # queries between two checkpoints
POPULAR, REST = "popular in this domain", "not from single events"
UNKNOWN_USER = np.array([-1], np.int32)


class ItemExplanations(NamedTuple):
    """``events``: domain -> items and what each adds; ``popularity``: what every cold-start user gets."""

    events: Mapping[str, tuple[Int32, AnyArray]]
    popularity: float
    exact: bool


class Explained(NamedTuple):
    """A score, its parts, largest first, and whether they are exact."""

    score: float
    parts: list[Contribution]
    exact: bool


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains the scores of one model as its lists give them."""

    fitted: Fitted
    ranker: Ranker
    catalogues: Mapping[str, ItemCatalog]

    def explain(self, domain: str, query: Queries, item_N: Int32) -> list[Explained]:
        """The scores of some items for one query, each with its parts, largest first."""
        score_N = self.ranker.score(domain, query, item_N)[0].tolist()
        explanations = self._explained(domain, query, item_N)
        return [
            self._summed(domain, score, explanation)
            for score, explanation in zip(score_N, explanations, strict=True)
        ]

    def features(self, domain: str, query: Queries, item: int) -> list[FeaturePart]:
        """What the features of an item add to its score for one query, largest first."""
        known = self.fitted.history.item_features
        if known is None or not self.fitted.knows(domain, query)[0]:
            return []
        parts = self.fitted.explain_features(domain, query, item)
        named = [FeaturePart(known.label(feature), float(value)) for feature, value in parts.items()]
        return sorted(named, key=lambda part: -part.value)

    def _summed(self, domain: str, score: float, explanation: ItemExplanations) -> Explained:
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
        return Explained(score, sorted(parts, key=lambda part: -part.value), explanation.exact)

    def _explained(self, domain: str, query: Queries, item_N: Int32) -> list[ItemExplanations]:
        if not self.fitted.personal or not self.fitted.knows(domain, query)[0]:
            score_N = self.ranker.score(domain, query, item_N)[0].tolist()
            return [ItemExplanations({}, score, True) for score in score_N]
        if not self.fitted.explains:
            return self._one_by_one(domain, query, item_N)
        own = query.histories_by_domain(self.fitted.history)
        return [
            ItemExplanations(
                {name: (own[name].columns, part_N) for name, part_N in result.events.items()},
                result.popularity,
                True,
            )
            for result in self.fitted.explain(domain, query, item_N)
        ]

    def _one_by_one(self, domain: str, query: Queries, item_N: Int32) -> list[ItemExplanations]:
        """What the scores lose without each event, the others as they are; all items in one pass."""
        query = query_with_history(self.fitted.history, query)
        left_J, without = leave_one_out_queries(query)
        tables = query.events or {}
        score_JN = self._scored_in_parts(domain, without, item_N).astype(np.float64)
        part_NE = np.zeros((len(item_N), sum(len(rows.columns) for rows in tables.values())))
        part_NE[:, left_J] = (score_JN[-1] - score_JN[:-1]).T
        ends = np.cumsum([len(rows.columns) for rows in tables.values()])[:-1]
        return [
            ItemExplanations(
                {
                    name: (rows.columns, part_E)
                    for (name, rows), part_E in zip(tables.items(), np.split(row_E, ends), strict=True)
                },
                0.0,
                False,
            )
            for row_E in part_NE
        ]

    def _scored_in_parts(self, domain: str, queries: Queries, item_N: Int32) -> Float32:
        """The scores of many queries, (B, N), a few at a time, so that a request that is given up stops."""
        parts = []
        for start in range(0, len(queries), SCORED_AT_ONCE):
            checkpoint()
            some_B = np.arange(start, min(start + SCORED_AT_ONCE, len(queries)))
            parts.append(self.ranker.score(domain, queries.take(some_B), item_N))
        return np.concatenate(parts)


def query_with_history(known: MultiDomain, query: Queries) -> Queries:
    """One query by events: its own, else the user's history."""
    if query.events is not None:
        return Queries(UNKNOWN_USER, query.events, query.times, query.disliked)
    tables = known.domains.items()
    events = {name: table.by_user.take(query.user_idx) for name, table in tables}
    times = {
        name: table.time[table.by_user.locate(query.user_idx)[1]]
        for name, table in tables
        if table.time is not None
    }
    return Queries(UNKNOWN_USER, events, times, query.dislikes_by_domain(known))


def leave_one_out_queries(query: Queries) -> tuple[Int64, Queries]:
    """Which of the query's events, numbered over all domains, are left out, (J,), and a query without
    each of them, the last one with all, (J + 1)."""
    events, times = query.events or {}, query.times or {}
    size = sum(len(rows.columns) for rows in events.values())
    nothing = [np.empty(0, np.int64)]
    own = [times.get(name, np.zeros(len(rows.columns), np.int64)) for name, rows in events.items()]
    # only the latest events: each costs a scoring of the whole query
    most = min(LEFT_OUT, max(LEFT_OUT_EVENTS // max(size, 1), 1))
    left_J = np.argsort(np.concatenate(nothing + own), kind="stable")[-most:]
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
    alike_J = np.zeros(len(kept_JN), np.int64)  # the query, as often as events are left out
    disliked = {name: rows.take(alike_J) for name, rows in (query.disliked or {}).items()}
    return left_J, Queries(np.repeat(UNKNOWN_USER, len(kept_JN)), few, few_times, disliked)
