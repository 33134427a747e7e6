"""Events that count less the older they are.

    w_n = v_n · 2^(-(T_d - t_n) / h)                                                                   (1)

with v_n the weight that the data give the event, t_n its time, T_d the time of its domain's latest training
event, and h a half-life in days. Items that are bought now get larger embeddings than those of last year,
and users are seen by what they did of late. Letters: B queries, N events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from landbridge.core.mapped import gathered
from landbridge.core.types import Float32, Ragged, Seconds, blocks
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.kinds import EventKinds
from landbridge.data.queries import Queries

HALF_LIFE = "Days after which an event counts half, where there are times; 0: never."


@dataclass(frozen=True)
class EventAge:
    """``half_life_days``: h of Eq. (1), 0 for none. ``latest``: T_d of the domains that have times."""

    half_life_days: float = 0.0
    latest: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, train: MultiDomain, half_life_days: float) -> EventAge:
        """As of the latest training event of every domain."""
        if not half_life_days:
            return cls()
        times = {name: events.time for name, events in train.domains.items() if len(events)}
        return cls(
            half_life_days,
            {name: float(time_N.max()) for name, time_N in times.items() if time_N is not None},
        )

    def of_data(self, data: MultiDomain) -> MultiDomain:
        """The data with the weights of Eq. (1), mapped where they are."""
        if not self.latest:
            return data
        return data.with_events({name: self._aged(name, events) for name, events in data.domains.items()})

    def of_queries(self, queries: Queries) -> Queries:
        """The events that the queries bring, with the weights of Eq. (1) where they have times."""
        if not self.latest or queries.events is None:
            return queries
        times = queries.times or {}
        events = {name: self.of_rows(name, rows, times.get(name)) for name, rows in queries.events.items()}
        return replace(queries, events=events)

    def of_histories(self, query: Queries, history: MultiDomain) -> dict[str, Ragged]:
        """The events of one query by domain, its own or those of its user, with the weights of Eq. (1)."""
        rows = query.histories_by_domain(history)
        if not self.latest:
            return rows
        if query.has_events_B.any():
            times = dict(query.times or {})
        else:
            times = {
                name: time_N[history[name].by_user.locate(query.user_idx)[1]]
                for name, each in rows.items()
                if (time_N := history[name].time) is not None and len(each.columns)
            }
        return {name: self.of_rows(name, each, times.get(name)) for name, each in rows.items()}

    def of_rows(self, domain: str, rows: Ragged, time_N: Seconds | None) -> Ragged:
        """Rows of events of a domain; without times they are of now."""
        if time_N is None or domain not in self.latest:
            return rows
        return Ragged(rows.offsets, rows.columns, self._weights(domain, rows.weight, time_N))

    def _aged(self, domain: str, events: Interactions) -> Interactions:
        time_N, weight_N = events.time, events.weight
        if time_N is None or domain not in self.latest:
            return events
        parts = (
            self._weights(domain, None if weight_N is None else weight_N[block], time_N[block])
            for block in blocks(len(events))
        )
        return replace(events, weight=gathered(parts, time_N, np.float32))

    def _weights(self, domain: str, weight_N: Float32 | None, time_N: Seconds) -> Float32:
        """Eq. (1)."""
        return EventKinds(half_life_days=self.half_life_days).aged(weight_N, time_N, self.latest[domain])
