"""Groups of people by how many events they have in a domain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries

ACTIVITY: Mapping[str, int] = {"0": 0, "1-2": 1, "3-5": 3, "6-10": 6, "11-30": 11, "31+": 31}
"""Label -> fewest events."""


def activity_group(count_B: npt.ArrayLike) -> Int64:
    """The place in ``ACTIVITY`` of people with so many events, (B,)."""
    return np.asarray(np.searchsorted(list(ACTIVITY.values()), np.asarray(count_B), side="right") - 1)


def events_per_domain(history: MultiDomain, domain: str, queries: Queries) -> Int64:
    """How many events every query has in the domain, (B,): those it brings, else those that are known."""
    offsets = history[domain].by_user.offsets  # of the people asked for, not of everybody
    known_B = np.where(
        queries.user_idx >= 0, offsets[queries.user_idx + 1] - offsets[queries.user_idx], 0
    ).astype(np.int64)
    if queries.events is None:
        return known_B
    brought = {name: rows.lengths for name, rows in queries.events.items()}
    brings_B = np.any([count_B > 0 for count_B in brought.values()], axis=0)
    own_B = brought.get(domain, np.zeros(len(queries), np.int64))
    return np.where(brings_B, own_B, known_B)


def counts_by_domain(history: MultiDomain, queries: Queries) -> Int64:
    """How many events every query has in every domain, (B, D): its own, else those of the user's history."""
    known_BD = np.where(queries.user_idx[:, None] < 0, 0, history.activity_UD[queries.user_idx])
    if queries.events is None:
        return known_BD
    none_B = np.zeros(len(queries), np.int64)
    own_BD = np.stack(
        [
            queries.events[name].lengths if name in queries.events else none_B
            for name in history.domain_names
        ],
        axis=1,
    )
    return np.where(own_BD.any(axis=1, keepdims=True), own_BD, known_BD)


def events_of_query(history: MultiDomain, query: Queries) -> dict[str, Ragged]:
    """The events of one query in every domain: its own where it has any, else those of the user's history."""
    own = {name: rows for name, rows in (query.events or {}).items() if len(rows.columns)}
    anonymous = np.array([-1], np.int32)
    user = anonymous if own else query.user_idx
    looked_up = {name: table.by_user.take(user) for name, table in history.domains.items()}
    return looked_up | own
