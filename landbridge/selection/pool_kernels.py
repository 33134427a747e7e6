"""Compiled loops of :mod:`landbridge.selection.pool`: parallel over pairs, one writer per output cell.

Letters: T pairs, P chosen pairs, N entries of all pools, M members, W weight vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.threads import over_rows
from landbridge.core.types import Float32, Float64, Int32, Int64


def count_above(
    offsets: Int64, z_NM: Float32, own_TM: Float32, pair_P: Int64, weight_WM: Float32
) -> tuple[Int32, Int32]:
    """Entries above and equal to the pair's own item under every weight vector, (P, W) each."""
    above_PW, ties_PW = np.zeros((2, len(pair_P), len(weight_WM)), np.int32)
    _count_above(len(pair_P), offsets, z_NM, own_TM, pair_P, weight_WM, above_PW, ties_PW)
    return above_PW, ties_PW


@over_rows
@njit(cache=True, nogil=True)
def _count_above(begin, end, offsets, z_NM, own_TM, pair_P, weight_WM, above_PW, ties_PW):
    for p in range(begin, end):
        t = pair_P[p]
        for w in range(len(weight_WM)):
            own = _product(weight_WM[w], own_TM[t])
            for n in range(offsets[t], offsets[t + 1]):
                value = _product(weight_WM[w], z_NM[n])
                above_PW[p, w] += value > own
                ties_PW[p, w] += value == own


def count_above_extended(
    offsets: Int64, z_NM: Float32, own_TM: Float32, pair_P: Int64, sum_N: Float32, own_sum_T: Float32
) -> tuple[Int32, Int32]:
    """As ``count_above`` for the M sums of ``sum_N`` and one more member each, (P, M)."""
    above_PM, ties_PM = np.zeros((2, len(pair_P), own_TM.shape[1]), np.int32)
    sums = sum_N, own_sum_T
    _count_above_extended(len(pair_P), offsets, z_NM, own_TM, pair_P, *sums, above_PM, ties_PM)
    return above_PM, ties_PM


@over_rows
@njit(cache=True, nogil=True)
def _count_above_extended(begin, end, offsets, z_NM, own_TM, pair_P, sum_N, own_sum_T, above_PM, ties_PM):
    n_members = own_TM.shape[1]
    for p in range(begin, end):
        t = pair_P[p]
        own_M = own_TM[t] + own_sum_T[t]
        for n in range(offsets[t], offsets[t + 1]):
            for m in range(n_members):
                value = sum_N[n] + z_NM[n, m]
                above_PM[p, m] += value > own_M[m]
                ties_PM[p, m] += value == own_M[m]


@over_rows
@njit(cache=True, nogil=True)
def add_member(begin, end, offsets, z_NM, own_TM, pair_P, member, sum_N, own_sum_T):
    """Add one member's scores to the running sums of the chosen pairs."""
    for p in range(begin, end):
        t = pair_P[p]
        own_sum_T[t] += own_TM[t, member]
        for n in range(offsets[t], offsets[t + 1]):
            sum_N[n] += z_NM[n, member]


def count_above_each(offsets: Int64, z_NM: Float32, own_TM: Float32) -> Int32:
    """Entries that every member alone has above the pair's own item, (T, M)."""
    above_TM = np.zeros(own_TM.shape, np.int32)
    _count_above_each(len(own_TM), offsets, z_NM, own_TM, above_TM)
    return above_TM


@over_rows
@njit(cache=True, nogil=True)
def _count_above_each(begin, end, offsets, z_NM, own_TM, above_TM):
    for t in range(begin, end):
        for n in range(offsets[t], offsets[t + 1]):
            for m in range(own_TM.shape[1]):
                above_TM[t, m] += z_NM[n, m] > own_TM[t, m]


def log_likelihood(
    offsets: Int64, z_NM: Float32, own_TM: Float32, pair_P: Int64, weight_M: Float64
) -> tuple[Float64, Float64, Float64]:
    """ln P of the chosen pairs' own items under softmax of the weighted scores, (P,), its gradient (P, M)
    and its negative second derivative (P, M, M): one each, so that sums do not depend on the threads."""
    n_pairs, n_members = len(pair_P), own_TM.shape[1]
    log_P, gradient_PM = np.zeros(n_pairs), np.zeros((n_pairs, n_members))
    curvature_PMM = np.zeros((n_pairs, n_members, n_members))
    out = log_P, gradient_PM, curvature_PMM
    _log_likelihood(n_pairs, offsets, z_NM, own_TM, pair_P, weight_M, *out)
    return out


@over_rows
@njit(cache=True, nogil=True)
def _log_likelihood(begin, end, offsets, z_NM, own_TM, pair_P, weight_M, log_P, gradient_PM, curvature_PMM):
    n_members = own_TM.shape[1]
    for p in range(begin, end):
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


@njit(cache=True, nogil=True)
def _product(weight_M, z_M):
    total = weight_M[0] * z_M[0]
    for m in range(1, len(weight_M)):
        total += weight_M[m] * z_M[m]
    return total
