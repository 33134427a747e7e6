"""Compiled loops of :mod:`landbridge.selection.pool`: parallel over pairs, one writer per output cell.

Letters: T pairs, P chosen pairs, N entries of all pools, M members, W weight vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True, nogil=True, parallel=True)
def count_above(offsets, z_NM, own_TM, pair_P, weight_WM):
    """Entries above and equal to the pair's own item under every weight vector, (P, W) each."""
    shape = len(pair_P), len(weight_WM)
    above_PW, ties_PW = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for p in prange(len(pair_P)):
        t = pair_P[p]
        for w in range(len(weight_WM)):
            own = _product(weight_WM[w], own_TM[t])
            for n in range(offsets[t], offsets[t + 1]):
                value = _product(weight_WM[w], z_NM[n])
                above_PW[p, w] += value > own
                ties_PW[p, w] += value == own
    return above_PW, ties_PW


@njit(cache=True, nogil=True, parallel=True)
def count_above_extended(offsets, z_NM, own_TM, pair_P, sum_N, own_sum_T):
    """As ``count_above`` for the M sums of ``sum_N`` and one more member each, (P, M)."""
    n_members = own_TM.shape[1]
    above_PM, ties_PM = np.zeros((2, len(pair_P), n_members), np.int32)
    for p in prange(len(pair_P)):
        t = pair_P[p]
        own_M = own_TM[t] + own_sum_T[t]
        for n in range(offsets[t], offsets[t + 1]):
            for m in range(n_members):
                value = sum_N[n] + z_NM[n, m]
                above_PM[p, m] += value > own_M[m]
                ties_PM[p, m] += value == own_M[m]
    return above_PM, ties_PM


@njit(cache=True, nogil=True, parallel=True)
def add_member(offsets, z_NM, own_TM, pair_P, member, sum_N, own_sum_T):
    """Add one member's scores to the running sums of the chosen pairs."""
    for p in prange(len(pair_P)):
        t = pair_P[p]
        own_sum_T[t] += own_TM[t, member]
        for n in range(offsets[t], offsets[t + 1]):
            sum_N[n] += z_NM[n, member]


@njit(cache=True, nogil=True)
def _product(weight_M, z_M):
    total = np.float32(0)
    for m in range(len(weight_M)):
        total += weight_M[m] * z_M[m]
    return total
