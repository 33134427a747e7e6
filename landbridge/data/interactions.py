"""The events of one domain: frozen arrays, validated once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Float32, Int32, Int64, Ragged, Seconds, blocks, counted, row_offsets

DUPLICATE_RULES = ("error", "last", "sum", "max")
DAY = 86_400  # in the unit of times, which is a second


@dataclass(frozen=True, eq=False)
class Interactions:
    """One row per (user, item) pair, sorted by user, then item. N events, U users, I items.

    ``user_idx``, ``item_idx``: int32 (N,), dense indices below ``n_users`` and ``n_items``.
    ``weight``: float32 (N,), positive, or None for all ones. ``time``: (N,), seconds, int64 or, where
    some have fractions, float64; or None. ``kinds``: int64 (N,), the kinds of a pair's events as bits
    (:class:`~landbridge.data.kinds.EventKinds`), or None where they have none.
    Build it with :meth:`from_events`; the constructor only checks.
    """

    user_idx: Int32
    item_idx: Int32
    n_users: int
    n_items: int
    weight: Float32 | None = None
    time: Seconds | None = None
    kinds: Int64 | None = None

    def __post_init__(self) -> None:
        _check_columns(self)
        if not _is_sorted(self):
            raise DataError("Interactions must be sorted by user and item without repeats; use from_events.")
        for array in (self.user_idx, self.item_idx, self.weight, self.time, self.kinds):
            if array is not None:
                # arrays are shared between splits and models, so a write would change all of them
                array.flags.writeable = False

    @classmethod
    def from_events(
        cls,
        user_idx: npt.ArrayLike,
        item_idx: npt.ArrayLike,
        n_users: int,
        n_items: int,
        weight: npt.ArrayLike | None = None,
        time: npt.ArrayLike | None = None,
        duplicates: str = "last",
        kinds: npt.ArrayLike | None = None,
    ) -> Interactions:
        """Events in any order. Repeated pairs: ``last`` keeps the latest (by time, else by position),
        ``sum`` adds the weights (a count without weights), ``max`` takes the largest, both with the latest
        time; ``error`` refuses. A pair has the kinds of all its events."""
        if duplicates not in DUPLICATE_RULES:
            raise DataError(unknown("duplicate rule", duplicates, DUPLICATE_RULES))
        users, items = np.asarray(user_idx, np.int64), np.asarray(item_idx, np.int64)
        weights = None if weight is None else np.asarray(weight, np.float32)
        times = None if time is None else _seconds(time)
        # int64: the product exceeds 32 bits at a few ten thousand users and items
        key = users * max(n_items, 1) + items
        order, last = in_order(key, times)
        if duplicates == "error" and not last.all():
            raise DataError("Some (user, item) pairs occur twice or more; choose duplicates='last' or 'sum'.")
        if duplicates == "sum" and not last.all():
            ones = np.ones(len(key), np.float32)
            weights = np.add.reduceat(ones if weights is None else weights[order], _starts(last))
        elif duplicates == "max" and weights is not None and len(key):
            weights = np.maximum.reduceat(weights[order], _starts(last))
        elif weights is not None:
            weights = weights[order][last]
        keep = order[last]
        return cls(
            users[keep].astype(np.int32),
            items[keep].astype(np.int32),
            n_users,
            n_items,
            weights,
            None if times is None else times[keep],
            None if kinds is None else _together(np.asarray(kinds, np.int64)[order], last),
        )

    def __len__(self) -> int:
        return len(self.user_idx)

    @cached_property
    def by_user(self) -> Ragged:
        """Users as rows, items as columns."""
        # Events are sorted by user already, so that nothing is copied.
        return Ragged(row_offsets(self.user_idx, self.n_users), self.item_idx, self.weight)

    @cached_property
    def by_item(self) -> Ragged:
        """Items as rows, users as columns."""
        return Ragged.from_index(self.item_idx, self.user_idx, self.n_items, self.weight)

    def with_rows(self, by_user: Ragged, by_item: Ragged) -> Interactions:
        """The same events with their rows, where these are on disk already."""
        same = replace(self)
        # the cached properties, filled before they are computed
        vars(same).update(by_user=by_user, by_item=by_item)
        return same

    @property
    def user_counts(self) -> Int64:
        """Events per user, (U,)."""
        return self.by_user.lengths

    @property
    def item_counts(self) -> Int64:
        """Events per item, (I,)."""
        return counted(self.item_idx, self.n_items)

    @cached_property
    def catalogue(self) -> int:
        """How many items have an event."""
        return int((self.item_counts > 0).sum())

    def take(self, mask_N: npt.NDArray[np.bool_]) -> Interactions:
        """The events where ``mask_N`` is true, with the same vocabularies."""
        return Interactions(
            self.user_idx[mask_N],
            self.item_idx[mask_N],
            self.n_users,
            self.n_items,
            None if self.weight is None else self.weight[mask_N],
            None if self.time is None else self.time[mask_N],
            None if self.kinds is None else self.kinds[mask_N],
        )

    def contains(self, user_idx: npt.ArrayLike, item_idx: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each (user, item) pair has an event, (M,)."""
        return self._locate(user_idx, item_idx) >= 0

    def weights_of(self, user_idx: npt.ArrayLike, item_idx: npt.ArrayLike) -> Float32:
        """The weight of each (user, item) pair, (M,); 1 for a pair without an event."""
        if self.weight is None:
            return np.ones(np.shape(user_idx), np.float32)
        row_M = self._locate(user_idx, item_idx)
        return np.where(row_M >= 0, np.append(self.weight, np.float32(1))[row_M], np.float32(1))

    def _locate(self, user_idx: npt.ArrayLike, item_idx: npt.ArrayLike) -> Int64:
        """The row of each (user, item) pair, (M,), -1 where it has no event."""
        if not len(self):
            return np.full(np.shape(user_idx), -1, np.int64)
        # sorted, as events are: a binary search per pair needs no hash table
        own = self.user_idx.astype(np.int64) * self.n_items + self.item_idx
        wanted = np.asarray(user_idx, np.int64) * self.n_items + np.asarray(item_idx, np.int64)
        place = np.minimum(np.searchsorted(own, wanted), len(own) - 1)
        return np.where(own[place] == wanted, place, -1)


def _check_columns(table: Interactions) -> None:
    n_events = len(table.user_idx)
    columns = {
        "item_idx": table.item_idx,
        "weight": table.weight,
        "time": table.time,
        "kinds": table.kinds,
    }
    for name, column in columns.items():
        if column is not None and column.shape != (n_events,):
            raise DataError(f"Column {name} has shape {column.shape}, but there are {n_events} events.")
    for name, column, size in (
        ("user_idx", table.user_idx, table.n_users),
        ("item_idx", table.item_idx, table.n_items),
    ):
        if column.dtype != np.int32:
            raise DataError(f"Column {name} must be int32, not {column.dtype}.")
        # kernels index with these columns and check no bounds
        if n_events and (column.min() < 0 or column.max() >= size):
            raise DataError(f"Column {name} has an index outside 0..{size - 1}.")
    weight = table.weight
    if weight is not None and not all(
        bool(np.all((weight[block] > 0) & np.isfinite(weight[block]))) for block in blocks(n_events)
    ):
        raise DataError("Weights must be positive and finite; leave out events that count for nothing.")


def _is_sorted(table: Interactions) -> bool:
    """Whether pairs rise; in blocks, each with the pair before it: mapped columns may not fit in memory."""
    for block in blocks(len(table)):
        own = slice(max(block.start - 1, 0), block.stop)
        key_B = table.user_idx[own].astype(np.int64) * table.n_items + table.item_idx[own]
        if not bool(np.all(key_B[1:] > key_B[:-1])):
            return False
    return True


def _starts(last_N: npt.NDArray[np.bool_]) -> Int64:
    """Where each group begins: behind the end of the previous one."""
    return np.append(0, np.flatnonzero(last_N)[:-1] + 1)


def _together(bits_N: Int64, last_N: npt.NDArray[np.bool_]) -> Int64:
    """The kinds of all events of each pair."""
    return np.bitwise_or.reduceat(bits_N, _starts(last_N)) if len(bits_N) else bits_N


def _seconds(time: npt.ArrayLike) -> Seconds:
    """Whole numbers, or times as they are where some have fractions: these order events within a second."""
    times = np.asarray(time)
    if times.dtype.kind not in "iuf":
        raise DataError(f"Times are seconds since 1970, but an array of {times.dtype} was given; convert it.")
    if not np.isfinite(times).all():
        raise DataError("Some times are missing or infinite; fill them or remove the events.")
    if np.issubdtype(times.dtype, np.floating) and (times != np.floor(times)).any():
        return times.astype(np.float64)
    return times.astype(np.int64)


def in_order(key_N: Int64, time_N: Seconds | None) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """The order by key, then time, then position, (N,), and in it whether each is the last of its key."""
    order_N = _sorted(key_N, time_N)
    sorted_N = key_N[order_N]
    return order_N, np.append(sorted_N[1:] != sorted_N[:-1], True)[: len(sorted_N)]


def _sorted(key_N: Int64, time_N: Seconds | None) -> Int64:
    """The order by key, then time, then position, (N,). Repeated keys are few, so only they pay for it."""
    order_N = np.argsort(key_N)
    same_N = key_N[order_N[1:]] == key_N[order_N[:-1]]
    repeated_N = np.append(same_N, False) | np.insert(same_N, 0, False) if len(key_N) else same_N
    some = order_N[repeated_N]
    ranks = (some, key_N[some]) if time_N is None else (some, time_N[some], key_N[some])
    order_N[repeated_N] = some[np.lexsort(ranks)]
    return np.asarray(order_N)
