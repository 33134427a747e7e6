"""Numba kernel of HeroGRAPH: the recurrent attention over all neighbours of every node."""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.threads import over_rows


@over_rows
@njit(nogil=True, error_model="numpy", cache=True)
def attend_all(begin, end, offsets, columns, table_RF, rounds, out_RF):
    """Eqs. (1) and (2) of :mod:`landbridge.models.graph.herograph`; one thread makes a node's row.

    The softmax takes one pass: the sums so far are scaled down whenever a larger exponent turns up.
    """
    n_factors = table_RF.shape[1]
    scale = np.float32(1 / np.sqrt(n_factors))
    for node in range(begin, end):
        query_F, sum_F = table_RF[node].copy(), np.empty(n_factors, np.float32)
        for _ in range(rounds):
            sum_F[:] = 0
            total, top = np.float32(0), np.float32(-np.inf)
            for place in range(offsets[node] - 1, offsets[node + 1]):
                # the node itself comes before its neighbours
                other = node if place < offsets[node] else np.int64(columns[place])
                x = np.float32(0)
                for f in range(n_factors):
                    x += query_F[f] * table_RF[other, f]
                x *= scale
                if x > top:
                    shrink = np.exp(top - x)
                    total *= shrink
                    for f in range(n_factors):
                        sum_F[f] *= shrink
                    top = x
                share = np.exp(x - top)
                total += share
                for f in range(n_factors):
                    sum_F[f] += share * table_RF[other, f]
            for f in range(n_factors):
                query_F[f] = sum_F[f] / total
        out_RF[node] = query_F
