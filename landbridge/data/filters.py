"""Leave out rare users and items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.seen import Seen

Mask = npt.NDArray[np.bool_]


def min_events(data: MultiDomain, *, per_user: int = 1, per_item: int = 1) -> MultiDomain:
    """Once: users and items with fewer events in a domain leave that domain, counted before any leaves."""
    kept = {name: _enough(events, per_user, per_item) for name, events in data.domains.items()}
    return _kept(data, kept)


def k_core(data: MultiDomain, k: int) -> MultiDomain:
    """Repeated until, in every domain, each user and each item left has at least ``k`` events."""
    return _kept(data, {name: _core(events, k) for name, events in data.domains.items()})


def _core(events: Interactions, k: int) -> Mask:
    alive = np.ones(len(events), bool)
    while True:
        user_U = np.bincount(events.user_idx[alive], minlength=events.n_users)
        item_I = np.bincount(events.item_idx[alive], minlength=events.n_items)
        # users and items leave at the same time; the largest k-core is unique, so the order does not matter
        still = alive & (user_U[events.user_idx] >= k) & (item_I[events.item_idx] >= k)
        if still.sum() == alive.sum():
            return alive
        alive = still


def _enough(events: Interactions, per_user: int, per_item: int) -> Mask:
    user_N = events.user_counts[events.user_idx]
    return np.asarray((user_N >= per_user) & (events.item_counts[events.item_idx] >= per_item))


def _kept(data: MultiDomain, kept: dict[str, Mask]) -> MultiDomain:
    """Only the events kept, with the users and items that still have one, and the new items."""
    domains = {name: events.take(kept[name]) for name, events in data.domains.items()}
    for name, events in domains.items():
        if not len(events):
            raise DataError(f"No event of domain {name!r} is left by this filter; ask for fewer events.")
    user_U = np.sum([events.user_counts for events in domains.values()], axis=0) > 0
    # a filter is about events: what never had one is no rare item, and no rare user
    return _only(
        data.with_events(domains), user_U | data.new_users_U, {name: data.new_items(name) for name in domains}
    )


def without_unknown(data: MultiDomain) -> MultiDomain:
    """Without the items that have no event, and the users who then have neither an event nor a seen pair."""
    listed = data.with_seen(
        {name: data[name].item_counts[seen.pairs.item_idx] > 0 for name, seen in data.seen.items()}
    )
    tables = [*listed.domains.values(), *(seen.pairs for seen in listed.seen.values())]
    return _only(listed, np.sum([table.user_counts for table in tables], axis=0) > 0, {})


def _only(data: MultiDomain, user_U: Mask, also_I: Mapping[str, Mask]) -> MultiDomain:
    """These users, and the items with an event, which must be theirs, or in ``also_I``."""
    item_I = {
        name: (events.item_counts > 0) | also_I.get(name, False) for name, events in data.domains.items()
    }
    return MultiDomain(
        data.users.only(user_U),
        {name: data.items[name].only(item_I[name]) for name in data.domain_names},
        {name: _renumbered(events, user_U, item_I[name]) for name, events in data.domains.items()},
        {name: titles[item_I[name]] for name, titles in data.titles.items()},
        {name: table[item_I[name]] for name, table in data.memberships.items()},
        {name: _renumbered_seen(seen, user_U, item_I[name]) for name, seen in data.seen.items()},
        data.kinds,
        data.provenance,
        None if data.products is None else data.products.take(item_I),
        None if data.item_features is None else data.item_features.take(item_I),
        None
        if data.user_features is None
        else data.user_features.take(np.flatnonzero(user_U).astype(np.int32)),
    )


def _renumbered_seen(seen: Seen, user_U: Mask, item_I: Mask) -> Seen:
    """The seen pairs whose user and item are kept."""
    kept = seen.take(user_U[seen.pairs.user_idx] & item_I[seen.pairs.item_idx])
    return Seen(_renumbered(kept.pairs, user_U, item_I), kept.disliked_N)


def _renumbered(events: Interactions, user_U: Mask, item_I: Mask) -> Interactions:
    # the new index of each kept user is the number of kept ones before; others are never read
    user_place = np.cumsum(user_U, dtype=np.int32) - np.int32(1)
    item_place = np.cumsum(item_I, dtype=np.int32) - np.int32(1)
    return Interactions(
        user_place[events.user_idx],
        item_place[events.item_idx],
        int(user_U.sum()),
        int(item_I.sum()),
        events.weight,
        events.time,
        events.kinds,
    )
