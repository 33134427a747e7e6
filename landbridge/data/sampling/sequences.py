"""Event sequences over all domains in the order of time, and the training windows of sequential models.

Items have their index in the joined catalogue, one domain after the other. Events of equal time are put in
a pseudo-random order that depends on user and item alone: a model could learn any other order. A user with
n events gives n - 1 inputs, each with a later event as its target. An epoch cuts the inputs into windows of
at most ``length`` at newly drawn positions, so that every event is used once per epoch, however long the
history is. The target of an input is the next event, or one drawn from the next ``horizon`` events.

Rows of items keep as their weights the gap of each event: with Δ the seconds since the user's event before,

    gap = 1 + ⌊log₂(1 + Δ)⌋,   0 for a first event and where no times are given                        (1)

R rows (users or queries), N events, B windows of a batch, L positions of a window.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.mapped import growing
from landbridge.core.rng import generator
from landbridge.core.row_blocks import row_blocks
from landbridge.core.types import Float32, Int32, Int64, Ragged, Seconds
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries

GAPS = 40  # values of Eq. (1), enough for ten thousand years
SORTED_AT_ONCE = 64  # batches whose windows are sorted by length together


class Window(NamedTuple):
    """A batch of inputs and targets, int32 (B, L), oldest event first; -1 pads the end and marks no target.

    ``row_B``: int64 (B,), the row that each window was cut from. ``gap_BL``: Eq. (1) of the inputs.
    """

    input_BL: Int32
    target_BL: Int32
    row_B: Int64
    gap_BL: Int32


def user_histories(history: MultiDomain) -> Ragged:
    """Every user's items in the joined catalogue, oldest first. DataError for a domain without times."""
    for name, events in history.domains.items():
        if events.time is None and len(events):
            raise DataError(
                f"Domain {name!r} has no time stamps, but a sequential method needs them; "
                f"{history.provenance.time_hint(name)}, or choose another method."
            )
    table, _ = history.joined()
    time_N = np.zeros(0, np.int64) if table.time is None else table.time
    items, gaps = growing(table.item_idx, np.int32), growing(table.item_idx, np.float32)
    for users in row_blocks(table.by_user.offsets):
        own = slice(*table.by_user.offsets[[users.start, users.stop]].tolist())
        user_B, item_B, time_B = table.user_idx[own], table.item_idx[own], time_N[own]
        order_B = np.lexsort((_hashed(user_B, item_B), time_B, user_B))
        items.append(item_B[order_B])
        gaps.append(_gaps(user_B[order_B], time_B[order_B]))
    return Ragged(table.by_user.offsets, items.opened(), gaps.opened())


def domain_histories(history: MultiDomain) -> Ragged:
    """:func:`user_histories` of each domain alone, domain after domain (D·U rows)."""
    alone = [user_histories(history.select([name])) for name in history.domain_names]
    items, gaps = growing(alone[0].columns, np.int32), growing(alone[0].columns, np.float32)
    for rows, own in zip(alone, history.item_slices.values(), strict=True):
        items.append(rows.columns + np.int32(own.start))
        gaps.append(rows.weights)
    lengths_R = np.concatenate([rows.lengths for rows in alone])
    return Ragged(np.append(0, np.cumsum(lengths_R)), items.opened(), gaps.opened())


def query_histories(history: MultiDomain, names: Collection[str], stored: Ragged, queries: Queries) -> Ragged:
    """Each query's items of the named domains, oldest first: its own events where it has any, else those of
    the user.

    ``stored``: the sequences of known users. Events without times follow each other domain by
    domain, as given.
    """
    if not queries.events:
        return stored.take(queries.user_idx)
    return _own_sequences(history, names, queries).concat(stored.take(queries.looked_up_B))


def last_items(rows: Ragged, length: int) -> tuple[Int32, Int32, Int64]:
    """The last ``length`` items of every row and their gaps, oldest first, padded with -1 and 0, (R, L)
    each, and how many, (R,)."""
    count_R = np.minimum(rows.lengths, length)
    start_R, width = rows.offsets[1:] - count_R, int(count_R.max(initial=0))
    item_RL = _cut(rows.columns, start_R, count_R, width, -1)
    return item_RL, _cut(rows.weights, start_R, count_R, width, 0), count_R


@dataclass(frozen=True, eq=False)
class Windows:
    """Batches of ``size`` training windows. An epoch depends on ``seed`` and its number alone."""

    rows: Ragged
    length: int
    size: int
    horizon: int = 1
    seed: int = 0

    def __len__(self) -> int:
        """The least number of batches of an epoch; randomly drawn cuts may add some."""
        return -(-int(np.sum(-(-self._inputs_R // self.length))) // self.size)

    def epoch(self, number: int) -> Iterator[Window]:
        """All windows once, in batches of similar length, which come in random order."""
        rng = generator(self.seed, "windows", str(number))
        row_W, start_W, count_W = self._cuts(rng)
        order_W = rng.permutation(len(row_W))
        # Sorting by length within blocks saves padding; across blocks the order stays random.
        block_W = np.arange(len(order_W)) // (self.size * SORTED_AT_ONCE)
        order_W = order_W[np.lexsort((count_W[order_W], block_W))]
        # batches in random order: else each block would go from short to long windows
        starts = np.arange(0, len(order_W), self.size)
        for start in rng.permutation(starts):
            chosen_B = order_W[start : start + self.size]
            yield self._batch(row_W[chosen_B], start_W[chosen_B], count_W[chosen_B], rng)

    @property
    def inputs_per_batch(self) -> float:
        """How many events of a batch have a target, in the mean."""
        return float(self._inputs_R.sum()) / max(len(self), 1)

    @cached_property
    def _inputs_R(self) -> Int64:
        """How many events of each row have a later one."""
        return np.asarray(np.maximum(self.rows.lengths - 1, 0))

    def _cuts(self, rng: np.random.Generator) -> tuple[Int64, Int64, Int64]:
        """Row, first event and number of inputs of every window, (W,) each; the first of a row is shorter."""
        inputs_R, length = self._inputs_R, self.length
        # a first window of random length shifts all cuts of a long history, so that every event is seen
        # with varying context
        first_R = np.where(inputs_R > length, rng.integers(1, length + 1, len(inputs_R)), inputs_R)
        more_R = -(-(inputs_R - first_R) // length)
        windows_R = np.where(inputs_R > 0, 1 + more_R, 0)
        row_W = np.repeat(np.arange(len(inputs_R)), windows_R)
        place_W = np.arange(len(row_W)) - np.repeat(np.cumsum(windows_R) - windows_R, windows_R)
        begin_W = np.where(place_W > 0, first_R[row_W] + (place_W - 1) * length, 0)
        end_W = np.minimum(first_R[row_W] + place_W * length, inputs_R[row_W])
        return row_W, self.rows.offsets[row_W] + begin_W, end_W - begin_W

    def _batch(self, row_B: Int64, start_B: Int64, count_B: Int64, rng: np.random.Generator) -> Window:
        width = int(count_B.max())
        input_BL = _cut(self.rows.columns, start_B, count_B, width, -1)
        gap_BL = _cut(self.rows.weights, start_B, count_B, width, 0)
        place_BL = start_B[:, None] + np.arange(width)
        # near the end of a history fewer than ``horizon`` events are left to draw from
        left_BL = np.minimum(self.rows.offsets[row_B + 1][:, None] - 1 - place_BL, self.horizon)
        ahead_BL = 1 if self.horizon == 1 else 1 + (rng.random(left_BL.shape) * left_BL).astype(np.int64)
        # places in the padding may lie behind the last event; they are masked below
        last = max(len(self.rows.columns) - 1, 0)
        target_BL = self.rows.columns[np.minimum(place_BL + ahead_BL, last)]
        return Window(input_BL, np.where(input_BL >= 0, target_BL, np.int32(-1)), row_B, gap_BL)


def _own_sequences(history: MultiDomain, names: Collection[str], queries: Queries) -> Ragged:
    """The queries' own events of the named domains, in the order of time."""
    rows, items = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    times: list[Seconds] = [np.empty(0, np.int64)]
    timed = all(name in (queries.times or {}) for name in names if len(queries.own_events(name).columns))
    for number, (name, items_of) in enumerate(history.item_slices.items()):
        if name not in names:
            continue
        own = queries.own_events(name)
        given = (queries.times or {}).get(name)
        rows.append(own.entry_rows)
        items.append(own.columns + np.int32(items_of.start))
        times.append(np.full(len(own.columns), number, np.int64) if given is None else given)
    row_N, item_N, time_N = np.concatenate(rows), np.concatenate(items), np.concatenate(times)
    order_N = np.lexsort((time_N, row_N))
    row_N, gap_N = row_N[order_N], np.zeros(len(order_N), np.float32)
    if timed:
        gap_N = _gaps(row_N, time_N[order_N])
    return Ragged.from_index(row_N, item_N[order_N], len(queries), gap_N)


def _gaps(row_N: npt.NDArray[np.integer], time_N: Seconds) -> Float32:
    """Eq. (1) for events in the order of rows and times, (N,)."""
    gap_N = np.zeros(len(row_N), np.float32)
    passed_N = np.diff(time_N).astype(np.float64)
    within_N = np.diff(row_N) == 0
    gap_N[1:][within_N] = np.minimum(1 + np.floor(np.log2(1 + passed_N[within_N])), GAPS - 1)  # Eq. (1)
    return gap_N


def _hashed(user_N: Int32, item_N: Int32) -> npt.NDArray[np.uint64]:
    """A pseudo-random number for each (user, item) pair: the finaliser of splitmix64."""
    # both indices are int32, so the key is unique
    key_N = (user_N.astype(np.uint64) << np.uint64(32)) | item_N.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        key_N = (key_N ^ (key_N >> np.uint64(shift))) * np.uint64(factor)
    return key_N ^ (key_N >> np.uint64(31))


def _cut(value_N: npt.NDArray[Any], start_R: Int64, count_R: Int64, width: int, padding: int) -> Int32:
    """``count_R`` values from ``start_R`` on, padded at the end, (R, L)."""
    place_RL = start_R[:, None] + np.arange(width)
    inside_RL = np.arange(width) < count_R[:, None]
    value_RL = value_N[np.where(inside_RL, place_RL, 0)] if len(value_N) else np.zeros(inside_RL.shape)
    return np.where(inside_RL, value_RL, padding).astype(np.int32)
