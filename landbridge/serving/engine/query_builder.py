"""Build queries and ranking constraints from requests with raw ids.

All errors of a request are raised here, before anything is computed.

Letters: B requests, N events, D domains, I items, M masks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import Bool, Id, Int32, Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.serving.engine.catalog import ItemCatalog, catalog_of, indices_of
from landbridge.serving.engine.messages import Event, Request, whole_seconds

UNTIMED = 1 << 62  # events without times come after all that have one
ANONYMOUS = -1  # row -1 of a ragged array is an empty row
MaskKey = tuple[bytes | None, str]  # the items allowed, and the attributes they must have


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
    """``user_B``: -1 for users the model has not seen. ``live``: their events since, (row, item, time)."""

    history: MultiDomain
    catalogues: Mapping[str, ItemCatalog]
    requests: Sequence[Request]
    user_B: Int32
    live: Mapping[str, tuple[list[int], Int64, list[int]]]

    @classmethod
    def of(
        cls, history: MultiDomain, catalogues: Mapping[str, ItemCatalog], requests: Sequence[Request]
    ) -> QueryBatch:
        """The requests with indices for ids; DataError for what the model does not know."""
        users = [request.user for request in requests if request.user is not None]
        user_B = np.full(len(requests), ANONYMOUS, np.int32)
        user_B[[request.user is not None for request in requests]] = indices_of(history.users, users)
        live: dict[str, tuple[list[int], list[Id], list[int]]] = {}
        for row, request in enumerate(requests):
            for domain in (*request.allow, *request.deny, *request.weights):
                catalog_of(catalogues, domain)
            for domain, weight in request.weights.items():
                if not 0 < weight < math.inf:
                    raise DataError(f"The weight of {domain!r} must be a number above 0, not {weight}.")
            for event, time in zip(request.events, _times(request.events), strict=True):
                rows, items, times = live.setdefault(event.domain, ([], [], []))
                rows.append(row)
                items.append(event.item)
                times.append(time)
        placed = {
            domain: (rows, catalog_of(catalogues, domain).find_all(items), times)
            for domain, (rows, items, times) in live.items()
        }
        return cls(history, catalogues, requests, user_B, placed)

    @property
    def known_B(self) -> Bool:
        """Whether the model was fitted with events of the user."""
        return np.asarray((self.user_B >= 0) & self.history.activity_UD[self.user_B].any(axis=1))

    def parts(self) -> list[QueryGroup]:
        """All that is to be computed, in the order of the data's domains."""
        requested_domains = [
            {catalog_of(self.catalogues, name).domain for name in _domains(each)} for each in self.requests
        ]
        across_B = np.array([len(domains) > 1 for domains in requested_domains], bool)
        groups = []
        for domain in self.history.domain_names:
            requests_B = np.array([domain in domains for domains in requested_domains], bool)
            # apart: known users without new events are looked up, the others are folded in
            for brings, across in itertools.product((False, True), repeat=2):
                chosen_B = requests_B & (self._brings_B == brings) & (across_B == across)
                if chosen_B.any():
                    groups.append(self._part(domain, np.flatnonzero(chosen_B))._replace(across=across))
        return groups

    def _part(self, domain: str, place_B: Int64) -> QueryGroup:
        if self._brings_B[place_B[0]]:
            queries = self._queries.take(place_B)
            own = queries.own_events(domain)
        else:
            queries = Queries.of_users(self.user_B[place_B])
            own = self.history[domain].by_user.take(queries.user_idx)
        requests = [self.requests[place] for place in place_B.tolist()]
        return QueryGroup(
            domain, place_B, queries, ranking_constraints(self.catalogues[domain], requests, own)
        )

    @cached_property
    def _brings_B(self) -> Bool:
        return np.array([bool(request.events) for request in self.requests], bool)

    @cached_property
    def _queries(self) -> Queries:
        """All requests that bring events, with the histories of their users."""
        user_B = np.where(self._brings_B, self.user_B, ANONYMOUS)
        tables = {name: self._history(name, user_B) for name in self.history.domain_names}
        given = {name: table for name, table in tables.items() if len(table)}
        times = {name: table.time for name, table in given.items() if table.time is not None}
        return Queries(self.user_B, {name: table.by_user for name, table in given.items()}, times)

    def _history(self, domain: str, user_B: Int32) -> Interactions:
        """What was known and what was brought, the later of two events with one item."""
        history, size = self.history[domain], len(user_B)
        offsets, place_N = history.by_user.locate(user_B)
        row_M, item_M, time_M = (np.array(column, np.int64) for column in self.live.get(domain, ([], [], [])))
        time_N = np.zeros(len(place_N), np.int64) if history.time is None else history.time[place_N]
        weight_N = None if history.weight is None else history.weight[place_N]
        row_N = np.repeat(np.arange(size, dtype=np.int32), np.diff(offsets))
        known = Interactions(row_N, history.item_idx[place_N], size, history.n_items, weight_N)
        return Interactions.from_events(
            np.append(row_N, row_M),
            np.append(known.item_idx, item_M),
            size,
            history.n_items,
            # as a refit: a repeated pair keeps the weight that is known of it
            None if weight_N is None else np.append(weight_N, known.weights_of(row_M, item_M)),
            np.append(time_N, time_M),
        )


def ranking_constraints(
    catalogue: ItemCatalog, requests: Sequence[Request], own: Ragged
) -> RankingConstraints:
    """What each request's list may hold; ``own``: the items of each user."""
    seen_B = np.array([request.seen for request in requests])
    # ANONYMOUS takes an empty row: nothing is hidden
    shown = own.take(np.where(seen_B, ANONYMOUS, np.arange(len(requests))))
    denied = [catalogue.places(request.deny.get(catalogue.domain, ())) for request in requests]
    masks: dict[MaskKey, Bool] = {}
    keys = [_filter(catalogue, request, masks) for request in requests]
    numbers = {key: number for number, key in enumerate(masks)}
    return RankingConstraints(
        shown.append(denied),
        np.stack([*masks.values()]) if masks else np.zeros((0, len(catalogue.items)), bool),
        np.array([ANONYMOUS if key is None else numbers[key] for key in keys], np.int64),
        np.array([list_length(request.k, len(catalogue.items)) for request in requests], np.int64),
    )


def _filter(catalogue: ItemCatalog, request: Request, masks: dict[MaskKey, Bool]) -> MaskKey | None:
    """The key of a request's mask among ``masks``, which gets it where it is new; None for all items."""
    allow = request.allow.get(catalogue.domain)
    if allow is None and not request.where:
        return None
    allowed = None if allow is None else catalogue.places(allow)
    # equal filters of a batch share one mask of the catalogue
    key = (None if allowed is None else allowed.tobytes(), repr([*request.where.items()]))
    if key not in masks:
        masks[key] = catalogue.matching(request.where)
        if allowed is not None:
            masks[key] &= np.bincount(allowed, minlength=len(masks[key])) > 0
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
