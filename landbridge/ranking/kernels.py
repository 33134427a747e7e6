"""Compiled loops of :mod:`landbridge.ranking.top_k`: parallel over rows, one writer per output cell.

Whole-row scans count every item and then take the seen ones back, so that the long loop has no branch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from landbridge.core.threads import over_rows
from landbridge.core.types import AnyArray, Int32, Int64

Scores = AnyArray


def rows_with_nan(scores_BI: Scores) -> npt.NDArray[np.bool_]:
    """Whether a row holds a NaN, (B,)."""
    is_odd_B = np.empty(len(scores_BI), np.bool_)
    _rows_with_nan(len(scores_BI), scores_BI, is_odd_B)
    return is_odd_B


@over_rows
@njit(cache=True, nogil=True)
def _rows_with_nan(begin: int, end: int, scores_BI: Scores, is_odd_B: npt.NDArray[np.bool_]) -> None:
    for row in range(begin, end):
        scores_I = scores_BI[row]
        odd = 0
        for item in range(len(scores_I)):
            # only NaN differs from itself; a sum without a branch becomes vector code
            odd += scores_I[item] != scores_I[item]
        is_odd_B[row] = odd > 0


def count_unseen(
    scores_BI: Scores, row_T: Int64, item_T: Int32, offsets: Int64, columns: Int32
) -> tuple[Int64, Int64]:
    """Unseen items strictly above and equal to each target, the target itself left out."""
    above_T, ties_T = np.zeros((2, len(item_T)), np.int64)
    _count_unseen(len(item_T), scores_BI, row_T, item_T, offsets, columns, above_T, ties_T)
    return above_T, ties_T


@over_rows
@njit(cache=True, nogil=True)
def _count_unseen(
    begin: int,
    end: int,
    scores_BI: Scores,
    row_T: Int64,
    item_T: Int32,
    offsets: Int64,
    columns: Int32,
    above_T: Int64,
    ties_T: Int64,
) -> None:
    for target in range(begin, end):
        row, item = row_T[target], item_T[target]
        scores_I = scores_BI[row]
        mark = scores_I[item]
        # ties start at -1, as the target equals itself
        above, ties = 0, -1
        for other in range(len(scores_I)):
            above += scores_I[other] > mark
            ties += scores_I[other] == mark
        # All items are counted first, and the few seen ones are taken off again: no look-up in the inner
        # loop. Each once, as a history may hold an item twice.
        last = item
        for other in np.sort(columns[offsets[row] : offsets[row + 1]]):
            if other != item and other != last:
                above -= scores_I[other] > mark
                ties -= scores_I[other] == mark
                last = other
        above_T[target], ties_T[target] = above, ties


def count_unseen_candidates(
    scores_BI: Scores, row_T: Int64, item_T: Int32, candidates_TC: Int32, offsets: Int64, columns: Int32
) -> tuple[Int64, Int64]:
    """As :func:`count_unseen`, among each target's own candidates."""
    above_T, ties_T = np.zeros((2, len(item_T)), np.int64)
    of = scores_BI, row_T, item_T, candidates_TC, offsets, columns
    _count_unseen_candidates(len(item_T), *of, above_T, ties_T)
    return above_T, ties_T


@over_rows
@njit(cache=True, nogil=True)
def _count_unseen_candidates(
    begin: int,
    end: int,
    scores_BI: Scores,
    row_T: Int64,
    item_T: Int32,
    candidates_TC: Int32,
    offsets: Int64,
    columns: Int32,
    above_T: Int64,
    ties_T: Int64,
) -> None:
    for target in range(begin, end):
        row, item = row_T[target], item_T[target]
        scores_I, mark = scores_BI[row], scores_BI[row, item]
        seen = np.sort(columns[offsets[row] : offsets[row + 1]])
        for other in candidates_TC[target]:
            if _competes(other, item, seen):
                above_T[target] += scores_I[other] > mark
                ties_T[target] += scores_I[other] == mark


def count_competitors(
    row_T: Int64, item_T: Int32, candidates_TC: Int32, offsets: Int64, columns: Int32
) -> Int64:
    """Candidates each target is really ranked against: neither padding, nor itself, nor seen."""
    count_T = np.zeros(len(item_T), np.int64)
    _count_competitors(len(item_T), row_T, item_T, candidates_TC, offsets, columns, count_T)
    return count_T


@over_rows
@njit(cache=True, nogil=True)
def _count_competitors(
    begin: int,
    end: int,
    row_T: Int64,
    item_T: Int32,
    candidates_TC: Int32,
    offsets: Int64,
    columns: Int32,
    count_T: Int64,
) -> None:
    for target in range(begin, end):
        row = row_T[target]
        seen = np.sort(columns[offsets[row] : offsets[row + 1]])
        for other in candidates_TC[target]:
            count_T[target] += _competes(other, item_T[target], seen)


def best_unseen(scores_BI: Scores, k: int, offsets: Int64, columns: Int32) -> tuple[Int32, Scores]:
    """The k best unseen items of each row, best first; item -1 and score -inf where there are fewer."""
    n_rows = len(scores_BI)
    item_BK = np.full((n_rows, k), -1, np.int32)
    score_BK = np.full((n_rows, k), -np.inf, scores_BI.dtype)
    _best_unseen(n_rows, scores_BI, offsets, columns, item_BK, score_BK)
    return item_BK, score_BK


@over_rows
@njit(cache=True, nogil=True)
def _best_unseen(
    begin: int,
    end: int,
    scores_BI: Scores,
    offsets: Int64,
    columns: Int32,
    item_BK: Int32,
    score_BK: Scores,
) -> None:
    for row in range(begin, end):
        seen = np.sort(columns[offsets[row] : offsets[row + 1]])
        _select(scores_BI[row], seen, item_BK[row], score_BK[row])


@njit(cache=True, nogil=True)
def _competes(other: int, item: int, seen: Int32) -> bool:
    return other >= 0 and other != item and not _holds(seen, other)


@njit(cache=True, nogil=True)
def _holds(sorted_values: Int32, wanted: int) -> bool:
    place = np.searchsorted(sorted_values, wanted)
    return bool(place < len(sorted_values) and sorted_values[place] == wanted)


@njit(cache=True, nogil=True)
def _select(scores_I: Scores, seen: Int32, item_K: Int32, score_K: Scores) -> None:
    """Keep the best k in a heap with the worst at the root, then empty it from the worst up.

    Items come in rising order, so an equal score never replaces a lower item.
    """
    size, k = 0, len(item_K)
    for item in range(len(scores_I)):
        # the cheap test first: almost all items end here, without the search among the seen ones
        if size == k and not scores_I[item] > score_K[0]:
            continue
        if _holds(seen, item):
            continue
        if size < k:
            item_K[size], score_K[size] = item, scores_I[item]
            size += 1
            if size == k:
                _heapify(item_K, score_K, size)
        else:
            item_K[0], score_K[0] = item, scores_I[item]
            _sift(item_K, score_K, 0, size)
    if size < k:
        _heapify(item_K, score_K, size)
    # heapsort: the worst goes to the end, again and again
    for last in range(size - 1, 0, -1):
        _swap(item_K, score_K, 0, last)
        _sift(item_K, score_K, 0, last)


@njit(cache=True, nogil=True)
def _heapify(item_K: Int32, score_K: Scores, size: int) -> None:
    for node in range(size // 2 - 1, -1, -1):
        _sift(item_K, score_K, node, size)


@njit(cache=True, nogil=True)
def _sift(item_K: Int32, score_K: Scores, node: int, size: int) -> None:
    while 2 * node + 1 < size:
        child = 2 * node + 1
        if child + 1 < size and _worse(item_K, score_K, child + 1, child):
            child += 1
        if not _worse(item_K, score_K, child, node):
            return
        _swap(item_K, score_K, node, child)
        node = child


@njit(cache=True, nogil=True)
def _worse(item_K: Int32, score_K: Scores, a: int, b: int) -> bool:
    if score_K[a] == score_K[b]:
        return bool(item_K[a] > item_K[b])
    return bool(score_K[a] < score_K[b])


@njit(cache=True, nogil=True)
def _swap(item_K: Int32, score_K: Scores, a: int, b: int) -> None:
    item_K[a], item_K[b] = item_K[b], item_K[a]
    score_K[a], score_K[b] = score_K[b], score_K[a]
