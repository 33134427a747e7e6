"""Compiled loops whose speed is measured: what kernels of several methods do, alone."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def looked_up(table_JJ, index_N):
    """The sum of numbers of a matrix at the rows and columns ``index_N``, in pairs."""
    total = np.float32(0)
    for a in range(len(index_N)):
        for b in range(a + 1):
            total += table_JJ[index_N[a], index_N[b]]
    return total


@njit(nogil=True, cache=True)
def powers(value_N, power, out_N):
    """Quotients to a power."""
    for n in range(len(value_N)):
        out_N[n] = (value_N[n] / (value_N[n] + np.float32(1))) ** power
