"""The k best items of every query, exactly, as numba kernels without the interpreter's lock.

Items lie in falling order of their norm, in tiles of ``TILE``, each (F, J) so that vector instructions run
along the items and a tile stays in the first cache for all queries. By Cauchy and Schwarz no item from tile
t on has a score above

    ‖q‖ max_{i≥t} ‖y_i‖ + w max_{i≥t} p_i                                                              (1)

for s = q·y_i + w p_i, so a query leaves as soon as (1) is below the worst item of its list. Where a mask
leaves few items, these alone are gathered into tiles. Every score is computed by the same operations in the
same order, for every batch and every mask. B queries, F factors (a multiple of ``MULTIPLE``), I items, T
tiles, J items of a tile, K places, M masks.
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
SPARSE = 10  # where a mask leaves fewer than one item in so many, gathering them is cheaper than all scores
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
    rows: tuple[Float32, Float32],
    hidden: tuple[Int64, Int32],
    among: tuple[Bool, Int64],
    k_B: Int64,
    item_BK: Int32,
    score_BK: Float32,
) -> int:
    """Fill the lists, best first, equal scores by the lower item; gives the number of tiles gone through.

    ``weight_B`` and ``share_TJ``: w and p; ``norm_T`` and ``most_T``: the maxima of (1). ``rows``: y,
    without the factors that fill up to ``MULTIPLE``, and p in the order of the items. ``hidden``: rows of
    items never listed, each sorted; ``among``: masks (M, I) and which one a query has, -1 for none.
    """
    n_queries = len(query_BF)
    norm_B = np.empty(n_queries, np.float32)
    size_B, active_B, n_active = np.zeros(n_queries, np.int64), np.empty(n_queries, np.int64), 0
    score_J, gone = np.empty(TILE, np.float32), 0
    mask_MI, mask_B = among
    for b in range(n_queries):
        norm_B[b] = SLACK * np.sqrt(_squared(query_BF[b]))
        if mask_B[b] >= 0 and SPARSE * np.count_nonzero(mask_MI[mask_B[b]]) < len(order_I):
            size_B[b], n_tiles = _gathered(
                query_BF[b],
                weight_B[b],
                norm_B[b],
                (norm_T, most_T),
                order_I,
                rows,
                hidden,
                among,
                b,
                k_B[b],
                item_BK,
                score_BK,
            )
            gone += n_tiles
        else:
            active_B[n_active] = b
            n_active += 1
    for t in range(len(tile_TFJ)):
        n_left = 0
        for place in range(n_active):
            b = active_B[place]
            full = size_B[b] == k_B[b]
            most = _bound(norm_B[b], weight_B[b], norm_T[t], most_T[t])
            # tiles come by falling norm: this query needs none of the later ones
            if full and most < score_BK[b, 0]:
                continue
            active_B[n_left] = b
            n_left += 1
            gone += 1
            _score(query_BF[b], weight_B[b], tile_TFJ[t], share_TJ[t], score_J)
            if not full or _largest(score_J) >= score_BK[b, 0]:
                item_J = order_I[t * TILE : (t + 1) * TILE]
                size_B[b] = _offer(item_J, score_J, hidden, among, b, k_B[b], item_BK, score_BK, size_B[b])
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
def _bound(norm: np.float32, weight: np.float32, largest_norm: np.float32, largest_share: np.float32) -> Any:
    """Eq. (1); ``norm``: of the query, with ``SLACK``."""
    return norm * largest_norm + SLACK * max(weight, np.float32(0)) * largest_share


@njit(nogil=True, cache=True, error_model="numpy")
def _gathered(
    query_F: Float32,
    weight: np.float32,
    norm: np.float32,
    bound_T: tuple[Float32, Float32],
    order_I: Int32,
    rows: tuple[Float32, Float32],
    hidden: tuple[Int64, Int32],
    among: tuple[Bool, Int64],
    b: int,
    k: int,
    item_BK: Int32,
    score_BK: Float32,
) -> tuple[int, int]:
    """Fill the heap of a query from tiles of its mask's items; gives its size and the number of tiles."""
    mask_MI, mask_B = among
    mask_I, (item_IF, share_I), (norm_T, most_T) = mask_MI[mask_B[b]], rows, bound_T
    tile_FJ = np.zeros((len(query_F), TILE), np.float32)
    share_J, score_J = np.zeros(TILE, np.float32), np.empty(TILE, np.float32)
    item_J, n_items, n_tiles, size = np.empty(TILE, np.int32), 0, 0, 0
    for t in range(len(norm_T)):
        if size == k and _bound(norm, weight, norm_T[t], most_T[t]) < score_BK[b, 0]:
            break
        for item in order_I[t * TILE : (t + 1) * TILE]:
            if not mask_I[item]:
                continue
            item_J[n_items], share_J[n_items] = item, share_I[item]
            for f in range(item_IF.shape[1]):
                tile_FJ[f, n_items] = item_IF[item, f]
            n_items += 1
            if n_items == TILE:
                _score(query_F, weight, tile_FJ, share_J, score_J)
                size = _offer(item_J, score_J, hidden, among, b, k, item_BK, score_BK, size)
                n_items, n_tiles = 0, n_tiles + 1
    if n_items:
        _score(query_F, weight, tile_FJ, share_J, score_J)
        size = _offer(item_J[:n_items], score_J, hidden, among, b, k, item_BK, score_BK, size)
        n_tiles += 1
    return size, n_tiles


@njit(nogil=True, cache=True, error_model="numpy")
def _offer(
    item_J: Int32,
    score_J: Float32,
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
    for j in range(len(item_J)):
        item, score = item_J[j], score_J[j]
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
