"""Compiled loops of :mod:`landbridge.ranking.rerank`, whose equations they cite: parallel over rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.threads import over_rows
from landbridge.core.types import AnyArray, Float32, Float64, Int32, Int64
from landbridge.ranking.kernels import _holds, _select

DEEPER = 4  # times as many candidates where a list is short
Rows = tuple[Int64, Int32]


@over_rows
@njit(cache=True, nogil=True)
def reranked(
    begin: int,
    end: int,
    scores_BI: AnyArray,
    bonus_I: Float64,
    has_bonus: bool,
    pool: int,
    diversity: float,
    hidden: Rows,
    values: tuple[Int64, Int32, Int64],
    pins: tuple[Int32, Int32],
    vectors: tuple[Float32, Int64, Int32, int],
    reference: int,
    item_BK: Int32,
) -> None:
    """The lists into ``item_BK``; -1 for an empty place."""
    n_items, k = scores_BI.shape[1], item_BK.shape[1]
    for row in range(begin, end):
        scores_I = scores_BI[row]
        seen = np.sort(hidden[1][hidden[0][row] : hidden[0][row + 1]])
        low, unit = _scale(scores_I, seen, reference)
        size = min(pool, n_items)
        while True:
            item_C, gain_C = _candidates(scores_I, bonus_I, has_bonus, seen, size, low, unit)
            item_BK[row, :] = -1
            filled = _fill(item_BK[row], item_C, gain_C, scores_I, seen, diversity, values, pins, vectors)
            if filled == k or len(item_C) < size or size == n_items:
                break
            size = min(DEEPER * size, n_items)


@njit(cache=True, nogil=True)
def _scale(scores_I: AnyArray, seen: Int32, reference: int) -> tuple[float, float]:
    """The two ends of Eq. (1): s_(p), and its distance to s_(1)."""
    item_K = np.full(reference, -1, np.int32)
    score_K = np.full(reference, -np.inf, scores_I.dtype)
    _select(scores_I, seen, item_K, score_K)
    n_listed = np.sum(score_K > -np.inf)
    if n_listed == 0:
        return 0.0, 1.0
    best, low = np.float64(score_K[0]), np.float64(score_K[n_listed - 1])
    if best == low:
        for item in range(len(scores_I)):
            score = np.float64(scores_I[item])
            if -np.inf < score < low and not _holds(seen, np.int32(item)):
                low = score
    return low, best - low if best > low else 1.0


@njit(cache=True, nogil=True)
def _candidates(
    scores_I: AnyArray, bonus_I: Float64, has_bonus: bool, seen: Int32, size: int, low: float, unit: float
) -> tuple[Int32, Float64]:
    """The items with the largest a of Eq. (2), best first, and their a."""
    item_C = np.full(size, -1, np.int32)
    gain_C = np.full(size, -np.inf, np.float64)
    if has_bonus:
        gain_I = (scores_I.astype(np.float64) - low) / unit + bonus_I  # Eq. (2)
        _select(gain_I, seen, item_C, gain_C)
        n_listed = np.sum(gain_C > -np.inf)
    else:
        # the order of the scores themselves, which no rounding of Eq. (1) can change
        score_C = np.full(size, -np.inf, scores_I.dtype)
        _select(scores_I, seen, item_C, score_C)
        n_listed = np.sum(score_C > -np.inf)
        gain_C = (score_C.astype(np.float64) - low) / unit  # Eq. (1)
    return item_C[:n_listed], gain_C[:n_listed]


@njit(cache=True, nogil=True)
def _fill(
    list_K: Int32,
    item_C: Int32,
    gain_C: Float64,
    scores_I: AnyArray,
    seen: Int32,
    diversity: float,
    values: tuple[Int64, Int32, Int64],
    pins: tuple[Int32, Int32],
    vectors: tuple[Float32, Int64, Int32, int],
) -> int:
    """Fill one list, pins first; gives the number of its items."""
    k, pin_P, place_P = len(list_K), pins[0], pins[1]
    count_V = np.zeros(len(values[2]), np.int64)
    taken_C = np.zeros(len(item_C), np.bool_)
    near_C = np.zeros(len(item_C))
    mark_U = np.zeros(vectors[3] if diversity > 0 else 0, np.int32)
    n_listed = 0
    for pin in range(len(pin_P)):
        item = pin_P[pin]
        if not scores_I[item] > -np.inf or _holds(seen, item) or not _admits(values, count_V, item):
            continue
        list_K[place_P[pin]] = item
        n_listed += 1
        taken_C |= item_C == item
        _count(values, count_V, item)
        if diversity > 0:
            _approach(item, item_C, near_C, vectors, mark_U, n_listed)
    first = 0
    for place in range(k):
        if list_K[place] >= 0:
            continue
        # without diversity the candidates are in the order of Eq. (3): the first that is left is the best
        found, best = -1, -np.inf
        for c in range(first, len(item_C)):
            if taken_C[c]:
                continue
            if not _admits(values, count_V, item_C[c]):
                taken_C[c] = True  # a full value stays full
                continue
            gain = (1 - diversity) * gain_C[c] - diversity * near_C[c]  # Eq. (3)
            if found < 0 or gain > best:
                found, best = c, gain
            if diversity == 0:
                first = c + 1
                break
        if found < 0:
            break
        list_K[place] = item_C[found]
        n_listed += 1
        taken_C[found] = True
        _count(values, count_V, item_C[found])
        if diversity > 0 and n_listed < k:
            _approach(item_C[found], item_C, near_C, vectors, mark_U, n_listed)
    _close_gaps(list_K)
    return n_listed


@njit(cache=True, nogil=True)
def _admits(values: tuple[Int64, Int32, Int64], count_V: Int64, item: int) -> bool:
    """Whether an item breaks no limit."""
    offsets, columns, limit_V = values
    for entry in range(offsets[item], offsets[item + 1]):
        if count_V[columns[entry]] >= limit_V[columns[entry]]:
            return False
    return True


@njit(cache=True, nogil=True)
def _count(values: tuple[Int64, Int32, Int64], count_V: Int64, item: int) -> None:
    offsets, columns, _ = values
    for entry in range(offsets[item], offsets[item + 1]):
        count_V[columns[entry]] += 1


@njit(cache=True, nogil=True)
def _approach(
    item: int,
    item_C: Int32,
    near_C: Float64,
    vectors: tuple[Float32, Int64, Int32, int],
    mark_U: Int32,
    mark: int,
) -> None:
    """Eq. (3)'s largest cosine of each candidate, with one more item in the list, the ``mark``-th."""
    unit_IF, offsets, users, _ = vectors
    if unit_IF.shape[1] > 0:
        for c in range(len(item_C)):
            product = 0.0
            for f in range(unit_IF.shape[1]):
                product += unit_IF[item, f] * unit_IF[item_C[c], f]
            near_C[c] = max(near_C[c], product)
        return
    own = offsets[item + 1] - offsets[item]
    for entry in range(offsets[item], offsets[item + 1]):
        mark_U[users[entry]] = mark  # instead of clearing the marks of the item before
    for c in range(len(item_C)):
        start, end = offsets[item_C[c]], offsets[item_C[c] + 1]
        both = 0
        for entry in range(start, end):
            both += mark_U[users[entry]] == mark
        if both:
            near_C[c] = max(near_C[c], both / np.sqrt(own * (end - start)))


@njit(cache=True, nogil=True)
def _close_gaps(list_K: Int32) -> None:
    """Pins beyond the end of a short list move up."""
    end = 0
    for place in range(len(list_K)):
        item = list_K[place]
        list_K[place] = -1
        if item >= 0:
            list_K[end] = item
            end += 1
