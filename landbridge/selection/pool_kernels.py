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


@njit(cache=True, nogil=True, parallel=True)
def count_above_each(offsets, z_NM, own_TM):
    """Entries that every member alone has above the pair's own item, (T, M)."""
    above_TM = np.zeros(own_TM.shape, np.int32)
    for t in prange(len(own_TM)):
        for n in range(offsets[t], offsets[t + 1]):
            for m in range(own_TM.shape[1]):
                above_TM[t, m] += z_NM[n, m] > own_TM[t, m]
    return above_TM


@njit(cache=True, nogil=True, parallel=True)
def log_likelihood(offsets, z_NM, own_TM, pair_P, weight_M):
    """ln P of the chosen pairs' own items under softmax of the weighted scores, (P,), its gradient (P, M)
    and its negative second derivative (P, M, M): one each, so that sums do not depend on the threads."""
    n_pairs, n_members = len(pair_P), own_TM.shape[1]
    log_P, gradient_PM = np.zeros(n_pairs), np.zeros((n_pairs, n_members))
    curvature_PMM = np.zeros((n_pairs, n_members, n_members))
    for p in prange(n_pairs):
        t = pair_P[p]
        own = _product(weight_M, own_TM[t])
        top = own
        for n in range(offsets[t], offsets[t + 1]):
            top = max(top, _product(weight_M, z_NM[n]))
        total = 0.0
        mean_M, square_MM = gradient_PM[p], curvature_PMM[p]
        for n in range(offsets[t] - 1, offsets[t + 1]):
            z_M = own_TM[t] if n < offsets[t] else z_NM[n]
            mass = np.exp(_product(weight_M, z_M) - top)
            total += mass
            for a in range(n_members):
                mean_M[a] += mass * z_M[a]
                for b in range(a + 1):
                    square_MM[a, b] += mass * z_M[a] * z_M[b]
        log_P[p] = own - top - np.log(total)
        for a in range(n_members):
            mean_M[a] /= total
        for a in range(n_members):
            for b in range(a + 1):
                square_MM[a, b] = square_MM[a, b] / total - mean_M[a] * mean_M[b]
                square_MM[b, a] = square_MM[a, b]
        for a in range(n_members):
            mean_M[a] = own_TM[t, a] - mean_M[a]
    return log_P, gradient_PM, curvature_PMM


@njit(cache=True, nogil=True)
def _product(weight_M, z_M):
    total = weight_M[0] * z_M[0]
    for m in range(1, len(weight_M)):
        total += weight_M[m] * z_M[m]
    return total
