"""Build queries and ranking constraints from requests with raw ids.

All errors of a request are raised here, before anything is computed.

Letters: B requests, N events, D domains, I items, M masks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import AnyArray, Bool, Float32, Id, Int32, Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.item_rules import EVERY_ITEM, Rule, rule_of
from landbridge.data.kinds import DISLIKED, SEEN, EventKinds, at_least
from landbridge.data.products import of_other_domains
from landbridge.data.queries import Queries
from landbridge.data.seen import UNTIMED, Rows, divided
from landbridge.serving.engine.catalog import ItemCatalog, catalog_of, indices_of
from landbridge.serving.engine.messages import Event, Request, whole_seconds

ANONYMOUS = -1  # row -1 of a ragged array is an empty row
MaskKey = tuple[bytes | None, Rule]  # the items allowed, and the rule that must be true of them


class RankingConstraints(NamedTuple):
    """What lists may hold: hidden items, masks (M, I), which of them a request has (-1: none), lengths."""

    hidden: Ragged
    mask_MI: Bool
    mask_B: Int64
    k_B: Int64

    def take(self, chosen_B: Int64) -> RankingConstraints:
        """Of the requests at these places, in their order."""
        hidden = self.hidden.take(chosen_B)
        return RankingConstraints(hidden, self.mask_MI, self.mask_B[chosen_B], self.k_B[chosen_B])


class Live(NamedTuple):
    """The events that requests bring in one domain, (M,); without a kind or a weight where that is None."""

    row_M: AnyArray
    item_M: AnyArray
    time_M: AnyArray
    kind_M: Sequence[str | None]
    weight_M: Sequence[float | None]


NONE = np.zeros(0, np.int64)
NO_EVENTS = Live(NONE, NONE, NONE, (), ())


class QueryGroup(NamedTuple):
    """The requests, at ``place_B`` of all, that go through a model together: one domain, all with events of
    their own or all without. ``across``: all want one list over several domains, or none."""

    domain: str
    place_B: Int64
    queries: Queries
    constraints: RankingConstraints
    across: bool = False


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """``user_B``: -1 for users the model has not seen. ``live``: their events since, (row, item, time,
    kind)."""

    history: MultiDomain
    catalogues: Mapping[str, ItemCatalog]
    requests: Sequence[Request]
    user_B: Int32
    live: Mapping[str, Live]

    @classmethod
    def of(
        cls, history: MultiDomain, catalogues: Mapping[str, ItemCatalog], requests: Sequence[Request]
    ) -> QueryBatch:
        """The requests with indices for ids; DataError for what the model does not know."""
        users = [request.user for request in requests if request.user is not None]
        user_B = np.full(len(requests), ANONYMOUS, np.int32)
        user_B[[request.user is not None for request in requests]] = indices_of(history.users, users)
        live: dict[str, list[_LiveEvent]] = {}
        for row, request in enumerate(requests):
            for domain in (*request.allow, *request.deny, *request.weights):
                catalog_of(catalogues, domain)
            for domain, weight in request.weights.items():
                if not 0 < weight < math.inf:
                    raise DataError(f"The weight of {domain!r} must be a number above 0, not {weight}.")
            for event, time in zip(request.events, _times(request.events), strict=True):
                history.kinds.standing(event.kind)  # before anything is computed
                entry = _LiveEvent(row, event.item, time, event.kind, _weight(event))
                live.setdefault(event.domain, []).append(entry)
        placed = {domain: _placed(catalog_of(catalogues, domain), events) for domain, events in live.items()}
        return cls(history, catalogues, requests, user_B, placed)

    @property
    def known_B(self) -> Bool:
        """Whether the model was fitted with events of the user."""
        return np.asarray((self.user_B >= 0) & self.history.activity_UD[self.user_B].any(axis=1))

    def parts(self, chosen: Collection[int] | None = None) -> list[QueryGroup]:
        """All that is to be computed, in the order of the data's domains; with ``chosen`` for the requests
        at these places."""
        chosen_B = np.ones(len(self.requests), bool)
        if chosen is not None:
            chosen_B = np.isin(np.arange(len(self.requests)), list(chosen))
        requested_domains = [
            {catalog_of(self.catalogues, name).domain for name in _domains(each)} for each in self.requests
        ]
        across_B = np.array([len(domains) > 1 for domains in requested_domains], bool)
        groups = []
        for domain in self.history.domain_names:
            requests_B = np.array([domain in domains for domains in requested_domains], bool)
            # apart: known users without new events are looked up, the others are folded in
            for brings, across in itertools.product((False, True), repeat=2):
                own_B = chosen_B & requests_B & (self._brings_B == brings) & (across_B == across)
                if own_B.any():
                    groups.append(self._part(domain, np.flatnonzero(own_B))._replace(across=across))
        return groups

    def _part(self, domain: str, place_B: Int64) -> QueryGroup:
        brings = bool(self._brings_B[place_B[0]])
        queries = self._queries.take(place_B) if brings else Queries.of_users(self.user_B[place_B])
        requests = [self.requests[place] for place in place_B.tolist()]
        elsewhere = self._elsewhere(domain, place_B)
        own, disliked = (self._rows(domain, place_B, seen).concat(elsewhere) for seen in (False, True))
        constraints = ranking_constraints(self.catalogues[domain], requests, own, disliked)
        return QueryGroup(domain, place_B, queries, constraints)

    def _rows(self, domain: str, place_B: Int64, seen: bool = False) -> Ragged:
        """What lists leave out, of requests that all bring events or all bring none; as
        ``MultiDomain.excluded``."""
        if not self._brings_B[place_B[0]]:
            return self.history.excluded(domain, seen=seen).by_user.take(self.user_B[place_B])
        known = self._known[domain]
        return (known.disliked if seen else known.excluded).take(place_B)

    def _elsewhere(self, domain: str, place_B: Int64) -> Ragged:
        """The items whose product a request's user has in another domain, where it wants none of them."""
        products = self.history.products
        wants_none_B = np.array([not self.requests[place].seen_elsewhere for place in place_B.tolist()], bool)
        if products is None or not wants_none_B.any():
            return Ragged.empty(len(place_B))
        rows = {name: self._rows(name, place_B) for name in self.history.domain_names}
        found = of_other_domains(products, domain, rows)
        return found.take(np.where(wants_none_B, np.arange(len(place_B)), ANONYMOUS))

    @cached_property
    def _brings_B(self) -> Bool:
        return np.array([bool(request.events) for request in self.requests], bool)

    @cached_property
    def _queries(self) -> Queries:
        """All requests that bring events, with the histories of their users."""
        given = {name: each.events for name, each in self._known.items() if len(each.events)}
        times = {name: table.time for name, table in given.items() if table.time is not None}
        counts = [table.user_counts for table in given.values()]
        # a user whose every event has been revoked is looked up no more
        left_B = np.sum(counts, axis=0) > 0 if counts else np.zeros(len(self.user_B), bool)
        user_B = np.where(self._brings_B & ~left_B, np.int32(ANONYMOUS), self.user_B)
        disliked = {name: each.disliked for name, each in self._known.items() if len(each.disliked.columns)}
        return Queries(user_B, {name: table.by_user for name, table in given.items()}, times, disliked)

    @cached_property
    def _known(self) -> dict[str, Known]:
        """What is known of the requests that bring events, by domain."""
        user_B = np.where(self._brings_B, self.user_B, ANONYMOUS)
        return {
            name: _known(self.history, name, user_B, self.live.get(name, NO_EVENTS))
            for name in self.history.domain_names
        }


class _LiveEvent(NamedTuple):
    """An event of the request in this row."""

    row: int
    item: Id
    time: int
    kind: str | None
    weight: float | None


def _placed(catalogue: ItemCatalog, events: Sequence[_LiveEvent]) -> Live:
    rows, items, times, kinds, weights = zip(*events, strict=True)
    place_M = catalogue.find_all(items)
    return Live(np.array(rows, np.int64), place_M, np.array(times, np.int64), kinds, weights)


def _weight(event: Event) -> float | None:
    if event.weight is not None and not 0 < event.weight < math.inf:
        raise DataError(f"An event's weight must be a number above 0, not {event.weight}.")
    return event.weight


class Known(NamedTuple):
    """The events of each request, and the rows of items that its lists leave out, or that it dislikes."""

    events: Interactions
    excluded: Ragged
    disliked: Ragged


def _known(history: MultiDomain, domain: str, user_B: Int32, live: Live) -> Known:
    """What was known and what was brought; of two events with one item the later decides."""
    events, kinds, size = history[domain], history.kinds, len(user_B)
    seen = history.seen.get(domain)
    tables = [events] if seen is None else [events, seen.pairs]
    places = [table.by_user.locate(user_B) for table in tables]
    rows = [np.repeat(np.arange(size), np.diff(offsets)) for offsets, _ in places]
    items = [table.item_idx[place_N] for table, (_, place_N) in zip(tables, places, strict=True)]
    times = [
        np.zeros(len(place_N), np.int64) if table.time is None else table.time[place_N]
        for table, (_, place_N) in zip(tables, places, strict=True)
    ]
    standing = [np.zeros(len(rows[0]), np.int8)]
    if seen is not None:
        standing.append(np.where(seen.disliked_N[places[1][1]], DISLIKED, SEEN).astype(np.int8))
    weight_N = None if events.weight is None else events.weight[places[0][1]]
    own = Interactions(rows[0].astype(np.int32), items[0], size, events.n_items, weight_N)
    weight_M = live_weights(kinds, own, live, history.latest)
    plain = weight_N is None and bool((weight_M == 1).all())
    of_seen = [np.ones(len(each), np.float32) for each in rows[1:]]
    learned, also = divided(
        Rows(
            np.concatenate([*rows, live.row_M]),
            np.concatenate([*items, live.item_M]),
            np.concatenate([*standing, np.array([kinds.standing(each) for each in live.kind_M], np.int8)]),
            None if plain else np.concatenate([own.by_user.weights, *of_seen, weight_M]),
            np.concatenate([*times, live.time_M]),
        ),
        size,
        events.n_items,
        "max",
    )
    excluded = learned.by_user.append(np.split(also.pairs.item_idx, also.pairs.by_user.offsets[1:-1]))
    return Known(learned, excluded, also.disliked.by_user)


def live_weights(kinds: EventKinds, known: Interactions, live: Live, latest: float) -> Float32:
    """The weight of each new event, (M,): its own times that of its kind, faded as the data's are; without
    both that of its pair, where it is known."""
    own_M = np.array([1 if each is None else each for each in live.weight_M], np.float32)
    of_kind_M = np.array([kinds.weight(each) for each in live.kind_M], np.float32)
    keeps_M = is_plain(live) & known.contains(live.row_M, live.item_M)
    known_M = known.weights_of(live.row_M, live.item_M)
    return np.where(keeps_M, known_M, at_least(own_M * of_kind_M * kinds.faded(live.time_M, latest)))


def is_plain(live: Live) -> Bool:
    """Whether an event says nothing of how much it counts, (M,)."""
    given = zip(live.kind_M, live.weight_M, strict=True)
    return np.array([kind is None and weight is None for kind, weight in given], bool)


def ranking_constraints(
    catalogue: ItemCatalog, requests: Sequence[Request], own: Ragged, disliked: Ragged
) -> RankingConstraints:
    """What each request's list may hold; ``own``: the items of each user and those that they have seen,
    ``disliked`` those that are hidden even where seen ones may be listed."""
    seen_B, place_B = np.array([request.seen for request in requests], bool), np.arange(len(requests))
    # ANONYMOUS takes an empty row: nothing is hidden
    shown = own.take(np.where(seen_B, ANONYMOUS, place_B))
    never = disliked.take(np.where(seen_B, place_B, ANONYMOUS))
    denied = [catalogue.places(request.deny.get(catalogue.domain, ())) for request in requests]
    masks: dict[MaskKey, Bool] = {}
    keys = [_filter(catalogue, request, masks) for request in requests]
    numbers = {key: number for number, key in enumerate(masks)}
    return RankingConstraints(
        shown.concat(never).append(denied),
        np.stack([*masks.values()]) if masks else np.zeros((0, len(catalogue.items)), bool),
        np.array([ANONYMOUS if key is None else numbers[key] for key in keys], np.int64),
        np.array([list_length(request.k, len(catalogue.items)) for request in requests], np.int64),
    )


def _filter(catalogue: ItemCatalog, request: Request, masks: dict[MaskKey, Bool]) -> MaskKey | None:
    """The key of a request's mask among ``masks``, which gets it where it is new; None for all items."""
    allow, rule = request.allow.get(catalogue.domain), rule_of(request.where)
    if allow is None and rule == EVERY_ITEM and not catalogue.has_rule:
        return None
    allowed = None if allow is None else catalogue.places(allow)
    # equal filters of a batch share one mask of the catalogue
    key = (None if allowed is None else allowed.tobytes(), rule)
    if key not in masks:
        masks[key] = catalogue.matching(rule)
        if allowed is not None:
            masks[key] = masks[key] & (np.bincount(allowed, minlength=len(masks[key])) > 0)
    return key


def _domains(request: Request) -> tuple[str, ...]:
    if not request.domains:
        raise DataError("A request names no domain; name one or more.")
    return request.domains


def list_length(k: object, most: int) -> int:
    """How many places a list of ``k`` has in a catalogue of ``most`` items."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise DataError(f"A list needs 1 place or more, not {k!r}.")
    return min(k, most)


def _times(events: Sequence[Event]) -> list[int]:
    """When the events were; where any has no time, their order alone counts."""
    times = [event.time for event in events]
    # times of some events only give no order of all
    if None in times:
        return list(range(UNTIMED, UNTIMED + len(times)))
    return [whole_seconds(time) for time in times]
