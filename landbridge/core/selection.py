"""The k-th smallest value of columns that may not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from landbridge.core.types import BLOCK, AnyArray, blocks


def kth_smallest(columns: Sequence[AnyArray], k: int, at_once: int = BLOCK) -> int | float:
    """The value at place ``k``, from 0 on, of all columns sorted together.

    Bisection: each pass counts what is at most the middle of the range in which the value is, until what lies
    in it is no more than ``at_once`` values, or all alike.
    """
    kind = np.result_type(*columns)
    values = [column.astype(kind, copy=False) for column in columns if len(column)]
    low: int | float
    high: int | float
    low, high = min(each.min().item() for each in values), max(each.max().item() for each in values)
    inside = sum(map(len, values))
    while inside > at_once and low < high:
        middle = (low + high) // 2 if kind.kind == "i" else low + (high - low) / 2
        middle = middle if middle < high else low  # rounded up
        below, least, most = 0, high, low
        for part in _within(values, low, high):
            left_N = part <= middle
            below += int(left_N.sum())
            most = max(most, part[left_N].max(initial=low).item())
            least = min(least, part[~left_N].min(initial=high).item())
        low, high, inside, k = (
            (low, most, below, k) if k < below else (least, high, inside - below, k - below)
        )
    if low == high:
        return low
    few = np.concatenate(list(_within(values, low, high)))
    kth: int | float = np.partition(few, k)[k].item()
    return kth


def _within(columns: Sequence[AnyArray], low: float, high: float) -> Iterator[AnyArray]:
    """The values from ``low`` to ``high``, block by block."""
    for column in columns:
        for block in blocks(len(column)):
            part = column[block]
            yield part[(part >= low) & (part <= high)]
