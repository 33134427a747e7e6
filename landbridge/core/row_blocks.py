"""Compressed sparse rows in blocks: other values of their entries, and their columns as rows.

A matrix is transposed by a distribution sort: entries are cut by their column into ranges of at most
``AT_ONCE``, kept where the matrix is (:mod:`landbridge.core.mapped`), and each range is sorted in memory. A
row or column of more entries is a block alone. R rows, N entries, K columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from landbridge.core.mapped import Column, gathered, growing
from landbridge.core.types import AnyArray, Float32, Int64, Ragged, counted, row_offsets

AT_ONCE = 1 << 20  # entries that are sorted at once


def row_blocks(offsets_R: Int64) -> Iterator[slice]:
    """Slices of rows of at most ``AT_ONCE`` entries, or of a single row; an empty one where there is no
    row."""
    start, n_rows = 0, len(offsets_R) - 1
    while True:
        stop = int(np.searchsorted(offsets_R, offsets_R[start] + AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield slice(start, stop)
        start = stop
        if start == n_rows:
            return


def with_values(rows: Ragged, value: Callable[[Ragged, slice], Float32]) -> Ragged:
    """The rows with the weights that ``value`` gives the entries of each block of rows, and which rows these
    are."""
    values = (value(rows.block(block), block) for block in row_blocks(rows.offsets))
    return Ragged(rows.offsets, rows.columns, gathered(values, rows.columns, np.float32))


def concatenated(rows: Ragged, others: Ragged) -> Ragged:
    """As :meth:`Ragged.concat`, in blocks, with weights."""
    offsets_R = rows.offsets + others.offsets
    columns, weight = growing(rows.columns, np.int32), growing(rows.columns, np.float32)
    for block in row_blocks(offsets_R):
        part = rows.block(block).concat(others.block(block))
        columns.append(part.columns)
        weight.append(part.weights)
    return Ragged(offsets_R, columns.opened(), weight.opened())


def transposed(rows: Ragged, n_columns: int) -> Ragged:
    """The columns of ``rows`` as rows, each in the order of the rows, (n_columns rows)."""
    offsets_K = row_offsets(rows.columns, n_columns)
    columns, weight = growing(rows.columns, np.int32), growing(rows.columns, np.float32)
    for part in _sorted_ranges(rows, offsets_K):
        columns.append(part.columns)
        if part.weight is not None:
            weight.append(part.weight)
    return Ragged(offsets_K, columns.opened(), None if rows.weight is None else weight.opened())


def _sorted_ranges(rows: Ragged, offsets_K: Int64) -> Iterator[Ragged]:
    """The columns as rows, range by range."""
    if len(rows.columns) <= AT_ONCE:
        yield Ragged.from_index(rows.columns, _row_numbers(rows, 0), len(offsets_K) - 1, rows.weight)
        return
    ranges = list(row_blocks(offsets_K))
    for within, kept in zip(ranges, _distributed(rows, ranges), strict=True):
        column_P, row_P, *weight_P = (column.opened() for column in kept)
        yield Ragged.from_index(
            column_P - np.int32(within.start), row_P, within.stop - within.start, *weight_P
        )


def _distributed(rows: Ragged, ranges: list[slice]) -> Iterator[list[Column]]:
    """Column, row and, where there are weights, weight of the entries of each range of columns, in the order
    of the rows; a range that was taken is forgotten."""
    kinds = [np.int32, np.int32] + [np.float32] * (rows.weight is not None)
    kept = [[growing(rows.columns, kind) for kind in kinds] for _ in ranges]
    starts_G = np.array([within.start for within in ranges])
    for block in row_blocks(rows.offsets):
        some = rows.block(block)
        range_N = np.searchsorted(starts_G, some.columns, side="right") - 1
        order_N = np.argsort(range_N, kind="stable")
        ends_G = np.cumsum(counted(range_N, len(ranges)))
        columns: list[AnyArray] = [some.columns, _row_numbers(some, block.start)]
        if some.weight is not None:
            columns.append(some.weight)
        for place, column_N in enumerate(columns):
            for parts, part in zip(kept, np.split(column_N[order_N], ends_G[:-1]), strict=True):
                parts[place].append(part)
    while kept:
        yield kept.pop(0)


def _row_numbers(rows: Ragged, first: int) -> AnyArray:
    """The row number of each entry, int32 (N,)."""
    return np.repeat(np.arange(first, first + len(rows), dtype=np.int32), rows.lengths)
