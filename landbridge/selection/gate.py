"""The gate: a refitted model goes live unless it is worse than the present one on the latest events.

Each user that the present model knows gives their latest new event of every domain, where there is one. A
candidate is fitted without these pairs, and both models rank them: the candidate by what it learned, the
present one as it is served, from its history and the events since. New users give no pairs: accounts made
for the purpose would have a vote on whether what they did goes live.

The candidate is refused if in any domain NDCG@10 is more than 5 % below that of the present model and the
difference is significant at 5 % (:mod:`landbridge.evaluation.significance`, Holm over the domains).

U users, I items, N events of one domain, B queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from landbridge.core.rng import generator
from landbridge.core.types import Bool, Float32, Int32, Ragged, Seconds
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions, in_order
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.evaluation.bootstrap import LEVEL
from landbridge.evaluation.evaluate import evaluate
from landbridge.evaluation.significance import compare
from landbridge.models.base import Fitted, Method, Queries
from landbridge.models.popularity import Popularity

METRIC = "ndcg@10"
LEAST_PAIRS = 50  # fewer show no difference that matters
MARGIN = 0.05  # of the present model's metric: smaller losses do not hold back newer events
PASSED, REFUSED, SKIPPED = "passed", "refused", "skipped"


@dataclass(frozen=True)
class DomainQuality:
    """The metric of each model on the held-out pairs of a domain. ``p``: of the difference between candidate
    and present model, after Holm's correction."""

    domain: str
    pairs: int
    candidate: float
    present: float
    popularity: float
    p: float

    @property
    def is_worse(self) -> bool:
        """Whether the candidate must not go live for this domain."""
        return self.p < LEVEL and self.candidate < (1 - MARGIN) * self.present


@dataclass(frozen=True)
class GateReport:
    """``decision``: passed, refused, or skipped for want of pairs."""

    decision: str
    pairs: int
    metric: str = METRIC
    domains: tuple[DomainQuality, ...] = ()

    @property
    def sentence(self) -> str:
        """The decision and why."""
        if self.decision == SKIPPED:
            return (
                f"The gate was skipped: known users have {self.pairs} new pairs to compare on, and it needs "
                f"{LEAST_PAIRS}."
            )
        if self.decision == PASSED:
            return f"The gate was passed: on {self.pairs} new pairs no domain is significantly worse."
        worse = "; ".join(
            f"{each.domain}: {METRIC} {each.candidate:.4f} instead of {each.present:.4f} on {each.pairs} "
            f"pairs, p {each.p:.2g}"
            for each in self.domains
            if each.is_worse
        )
        return f"The gate refused the refitted model, and the present one stays ({worse})."


def gate(
    present: Fitted, data: MultiDomain, fit: Callable[[MultiDomain], Fitted], seed: int = 0, threads: int = 1
) -> GateReport:
    """Compare the present model with a candidate on new events of ``data``, which holds all it was fitted on.

    ``fit``: what the candidate is, as a function of its events. It is called once, unless there are too few.
    """
    holdout = latest_new_events(data, present.history, seed)
    pairs = sum(len(targets) for targets in holdout.targets.values())
    if pairs < LEAST_PAIRS:
        return GateReport(SKIPPED, pairs)
    models = (fit(holdout.history), AsServed(present, holdout.history), Popularity().fit(holdout.history))
    candidate, served, popularity = (evaluate(model, holdout, threads=threads) for model in models)
    popular = popularity.means(METRIC)
    domains = tuple(
        DomainQuality(row["domain"], row["users"], row["a"], row["b"], popular[row["domain"]], row["p_holm"])
        for row in compare(candidate, served, METRIC).rows.iter_rows(named=True)
    )
    refused = any(each.is_worse for each in domains)
    return GateReport(REFUSED if refused else PASSED, pairs, METRIC, domains)


def latest_new_events(data: MultiDomain, before: MultiDomain, seed: int = 0) -> Holdout:
    """Each known user's latest event of every domain, among those that ``before`` does not have; of many
    users a sample. Equal times, and events without times: at random, seeded."""
    targets = {name: _latest(data, before, name, seed) for name in data.domain_names}
    sample = Holdout(data, targets).to_validate(seed)
    history = {
        name: events.take(~_held(events, sample.targets[name])) for name, events in data.domains.items()
    }
    return Holdout(data.with_events(history), sample.targets)


@dataclass(frozen=True, eq=False)
class AsServed:
    """A model that scores users of later data as a server does: from its own history and their events since.

    ``history``: the later data; its items that the model does not know come last.
    """

    model: Fitted
    history: MultiDomain

    @property
    def method(self) -> Method:
        """The model's."""
        return self.model.method

    def score(self, domain: str, queries: Queries) -> Float32:
        """The model's scores for known users, at the items of the later data, (B, I)."""
        return self._placed(domain, self.model.score(domain, self._queries(queries.user_idx)))

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """The same on one scale for all domains, (B, I)."""
        return self._placed(domain, self.model.list_scores(domain, self._queries(queries.user_idx)))

    def unlisted(self, domain: str) -> Bool:
        """The items that the model does not list, or does not know, (I,)."""
        place_I = self._place[domain]
        return np.where(place_I >= 0, self.model.unlisted(domain)[place_I], True)

    @cached_property
    def _place(self) -> dict[str, Int32]:
        """The model's index of each item, (I,), -1 for a new one."""
        known = self.model.history.items
        return {name: known[name].index(items.ids) for name, items in self.history.items.items()}

    def _placed(self, domain: str, own_BI: Float32) -> Float32:
        place_I = self._place[domain]
        return np.where(place_I >= 0, own_BI[:, place_I], -np.float32(np.inf))

    def _queries(self, user_B: Int32) -> Queries:
        """Users with events since the fit bring all of theirs, as in a request; the others are looked up."""
        own_B = self.model.history.users.index(self.history.users.ids[user_B])
        tables = {name: self._events(name, user_B, self.history[name]) for name in self.history.domain_names}
        counts_B = sum(table.user_counts for table in tables.values())
        new_B = counts_B > self.model.history.activity_UD[own_B].sum(axis=1)
        rows_B = np.where(new_B, np.arange(len(own_B)), -1)  # row -1 is empty
        events: dict[str, Ragged] = {}
        times: dict[str, Seconds] = {}
        for name, table in tables.items():
            events[name] = table.by_user.take(rows_B)
            if table.time is not None:
                times[name] = table.time[table.by_user.locate(rows_B)[1]]
        disliked = {
            name: self._events(name, user_B, self.history.excluded(name, seen=True)).by_user.take(rows_B)
            for name in tables
        }
        return Queries(own_B, events, times, disliked)

    def _events(self, domain: str, user_B: Int32, events: Interactions) -> Interactions:
        """The users' events of one domain with items that the model knows, in its indices."""
        offsets, place_N = events.by_user.locate(user_B)
        item_N = self._place[domain][events.item_idx[place_N]]
        kept_N = item_N >= 0
        row_N, place_N = np.repeat(np.arange(len(user_B)), np.diff(offsets))[kept_N], place_N[kept_N]
        return Interactions.from_events(
            row_N,
            item_N[kept_N],
            len(user_B),
            self.model.history[domain].n_items,
            None if events.weight is None else events.weight[place_N],
            None if events.time is None else events.time[place_N],
        )


def _latest(data: MultiDomain, before: MultiDomain, domain: str, seed: int) -> Targets:
    events = data[domain]
    new = events.take(_is_new(data, before, domain))
    # shuffled, as equal times keep their order
    order_N = generator(seed, "gate", domain).permutation(len(new))
    time_N = None if new.time is None else new.time[order_N]
    sorted_N, last_N = in_order(new.user_idx[order_N].astype(np.int64), time_N)
    held = np.sort(order_N[sorted_N[last_N]])
    return Targets(new.user_idx[held], new.item_idx[held])


def _is_new(data: MultiDomain, before: MultiDomain, domain: str) -> Bool:
    """Whether each event is a known user's and ``before`` does not have it, (N,)."""
    events = data[domain]
    user_N = before.users.index(data.users.ids)[events.user_idx]
    item_N = before.items[domain].index(data.items[domain].ids)[events.item_idx]
    # an index of -1 would be looked up as another pair
    known_N = (user_N >= 0) & (item_N >= 0)
    had_N = known_N & before[domain].contains(np.maximum(user_N, 0), np.maximum(item_N, 0))
    return np.asarray((user_N >= 0) & ~had_N)


def _held(events: Interactions, targets: Targets) -> Bool:
    """Whether each event is a target, (N,)."""
    pairs = Interactions(targets.user_idx, targets.item_idx, events.n_users, events.n_items)
    return pairs.contains(events.user_idx, events.item_idx)
