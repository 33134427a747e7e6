"""The events of one domain: frozen arrays, validated once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.mapped import Column, growing
from landbridge.core.row_blocks import transposed
from landbridge.core.types import (
    AnyArray,
    Bool,
    Float32,
    Int32,
    Int64,
    Ragged,
    Seconds,
    blocks,
    counted,
    row_offsets,
)

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
        for column in self.columns.values():
            # arrays are shared between splits and models, so a write would change all of them
            column.flags.writeable = False

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

    @property
    def columns(self) -> dict[str, AnyArray]:
        """The columns that there are, by name."""
        named = {name: getattr(self, name) for name in ("user_idx", "item_idx", "weight", "time", "kinds")}
        return {name: column for name, column in named.items() if column is not None}

    @cached_property
    def by_user(self) -> Ragged:
        """Users as rows, items as columns."""
        # Events are sorted by user already, so that nothing is copied.
        return Ragged(row_offsets(self.user_idx, self.n_users), self.item_idx, self.weight)

    @cached_property
    def by_item(self) -> Ragged:
        """Items as rows, users as columns."""
        return transposed(self.by_user, self.n_items)

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

    def take(self, mask_N: Bool) -> Interactions:
        """The events where ``mask_N`` is true, with the same vocabularies."""
        return self.where(mask_N.__getitem__)

    def where(self, keep: Callable[[slice], Bool]) -> Interactions:
        """The events of each block that ``keep`` marks, with the same vocabularies."""
        kept = GrowingEvents.beside(self)
        # a column without entries is none that is missing
        kept.append({name: column[:0] for name, column in self.columns.items()})
        for block in blocks(len(self)):
            keep_B = keep(block)
            kept.append({name: column[block][keep_B] for name, column in self.columns.items()})
        return kept.finished(self.n_users, self.n_items)

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
        wanted = np.asarray(user_idx, np.int64) * self.n_items + np.asarray(item_idx, np.int64)
        row_M = np.full(np.shape(wanted), -1, np.int64)
        for block in blocks(len(self)):
            # sorted, as events are: a binary search per pair needs no hash table
            own_B = self.user_idx[block].astype(np.int64) * self.n_items + self.item_idx[block]
            place_M = np.minimum(np.searchsorted(own_B, wanted), len(own_B) - 1)
            row_M = np.where(own_B[place_M] == wanted, block.start + place_M, row_M)
        return row_M


@dataclass
class GrowingEvents:
    """Interactions that grow by the events of further users; ``column`` makes an empty column of a name and
    type. Weights are ones where a part has none, and times of the type that holds all of them."""

    column: Callable[[str, np.dtype[Any]], Column]
    columns: dict[str, Column] = field(default_factory=dict)
    dtypes: dict[str, np.dtype[Any]] = field(default_factory=dict)
    length: int = 0

    @classmethod
    def beside(cls, events: Interactions) -> Self:
        """Kept where some events are."""
        return cls(lambda name, dtype: growing(events.user_idx, dtype))

    def add(self, events: Interactions, first_user: int = 0) -> None:
        """Add the events of further users, who are numbered from ``first_user`` on."""
        self.append({**events.columns, "user_idx": events.user_idx + np.int32(first_user)})

    def append(self, columns: dict[str, AnyArray]) -> None:
        """Add the columns of further events."""
        size = len(columns["user_idx"])
        if "weight" in self.columns and "weight" not in columns:
            columns = {**columns, "weight": np.ones(size, np.float32)}
        for name, column_N in columns.items():
            self._prepare(name, column_N.dtype)
            self.columns[name].append(column_N.astype(self.dtypes[name], copy=False))
        self.length += size

    def finished(self, n_users: int, n_items: int) -> Interactions:
        """All events."""
        columns = {name: column.opened() for name, column in self.columns.items()}
        none = np.empty(0, np.int32)
        return Interactions(
            columns.get("user_idx", none),
            columns.get("item_idx", none),
            n_users,
            n_items,
            columns.get("weight"),
            columns.get("time"),
            columns.get("kinds"),
        )

    def _prepare(self, name: str, dtype: np.dtype[Any]) -> None:
        """Make room for entries of a type: a column that begins late, or whose type must be wider."""
        if name in self.dtypes and np.can_cast(dtype, self.dtypes[name]):
            return
        wider = np.result_type(self.dtypes.get(name, dtype), dtype)
        ones_N = np.broadcast_to(np.ones(1, wider), self.length)
        old_N = self.columns[name].opened() if name in self.columns else ones_N
        self.columns[name], self.dtypes[name] = self.column(name, wider), wider
        for block in blocks(self.length):
            self.columns[name].append(old_N[block].astype(wider))


def _check_columns(table: Interactions) -> None:
    n_events = len(table.user_idx)
    for name, column in table.columns.items():
        if column.shape != (n_events,):
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
