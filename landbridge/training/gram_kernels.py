"""Inner products of sparse gradients, as a numba kernel: P gradients of a table of R rows, N rows of theirs
together, F factors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.types import AnyArray


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def row_products(
    index_N: npt.NDArray[np.int64], grad_NF: AnyArray, ends_P: npt.NDArray[np.int64], n_rows: int
) -> npt.NDArray[np.float64]:
    """All of them, (P, P). The rows of the first gradient end at ``ends_P[0]``, where the second one's begin;
    a gradient may have a row of the table several times."""
    first_R, next_N = np.full(n_rows, -1, np.int32), np.empty(len(index_N), np.int32)
    # a linked list of entries per table row, in the order of the gradients: no sort is needed
    for n in range(len(index_N) - 1, -1, -1):
        next_N[n] = first_R[index_N[n]]
        first_R[index_N[n]] = n
    out_PP = np.zeros((len(ends_P), len(ends_P)))
    sum_PF, here_P = np.empty((len(ends_P), grad_NF.shape[1]), grad_NF.dtype), np.empty(len(ends_P), np.int64)
    for first in range(len(index_N)):
        # each table row once, at its first entry
        if first_R[index_N[first]] != first:
            continue
        n, p, n_groups = first, 0, 0
        while n >= 0:
            while n >= ends_P[p]:
                p += 1
            if n_groups == 0 or here_P[n_groups - 1] != p:
                here_P[n_groups], sum_PF[n_groups] = p, 0
                n_groups += 1
            for f in range(grad_NF.shape[1]):
                sum_PF[n_groups - 1, f] += grad_NF[n, f]
            n = next_N[n]
        for a in range(n_groups):
            for b in range(n_groups):
                dot = 0.0
                for f in range(grad_NF.shape[1]):
                    dot += sum_PF[a, f] * sum_PF[b, f]
                out_PP[here_P[a], here_P[b]] += dot
    return out_PP
