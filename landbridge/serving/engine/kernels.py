"""The k best items of every query, exactly, as numba kernels without the interpreter's lock.

Items lie in falling order of their norm, in tiles of ``TILE``, each (F, J) so that vector instructions run
along the items and a tile stays in the first cache for all queries. By Cauchy and Schwarz no item from tile
t on has a score above

    ‖q‖ max_{i≥t} ‖y_i‖ + w max_{i≥t} p_i                                                              (1)

for s = q·y_i + w p_i, so a query leaves as soon as (1) is below the worst item of its list. Every score is
computed by the same operations in the same order, for every batch. B queries, F factors (a
multiple of ``MULTIPLE``), I items, T tiles, J items of a tile, K places, M masks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.types import Bool, Float32, Int32, Int64
from landbridge.ranking.kernels import _heapify, _holds, _sift, _swap

TILE = 64  # items of a tile, a multiple of every vector width
MULTIPLE = 4  # factors that the inner loop takes at once
SLACK = np.float32(1.0001)  # Eq. (1) is exact, float32 scores of some hundred factors are not quite


@njit(nogil=True, cache=True, error_model="numpy")
def tiled_top_k(
    query_BF: Float32,
    weight_B: Float32,
    tile_TFJ: Float32,
    share_TJ: Float32,
    norm_T: Float32,
    most_T: Float32,
    order_I: Int32,
    hidden: tuple[Int64, Int32],
    among: tuple[Bool, Int64],
    k_B: Int64,
    item_BK: Int32,
    score_BK: Float32,
) -> int:
    """Fill the lists, best first, equal scores by the lower item; gives the number of tiles gone through.

    ``weight_B`` and ``share_TJ``: w and p; ``norm_T`` and ``most_T``: the maxima of (1). ``hidden``: rows of
    items never listed, each sorted; ``among``: masks (M, I) and which one a query has, -1 for none.
    """
    n_queries = len(query_BF)
    norm_B = np.empty(n_queries, np.float32)
    for b in range(n_queries):
        norm_B[b] = SLACK * np.sqrt(_squared(query_BF[b]))
    size_B, active_B, n_active = np.zeros(n_queries, np.int64), np.arange(n_queries), n_queries
    score_J, gone = np.empty(TILE, np.float32), 0
    for t in range(len(tile_TFJ)):
        n_left = 0
        for place in range(n_active):
            b = active_B[place]
            full = size_B[b] == k_B[b]
            most = norm_B[b] * norm_T[t] + SLACK * max(weight_B[b], np.float32(0)) * most_T[t]  # Eq. (1)
            # tiles come by falling norm: this query needs none of the later ones
            if full and most < score_BK[b, 0]:
                continue
            active_B[n_left] = b
            n_left += 1
            gone += 1
            _score(query_BF[b], weight_B[b], tile_TFJ[t], share_TJ[t], score_J)
            if not full or _largest(score_J) >= score_BK[b, 0]:
                size_B[b] = _offer(
                    t, score_J, order_I, hidden, among, b, k_B[b], item_BK, score_BK, size_B[b]
                )
        n_active = n_left
    for b in range(n_queries):
        _settle(item_BK[b], score_BK[b], size_B[b], k_B[b])
    return gone


@njit(nogil=True, cache=True, error_model="numpy")
def tiled_scores(
    query_BF: Float32,
    weight_B: Float32,
    tile_TFJ: Float32,
    share_TJ: Float32,
    order_I: Int32,
    score_BI: Float32,
) -> None:
    """Fill in every score, by item; letters and arrays as in :func:`tiled_top_k`."""
    score_J = np.empty(TILE, np.float32)
    for t in range(len(tile_TFJ)):
        for b in range(len(query_BF)):
            _score(query_BF[b], weight_B[b], tile_TFJ[t], share_TJ[t], score_J)
            for j in range(min(TILE, len(order_I) - t * TILE)):
                score_BI[b, order_I[t * TILE + j]] = score_J[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _score(
    query_F: Float32, weight: np.float32, tile_FJ: Float32, share_J: Float32, score_J: Float32
) -> None:
    """q·y + w p of a tile, four factors at a time; unsigned indices, for a check for negative ones would
    keep the inner loop from vector instructions."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for j in range(np.uint64(TILE)):
        score_J[j] = weight * share_J[j]
    for first in range(0, len(query_F), MULTIPLE):
        f = np.uint64(first)
        q0, q1, q2, q3 = query_F[f], query_F[f + one], query_F[f + two], query_F[f + three]
        for j in range(np.uint64(TILE)):
            score_J[j] += (q0 * tile_FJ[f, j] + q1 * tile_FJ[f + one, j]) + (
                q2 * tile_FJ[f + two, j] + q3 * tile_FJ[f + three, j]
            )


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST | {"nnan"})
def _largest(score_J: Float32) -> Any:
    largest = score_J[0]
    for j in range(np.uint64(TILE)):
        largest = max(largest, score_J[j])
    return largest


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _squared(query_F: Float32) -> Any:
    total = np.float32(0)
    for f in range(np.uint64(len(query_F))):
        total += query_F[f] * query_F[f]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _offer(
    t: int,
    score_J: Float32,
    order_I: Int32,
    hidden: tuple[Int64, Int32],
    among: tuple[Bool, Int64],
    b: int,
    k: int,
    item_BK: Int32,
    score_BK: Float32,
    size: int,
) -> int:
    """Take a tile's items into a query's heap, the worst at its root; gives the heap's size."""
    item_K, score_K = item_BK[b, :k], score_BK[b, :k]
    offsets, columns = hidden
    mask_MI, mask_B = among
    for j in range(min(TILE, len(order_I) - t * TILE)):
        item, score = order_I[t * TILE + j], score_J[j]
        if size == k and (score < score_K[0] or (score == score_K[0] and item > item_K[0])):
            continue
        if mask_B[b] >= 0 and not mask_MI[mask_B[b], item]:
            continue
        if _holds(columns[offsets[b] : offsets[b + 1]], item):
            continue
        if size < k:
            item_K[size], score_K[size] = item, score
            size += 1
            if size == k:
                _heapify(item_K, score_K, size)
        else:
            item_K[0], score_K[0] = item, score
            _sift(item_K, score_K, 0, size)
    return size


@njit(nogil=True, cache=True, error_model="numpy")
def _settle(item_K: Int32, score_K: Float32, size: int, k: int) -> None:
    """Empty the heap from the worst up: the best comes first."""
    if size < k:
        _heapify(item_K, score_K, size)
    for last in range(size - 1, 0, -1):
        _swap(item_K, score_K, 0, last)
        _sift(item_K, score_K, 0, last)
