"""Queries: the users or event histories for which a model computes scores.

B queries, D domains, N events, U users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Bool, Int32, Int64, Ragged, Seconds
from landbridge.data.dataset import MultiDomain

UNKNOWN = -1  # the index of a user without a history


@dataclass(frozen=True, eq=False)
class Queries:
    """Known users by index, or users described by their own events (fold-in), or both.

    ``user_idx``: int32 (B,), -1 for a user unknown to the model. ``events``: domain -> B rows of item
    indices; a query with any event in any domain is folded in from these events instead of looked up.
    ``times``: domain -> (N,), the times of the entries of its rows, for models that need their order.
    ``disliked``: domain -> B rows of items that count against, for models that learn from dislikes; they are
    no events, and count beside those of a query only.
    """

    user_idx: Int32
    events: Mapping[str, Ragged] | None = None
    times: Mapping[str, Seconds] | None = None
    disliked: Mapping[str, Ragged] | None = None

    @classmethod
    def of_users(cls, user_idx: npt.ArrayLike) -> Queries:
        """Known users, without events of their own."""
        return cls(np.asarray(user_idx, np.int32))

    def take(self, chosen_B: Int64) -> Queries:
        """The queries with these numbers, in their order."""
        # None and an empty mapping stay what they are
        events = self.events and {name: rows.take(chosen_B) for name, rows in self.events.items()}
        times = self.times and {
            name: time_N[(self.events or {})[name].locate(chosen_B)[1]] for name, time_N in self.times.items()
        }
        disliked = self.disliked and {name: rows.take(chosen_B) for name, rows in self.disliked.items()}
        return Queries(self.user_idx[chosen_B], events, times, disliked)

    def __len__(self) -> int:
        return len(self.user_idx)

    @cached_property
    def has_events_B(self) -> Bool:
        """Whether a query has events of its own, in any domain, (B,)."""
        if not self.events:
            return np.zeros(len(self), np.bool_)
        return np.asarray(np.any([rows.lengths > 0 for rows in self.events.values()], axis=0))

    @property
    def looked_up_B(self) -> Int32:
        """The users whose stored history applies: -1 where a query has events of its own, (B,)."""
        return np.where(self.has_events_B, np.int32(UNKNOWN), self.user_idx)

    def own_events(self, domain: str) -> Ragged:
        """The events that the queries bring in one domain; empty rows where they bring none."""
        rows = (self.events or {}).get(domain)
        return Ragged.empty(len(self)) if rows is None else rows

    def histories(self, history: MultiDomain, domain: str) -> Ragged:
        """Each query's events in ``domain``: its own where it has any in some domain, else those of the
        user in ``history``, (B rows)."""
        return self.own_events(domain).concat(history[domain].by_user.take(self.looked_up_B))

    def dislikes_by_domain(self, history: MultiDomain) -> dict[str, Ragged]:
        """Each query's disliked items of every domain, as :meth:`histories` its events."""
        none = Ragged.empty(len(self))
        return {
            name: (self.disliked or {})
            .get(name, none)
            .concat(history.excluded(name, seen=True).by_user.take(self.looked_up_B))
            for name in history.domain_names
        }

    def histories_by_domain(self, history: MultiDomain) -> dict[str, Ragged]:
        """:meth:`histories` of every domain, in the order of the domains."""
        return {name: self.histories(history, name) for name in history.domain_names}

    def event_counts(self, history: MultiDomain) -> Int64:
        """The lengths of :meth:`histories` in every domain, (B, D)."""
        user_B = self.looked_up_B
        # Index -1 reads the last user; the mask then clears that row.
        known_BD = np.where(user_B[:, None] == UNKNOWN, 0, history.activity_UD[user_B])
        return known_BD + event_counts(self.events or {}, history.domain_names, len(self))

    def counts_in(self, history: MultiDomain, domain: str) -> Int64:
        """The lengths of :meth:`histories` in one domain, (B,)."""
        # every scoring call asks this: it costs the queries' rows of one domain, not a table of all users
        user_B, offsets = self.looked_up_B, history[domain].by_user.offsets
        known_B = np.where(user_B == UNKNOWN, 0, offsets[user_B + 1] - offsets[user_B])
        return known_B + self.own_events(domain).lengths


def event_counts(events: Mapping[str, Ragged], domains: Iterable[str], n_queries: int) -> Int64:
    """Events per query and domain, (B, D)."""
    none_B = np.zeros(n_queries, np.int64)
    return np.stack([events[name].lengths if name in events else none_B for name in domains], axis=1)
