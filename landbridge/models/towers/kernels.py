"""Numba kernels that score whole catalogues with towers; equations in :mod:`landbridge.models.towers.fitted`.

A user and a tile of items go through all layers at once: the activations (units, items of the tile) stay in
the first cache, and vector instructions run along the tile. Every pair is computed by the same operations
in the same order, for any batch and any number of threads. B users, I items (a
multiple of ``TILE``), T towers that run together, H and K units of a layer and of the one above it
(multiples of ``MULTIPLE``), J items of a tile, L layers after the first, G products.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.threads import over_rows
from landbridge.data.sampling.kernels import negative

TILE = 64  # items of a tile, a multiple of every vector width
USERS = 16  # that go through a tile of items while it is in the cache
MULTIPLE = 4  # widths of layers are padded to multiples of it


@over_rows
@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def score_catalogue(begin, end, first_BTH, item_2HI, share_B, mask_BT, layer_L4, flat, widest, last, out_BI):
    """Scores of all items for all users.

    ``first_BTH``, ``item_2HI``: user and item parts of the first layer; ``share_B``: 1 / other towers;
    ``layer_L4``: units below and above, towers that have the layer, whether it is crossed; ``flat``: the
    weights of the layers one after the other; ``last``: h, products of users (B, G) and of items (G, I).
    """
    out_H, product_BG, product_GI = last
    n_users, n_towers = mask_BT.shape
    for chunk in range(begin, end):
        below = np.empty((n_towers, widest, TILE), np.float32)
        above = np.empty((n_towers, widest, TILE), np.float32)
        total = np.empty((2, widest, TILE), np.float32)
        score = np.empty(TILE, np.float32)
        for start in range(0, item_2HI.shape[2], TILE):
            # a tile of items serves all users of the chunk while it is in the cache
            for b in range(chunk * USERS, min((chunk + 1) * USERS, n_users)):
                _first(first_BTH[b, 0], item_2HI[0], np.float32(1), start, below[0])
                for t in range(1, n_towers):
                    if mask_BT[b, t]:
                        _first(first_BTH[b, t], item_2HI[1], share_B[b], start, below[t])
                place = 0
                for layer in range(len(layer_L4)):
                    place = _layer(flat, place, layer_L4[layer], share_B[b], mask_BT[b], below, total, above)
                    below, above = above, below
                _last(out_H, product_BG[b], product_GI, start, below[0], score)
                stop = min(TILE, out_BI.shape[1] - start)
                out_BI[b, start : start + stop] = score[:stop]


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _first(first_H, item_HI, scale, start, out_HJ):
    """The first layer: the sum of user part and item part."""
    start = np.uint64(start)
    for h in range(np.uint64(len(first_H))):
        own = first_H[h]
        for j in range(np.uint64(TILE)):
            out_HJ[h, j] = max(own + scale * item_HI[h, start + j], np.float32(0))


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _layer(flat, place, layer_4, share, mask_T, below, total, above):
    """One layer of all towers that have it; returns the position of the next layer's weights."""
    n_below, n_above, n_running, crossed = layer_4
    size = n_below * n_above
    # weights, bias, and what the other towers are multiplied by, of one tower after the other
    whole = size + n_above + size * crossed
    if crossed:
        _mix(np.float32(1), below[0], np.float32(0), below[0], n_below, total[0])
        for t in range(1, len(mask_T)):
            if mask_T[t]:
                _mix(np.float32(1), below[t], np.float32(1), total[0], n_below, total[0])
    for t in range(n_running):
        if mask_T[t]:
            own = place + t * whole
            for k in range(n_above):
                above[t, k] = flat[own + size + k]
            _add_product(flat, own, n_below, n_above, below[t], above[t])
            if crossed:
                _mix(share, total[0], -share, below[t], n_below, total[1])
                _add_product(flat, own + size + n_above, n_below, n_above, total[1], above[t])
            for k in range(np.uint64(n_above)):
                for j in range(np.uint64(TILE)):
                    above[t, k, j] = max(above[t, k, j], np.float32(0))
    return place + n_running * whole


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _mix(share, one_HJ, rest, other_HJ, n_units, out_HJ):
    """share · one + rest · other."""
    for h in range(np.uint64(n_units)):
        for j in range(np.uint64(TILE)):
            out_HJ[h, j] = share * one_HJ[h, j] + rest * other_HJ[h, j]


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _add_product(flat, place, n_below, n_above, below_HJ, above_KJ):
    """z += W a for a tile, W (n_above, n_below) at ``place``, two rows of W by four columns at a time.

    Indices are unsigned: a check for negative indices would keep the inner loop from vector instructions.
    """
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for row in range(0, n_above, 2):
        k = np.uint64(row)
        v, w = np.uint64(place + row * n_below), np.uint64(place + (row + 1) * n_below)
        for column in range(0, n_below, MULTIPLE):
            h = np.uint64(column)
            v0, v1, v2, v3 = flat[v + h], flat[v + h + one], flat[v + h + two], flat[v + h + three]
            w0, w1, w2, w3 = flat[w + h], flat[w + h + one], flat[w + h + two], flat[w + h + three]
            for j in range(np.uint64(TILE)):
                a0, a1 = below_HJ[h, j], below_HJ[h + one, j]
                a2, a3 = below_HJ[h + two, j], below_HJ[h + three, j]
                above_KJ[k, j] += (v0 * a0 + v1 * a1) + (v2 * a2 + v3 * a3)
                above_KJ[k + one, j] += (w0 * a0 + w1 * a1) + (w2 * a2 + w3 * a3)


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _last(out_H, product_G, product_GI, start, below_HJ, score_J):
    """h · [a ; p ⊙ y], h being part of ``product_G``."""
    start = np.uint64(start)
    score_J[:] = 0
    for h in range(np.uint64(len(out_H))):
        for j in range(np.uint64(TILE)):
            score_J[j] += out_H[h] * below_HJ[h, j]
    for g in range(np.uint64(len(product_G))):
        for j in range(np.uint64(TILE)):
            score_J[j] += product_G[g] * product_GI[g, start + j]


@njit(nogil=True, error_model="numpy", cache=True)
def draw_negatives(key, offsets, columns, n_items, pool_M, out_N):
    """A negative for each event of each row: a function of the key, the row's events and the position."""
    for row in range(len(offsets) - 1):
        own_N = columns[offsets[row] : offsets[row + 1]]
        for n in range(len(own_N)):
            out_N[offsets[row] + n] = negative(key, n, own_N, 0, n_items, pool_M, 0, len(pool_M))
