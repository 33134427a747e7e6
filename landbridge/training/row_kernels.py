"""Row-wise optimisers as numba kernels; what they mean is told in :mod:`landbridge.training.rows`.

R rows of a table, T rows touched, N gradients, F factors. Every row is updated by one thread from the same
numbers in the same order, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

FAST = {"reassoc", "contract", "nsz", "arcp"}  # lets loops use vector units; NaN stays NaN
ADAM, ADAGRAD, SGD = 0, 1, 2


@njit(nogil=True, cache=True)
def group(index_N, place_R, rows_T, starts_T, order_N):
    """Which rows occur in ``index_N`` and where; gives their number T.

    Row ``rows_T[t]`` occurs at ``order_N[starts_T[t]:starts_T[t + 1]]``, in order. ``place_R`` must be all
    -1, and is again afterwards; ``starts_T`` needs room for T + 2.
    """
    touched = 0
    starts_T[:2] = 0
    for n in range(len(index_N)):
        row = index_N[n]
        if place_R[row] < 0:
            place_R[row] = touched
            rows_T[touched] = row
            starts_T[touched + 2] = 0
            touched += 1
        starts_T[place_R[row] + 2] += 1
    for t in range(touched):
        starts_T[t + 2] += starts_T[t + 1]  # one place ahead: filling moves each begin to its end
    for n in range(len(index_N)):
        t = place_R[index_N[n]]
        order_N[starts_T[t + 1]] = n
        starts_T[t + 1] += 1
    for t in range(touched):
        place_R[rows_T[t]] = -1
    return touched


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def add_up(grad_NF, starts_T, order_N, out_TF):
    """The sum of each touched row's gradients."""
    for t in prange(len(out_TF)):
        out_TF[t] = 0
        for place in range(starts_T[t], starts_T[t + 1]):
            n = order_N[place]
            for f in range(out_TF.shape[1]):
                out_TF[t, f] += grad_NF[n, f]


@njit(parallel=True, nogil=True, cache=True)
def update(kind, table_RF, first_RF, second_RF, count_R, rows_T, touched, grad_TF, lr, beta1, beta2, eps):
    """One step on the first ``touched`` rows of ``rows_T`` with their gradients."""
    for t in prange(touched):
        row = rows_T[t]
        step_row(
            kind,
            table_RF[row],
            first_RF[row] if kind == ADAM else table_RF[row],
            second_RF[row] if kind != SGD else table_RF[row],
            count_R[row],
            grad_TF[t],
            lr,
            beta1,
            beta2,
            eps,
        )
        count_R[row] += 1


@njit(fastmath=FAST, nogil=True, cache=True)
def step_row(kind, x_F, first_F, second_F, count, g_F, lr, beta1, beta2, eps):
    """One step of one row that has had ``count`` steps before, Eqs. (1)-(3)."""
    if kind == ADAM:
        rate = np.float32(lr / (1 - beta1 ** (count + 1)))
        root = np.float32(1 / np.sqrt(1 - beta2 ** (count + 1)))
        b1, b2, e = np.float32(beta1), np.float32(beta2), np.float32(eps)
        for f in range(len(x_F)):
            g = g_F[f]
            first_F[f] = b1 * first_F[f] + (1 - b1) * g
            second_F[f] = b2 * second_F[f] + (1 - b2) * g * g
            x_F[f] -= rate * first_F[f] / (np.sqrt(second_F[f]) * root + e)
    elif kind == ADAGRAD:
        rate, e = np.float32(lr), np.float32(eps)
        for f in range(len(x_F)):
            g = g_F[f]
            second_F[f] += g * g
            x_F[f] -= rate * g / (np.sqrt(second_F[f]) + e)
    else:
        rate = np.float32(lr)
        for f in range(len(x_F)):
            x_F[f] -= rate * g_F[f]
