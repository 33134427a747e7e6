"""Compiled loop of :mod:`landbridge.models.mixture`. Letters: B queries, N of them with weight, I items."""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.threads import over_rows

BLOCK = 2048  # items summed in float32, which uses vector units; the sums of blocks are added in float64
SMALL, LARGE = 1e-30, 1e30  # sums of squares beyond are summed in float64: in float32 a square may not fit


@over_rows
@njit(fastmath=FAST, nogil=True, cache=True)
def add_standardised(begin, end, scores_NI, weight_N, row_N, out_BI):
    """out_BI[row_N] += weight_N · z(scores_NI), Eq. (1) and (2); ``row_N``: distinct rows."""
    for n in range(begin, end):
        score_I, out_I = scores_NI[n], out_BI[row_N[n]]
        total, others = _sums(score_I)
        if others == 0:  # all items alike: z = 0
            continue
        mean = np.float32(total / len(score_I))
        square = _squares(score_I, mean)
        if not SMALL < square < LARGE:
            _add_wide(score_I, np.float64(weight_N[n]), out_I)
            continue
        scale = np.float32(weight_N[n] / np.sqrt(square / len(score_I)))
        for i in range(len(score_I)):
            out_I[i] += scale * (score_I[i] - mean)


@njit(nogil=True, cache=True)
def _add_wide(score_I, weight, out_I):
    """As above for one row, in float64 throughout."""
    mean, square = np.float64(0), np.float64(0)
    for i in range(len(score_I)):
        mean += np.float64(score_I[i]) / len(score_I)
    for i in range(len(score_I)):
        square += (score_I[i] - mean) ** 2 / len(score_I)
    for i in range(len(score_I)):
        out_I[i] += np.float32(weight * (score_I[i] - mean) / np.sqrt(square))


@njit(fastmath=FAST, nogil=True, cache=True)
def _sums(score_I):
    """The sum of all scores, and how many differ from the first."""
    total, others = np.float64(0), np.int64(0)
    for start in range(0, len(score_I), BLOCK):
        part, different = np.float32(0), np.int32(0)
        for i in range(start, min(start + BLOCK, len(score_I))):
            part += score_I[i]
            different += np.int32(score_I[i] != score_I[0])
        total += part
        others += different
    return total, others


@njit(fastmath=FAST, nogil=True, cache=True)
def _squares(score_I, mean):
    total = np.float64(0)
    for start in range(0, len(score_I), BLOCK):
        part = np.float32(0)
        for i in range(start, min(start + BLOCK, len(score_I))):
            part += (score_I[i] - mean) * (score_I[i] - mean)
        total += part
    return total
