"""How many users, items and events there are, and how many events each has: all that a cost depends on.

The work of a row of n events is often not linear in n, so that a mean says too little. ``RowLengths`` holds a
histogram. Where only totals are given, it is that of a log-normal distribution of the same mean,

    n(q) = n̄ exp(s Φ⁻¹(q) - s²/2),   q = 1/2K, 3/2K, …                                                (1)

scaled to the total, with s = 1 for users and 1.15 for items, which lie between those of the data sets of this
project (0.7 to 1.3 and 1.1 to 1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.types import AnyArray, Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

QUANTILES = 64  # of the assumed distribution
USER_SPREAD, ITEM_SPREAD = 1.0, 1.15  # s of Eq. (1)


@dataclass(frozen=True, eq=False)
class RowLengths:
    """A histogram: ``rows_K`` rows have ``length_K`` events each, float64 (K,), the lengths ascending and
    above 0. ``n_rows``: all rows, those without events too."""

    length_K: Float64
    rows_K: Float64
    n_rows: float

    @classmethod
    def of(cls, lengths_R: AnyArray) -> RowLengths:
        """The histogram of the lengths of rows, (R,)."""
        length_K, rows_K = np.unique(lengths_R[lengths_R > 0], return_counts=True)
        return cls(length_K.astype(np.float64), rows_K.astype(np.float64), float(len(lengths_R)))

    @classmethod
    def together(cls, parts: Iterable[RowLengths]) -> RowLengths:
        """The rows of all parts."""
        parts = tuple(parts)
        length_K, part_J = np.unique(np.concatenate([rows.length_K for rows in parts]), return_inverse=True)
        rows_K = np.bincount(part_J, np.concatenate([rows.rows_K for rows in parts]), len(length_K))
        return cls(length_K, rows_K.astype(np.float64), sum(rows.n_rows for rows in parts))

    @classmethod
    def assumed(cls, rows: float, events: float, spread: float, most: float) -> RowLengths:
        """Eq. (1) for so many rows and events in all, with at least 1 event and at most ``most`` per row."""
        filled = min(rows, events)
        if filled <= 0:
            return cls(np.empty(0), np.empty(0), rows)
        normal = NormalDist()
        shape_K = np.exp(
            [spread * normal.inv_cdf((2 * k + 1) / (2 * QUANTILES)) for k in range(QUANTILES)]
        )  # Eq. (1)
        # bounds take events from some rows and give them to others: the total stays by bisection of the scale
        low, high = 0.0, max(most, 1.0) / float(shape_K[0])
        for _ in range(60):
            middle = (low + high) / 2
            if float(np.clip(middle * shape_K, 1, max(most, 1)).mean()) * filled < events:
                low = middle
            else:
                high = middle
        return cls(np.clip(high * shape_K, 1, max(most, 1)), np.full(QUANTILES, filled / QUANTILES), rows)

    @property
    def filled(self) -> float:
        """Rows with an event."""
        return float(self.rows_K.sum())

    @property
    def events(self) -> float:
        """Events of all rows."""
        return float(self.length_K @ self.rows_K)

    @property
    def squares(self) -> float:
        """Σ n²: the pairs of events that share a row."""
        return float(np.square(self.length_K) @ self.rows_K)

    @property
    def longest(self) -> float:
        """The most events of a row."""
        return float(self.length_K[-1]) if len(self.length_K) else 0.0

    def total(self, of_length: Callable[[Float64], Float64]) -> float:
        """Σ over rows with events of a function of their length."""
        return float(of_length(self.length_K) @ self.rows_K) if len(self.length_K) else 0.0

    def drawn(self, times: float | Float64) -> Float64:
        """The expected number of different rows among the rows of events drawn ``times`` with replacement:
        Σ_r 1 - (1 - n_r / N)^times."""
        share_K = self.length_K / max(self.events, 1.0)
        hit_K = -np.expm1(
            np.multiply.outer(np.asarray(times, np.float64), np.log1p(-np.minimum(share_K, 1 - 1e-12)))
        )
        return np.asarray(hit_K @ self.rows_K)


@dataclass(frozen=True, eq=False)
class TableCounts:
    """The rows of one table of events: its users, and its items."""

    users: RowLengths
    items: RowLengths

    @classmethod
    def of(cls, events: Interactions) -> TableCounts:
        """Of a table that is there."""
        return cls(RowLengths.of(events.user_counts), RowLengths.of(events.item_counts))

    @classmethod
    def assumed(cls, users: float, items: float, events: float) -> TableCounts:
        """Of a table of which only totals are known."""
        return cls(
            RowLengths.assumed(users, events, USER_SPREAD, items),
            RowLengths.assumed(items, events, ITEM_SPREAD, users),
        )

    @property
    def events(self) -> float:
        """N."""
        return self.users.events

    @property
    def n_users(self) -> float:
        """U."""
        return self.users.n_rows

    @property
    def n_items(self) -> float:
        """I."""
        return self.items.n_rows


@dataclass(frozen=True, eq=False)
class Counts:
    """The tables of all domains, and all of them joined into one. ``assumed``: whether the lengths of rows
    are those of Eq. (1); ``mapped``: whether the events are memory-mapped."""

    domains: Mapping[str, TableCounts]
    joined: TableCounts
    assumed: bool = False
    mapped: bool = False

    @classmethod
    def of(cls, data: MultiDomain) -> Counts:
        """Of data that are there; shared items count once per domain."""
        lengths_U = data.activity_UD.sum(axis=1)
        lengths_J = np.concatenate([events.item_counts for events in data.domains.values()])
        joined = TableCounts(RowLengths.of(lengths_U), RowLengths.of(lengths_J))
        domains = {name: TableCounts.of(events) for name, events in data.domains.items()}
        return cls(domains, joined, mapped=bool(data.provenance.mapped))

    @classmethod
    def of_totals(cls, users: int, items: int, events: int, domains: int = 1) -> Counts:
        """Of totals over all domains, which are alike: each has all users, and its part of items and events.

        SettingsError for numbers below 1, and for more events than pairs of user and item.
        """
        for name, number in (("users", users), ("items", items), ("events", events), ("domains", domains)):
            if number < 1:
                raise SettingsError(f"{name} must be 1 or more, not {number}.")
        if events > users * items:
            raise SettingsError(
                f"{users:,} users and {items:,} items make {users * items:,} pairs, fewer than {events:,} "
                "events."
            )
        if domains > items:
            raise SettingsError(f"{domains} domains need as many items or more, not {items}.")
        part = TableCounts.assumed(users, items / domains, events / domains)
        names = (f"domain {number + 1}" for number in range(domains))
        return cls(dict.fromkeys(names, part), TableCounts.assumed(users, items, events), True)

    @cached_property
    def events(self) -> float:
        """Events of all domains."""
        return sum(table.events for table in self.domains.values())

    def tables(self, sharing: str) -> tuple[TableCounts, ...]:
        """What a method with this sharing fits: a table per domain ("separate"), or the joined one."""
        return tuple(self.domains.values()) if sharing == "separate" else (self.joined,)
