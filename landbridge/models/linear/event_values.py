"""The value of an event in the history of a user: its weight, and how recent it is.

    x_n = (w_n / w̄)^a · 2^(-(t_u - t_n) / h) · (1 + r_n)^-b                                            (1)

with w̄ the mean weight of the training events, t_u the time of the user's last event in the domain, h a
half-life in days, and r_n the number of the user's events after n, in the domain or, with ``across``, in all.
Recency counts where scores are computed; the item–item matrix is learned from the weights alone. Letters: B
queries, N events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from landbridge.core.row_blocks import with_values
from landbridge.core.types import Float32, Float64, Int64, Ragged, Seconds
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY
from landbridge.data.queries import Queries


@dataclass(frozen=True)
class EventValues:
    """``scale``: w̄, ``exponent``: a, ``half_life_days``: h (0: none), ``rank_exponent``: b of Eq. (1);
    ``across``: whether r counts the events of all domains."""

    scale: float = 1.0
    exponent: float = 1.0
    half_life_days: float = 0.0
    rank_exponent: float = 0.0
    across: bool = False

    @classmethod
    def of(
        cls, data: MultiDomain, exponent: float, half_life_days: float, rank_exponent: float
    ) -> EventValues:
        """``scale`` is the mean over the events of all domains, so that units of weights do not matter."""
        total = sum(
            len(events) if events.weight is None else float(events.weight.sum(dtype=np.float64))
            for events in data.domains.values()
        )
        return cls(total / max(data.n_events, 1) or 1.0, exponent, half_life_days, rank_exponent)

    @property
    def by_recency(self) -> bool:
        """Whether recency matters."""
        return self.half_life_days > 0 or self.rank_exponent > 0

    def of_weights(self, rows: Ragged) -> Ragged:
        """The first factor of Eq. (1) in place of the weights."""
        if rows.weight is None and self.scale == 1:
            return rows
        value_N = (rows.weights.astype(np.float64) / self.scale) ** self.exponent
        return Ragged(rows.offsets, rows.columns, value_N.astype(np.float32))

    def of_history(self, history: MultiDomain) -> dict[str, Ragged]:
        """Eq. (1) for the events of every user, domain -> rows of users."""
        times = {name: events.time for name, events in history.domains.items() if events.time is not None}
        return self._of({name: events.by_user for name, events in history.domains.items()}, times)

    def of_queries(self, queries: Queries) -> dict[str, Ragged]:
        """Eq. (1) for the events that the queries bring, domain -> rows of queries."""
        return self._of(dict(queries.events or {}), queries.times or {})

    def _of(self, rows: Mapping[str, Ragged], times: Mapping[str, Seconds]) -> dict[str, Ragged]:
        later = _later_events(rows, times) if self.across and rows else {}
        return {name: self._valued(each, times.get(name), later.get(name)) for name, each in rows.items()}

    def _valued(self, rows: Ragged, time_N: Seconds | None, later_N: Int64 | None) -> Ragged:
        if rows.weight is None and self.scale == 1 and not self.by_recency:
            return rows

        def value(part: Ragged, block: slice) -> Float32:
            valued_N = self.of_weights(part).weights
            if not self.by_recency:
                return valued_N
            own = slice(int(rows.offsets[block.start]), int(rows.offsets[block.stop]))
            own_N = _times(part, None if time_N is None else time_N[own])
            factor_N = self._recency_N(part.entry_rows, own_N, None if later_N is None else later_N[own])
            return (valued_N * factor_N).astype(np.float32)

        return with_values(rows, value)

    def _recency_N(self, row_N: Int64, time_N: Float64, later_N: Int64 | None) -> Float64:
        """The last two factors of Eq. (1), (N,); events at one time count in the order given. ``later_N``: r
        of these, by default within the rows."""
        factor_N = np.ones(len(row_N))
        if not len(row_N):
            return factor_N
        order_N, last_N = _in_time(row_N, time_N)
        if self.half_life_days > 0:
            age_N = time_N[order_N[last_N]] - time_N[order_N]
            factor_N[order_N] *= np.exp2(-age_N / (DAY * self.half_life_days))
        if self.rank_exponent > 0:
            after_N = _after(order_N, last_N) if later_N is None else later_N
            factor_N *= (1.0 + after_N) ** -self.rank_exponent
        return factor_N


def _in_time(row_N: Int64, time_N: Float64) -> tuple[Int64, Int64]:
    """The events by row and time, (N,), and where in this order the row of each of them ends, (N,)."""
    order_N = np.lexsort((time_N, row_N))
    ends_R = np.flatnonzero(np.append(np.diff(row_N[order_N]) > 0, True))
    return order_N, np.repeat(ends_R, np.diff(ends_R, prepend=-1))


def _after(order_N: Int64, last_N: Int64) -> Int64:
    """r of the events, (N,), from what :func:`_in_time` says."""
    after_N = np.empty(len(order_N), np.int64)
    after_N[order_N] = last_N - np.arange(len(order_N))
    return after_N


def _later_events(rows: Mapping[str, Ragged], times: Mapping[str, Seconds]) -> dict[str, Int64]:
    """r of the events of every domain among those of all, domain -> (N,)."""
    row_N = np.concatenate([each.entry_rows for each in rows.values()])
    time_N = np.concatenate([_times(each, times.get(name)) for name, each in rows.items()])
    if not len(row_N):
        return {}
    after_N = _after(*_in_time(row_N, time_N))
    ends = np.cumsum([len(each.columns) for each in rows.values()])
    return dict(zip(rows, np.split(after_N, ends[:-1]), strict=True))


def _times(rows: Ragged, time_N: Seconds | None) -> Float64:
    """Times in float64, (N,); all alike where there are none, so that only the order given counts."""
    return np.zeros(len(rows.columns)) if time_N is None else time_N.astype(np.float64)
