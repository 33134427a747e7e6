"""The value of an event in the history of a user: its weight, and how recent it is.

    x_n = (w_n / w̄)^a · 2^(-(t_u - t_n) / h) · (1 + r_n)^-b                                            (1)

with w̄ the mean weight of the training events, t_u the time of the user's last event in the domain, h a
half-life in days, and r_n the number of the user's events in the domain after n. Recency counts where scores
are computed; the item–item matrix is learned from the weights alone. Letters: B queries, N events.
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
    """``scale``: w̄, ``exponent``: a, ``half_life_days``: h (0: none), ``rank_exponent``: b of Eq. (1)."""

    scale: float = 1.0
    exponent: float = 1.0
    half_life_days: float = 0.0
    rank_exponent: float = 0.0

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
        return {name: self._valued(each, times.get(name)) for name, each in rows.items()}

    def _valued(self, rows: Ragged, time_N: Seconds | None) -> Ragged:
        if rows.weight is None and self.scale == 1 and not self.by_recency:
            return rows

        def value(part: Ragged, block: slice) -> Float32:
            valued_N = self.of_weights(part).weights
            if not self.by_recency:
                return valued_N
            own = slice(int(rows.offsets[block.start]), int(rows.offsets[block.stop]))
            factor_N = self._recency_N(part.entry_rows, _times(part, None if time_N is None else time_N[own]))
            return (valued_N * factor_N).astype(np.float32)

        return with_values(rows, value)

    def _recency_N(self, row_N: Int64, time_N: Float64) -> Float64:
        """The last two factors of Eq. (1), (N,); events at one time count in the order given."""
        factor_N = np.ones(len(row_N))
        if not len(row_N):
            return factor_N
        order_N = np.lexsort((time_N, row_N))
        ends_R = np.flatnonzero(np.append(np.diff(row_N[order_N]) > 0, True))
        last_N = np.repeat(ends_R, np.diff(ends_R, prepend=-1))  # where the row of each sorted event ends
        if self.half_life_days > 0:
            age_N = time_N[order_N[last_N]] - time_N[order_N]
            factor_N[order_N] *= np.exp2(-age_N / (DAY * self.half_life_days))
        if self.rank_exponent > 0:
            factor_N[order_N] *= (1.0 + last_N - np.arange(len(order_N))) ** -self.rank_exponent
        return factor_N


def _times(rows: Ragged, time_N: Seconds | None) -> Float64:
    """Times in float64, (N,); all alike where there are none, so that only the order given counts."""
    return np.zeros(len(rows.columns)) if time_N is None else time_N.astype(np.float64)
