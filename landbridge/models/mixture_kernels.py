"""Compiled loop of :mod:`landbridge.models.mixture`. Letters: B queries, N of them with weight, I items."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from landbridge.models.als.kernels import FAST

BLOCK = 2048  # items summed in float32, which uses vector units; the sums of blocks are added in float64


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def add_standardised(scores_NI, weight_N, row_N, out_BI):
    """out_BI[row_N] += weight_N · z(scores_NI), Eq. (1) and (2); ``row_N``: distinct rows."""
    for n in prange(len(row_N)):
        score_I, out_I = scores_NI[n], out_BI[row_N[n]]
        total, others = _sums(score_I)
        if others == 0:  # all items alike: z = 0
            continue
        mean = np.float32(total / len(score_I))
        scale = np.float32(weight_N[n] / np.sqrt(_squares(score_I, mean) / len(score_I)))
        for i in range(len(score_I)):
            out_I[i] += scale * (score_I[i] - mean)


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
