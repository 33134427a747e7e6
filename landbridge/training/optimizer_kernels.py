"""Row-wise optimisers as numba kernels; they are specified in :mod:`landbridge.training.optimizers`.

R rows of a table, T rows touched, N gradients, F factors. One thread does it all: a step touches so little
that threads would wait for each other most of the time, on a busy machine for milliseconds. Loops run over
whole tables by two indices: views of rows are counted references, which cost as much as the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.prefetch_kernels import prefetch_later

# error_model="numpy": a check for division by zero would keep loops from using vector units
ADAM, ADAGRAD, SGD, MOMENTUM = 0, 1, 2, 3
# Rounding keeps a subnormal m or v from ever reaching zero, and processors take many times as long for such
# numbers; beside ε no step can show them.
NORMAL = np.finfo(np.float32).tiny


@njit(nogil=True, error_model="numpy", cache=True)
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


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def add_up(grad_NF, starts_T, order_N, out_TF):
    """The sum of each touched row's gradients."""
    for t in range(len(out_TF)):
        out_TF[t] = 0
        for place in range(starts_T[t], starts_T[t + 1]):
            n = order_N[place]
            for f in range(out_TF.shape[1]):
                out_TF[t, f] += grad_NF[n, f]


@njit(nogil=True, error_model="numpy", cache=True)
def update(kind, table_RF, slots, rows_T, grad_TF, constants):
    """One step on the rows ``rows_T`` with their gradients, Eqs. (1)-(5)."""
    first_RF, second_RF, count_R = slots
    lr, beta1, beta2, eps, decay = constants
    for row in rows_T:
        count_R[row] += 1
    if decay > 0:
        kept = np.float32(1 - lr * decay)
        for row in rows_T:
            for f in range(table_RF.shape[1]):
                table_RF[row, f] *= kept
    if kind == ADAM:
        _adam(table_RF, first_RF, second_RF, count_R, rows_T, grad_TF, lr, beta1, beta2, eps)
    elif kind == ADAGRAD:
        _adagrad(table_RF, second_RF, rows_T, grad_TF, np.float32(lr), np.float32(eps))
    elif kind == MOMENTUM:
        _momentum(table_RF, first_RF, rows_T, grad_TF, np.float32(lr), np.float32(beta1))
    else:
        _sgd(table_RF, rows_T, grad_TF, np.float32(lr))


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _adam(table_RF, first_RF, second_RF, count_R, rows_T, grad_TF, lr, beta1, beta2, eps):
    b1, b2, e, one = np.float32(beta1), np.float32(beta2), np.float32(eps), np.float32(1)
    # β^n as exp(n ln β), in float64: n differs by row, which counts only the steps that touched it
    log1, log2 = np.log(beta1), np.log(beta2)
    for t in range(len(rows_T)):
        row = np.int64(rows_T[t])
        prefetch_later(table_RF, rows_T, t)
        prefetch_later(first_RF, rows_T, t)
        prefetch_later(second_RF, rows_T, t)
        rate = np.float32(lr / (1 - np.exp(count_R[row] * log1)))
        root = np.float32(1 / np.sqrt(1 - np.exp(count_R[row] * log2)))
        for f in range(table_RF.shape[1]):
            g = grad_TF[t, f]
            m = b1 * first_RF[row, f] + (one - b1) * g
            v = b2 * second_RF[row, f] + (one - b2) * g * g
            # in this order NaN stays NaN
            m = np.float32(0) if abs(m) < NORMAL else m
            v = np.float32(0) if v < NORMAL else v
            first_RF[row, f] = m
            second_RF[row, f] = v
            table_RF[row, f] -= rate * m / (np.sqrt(v) * root + e)


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _adagrad(table_RF, second_RF, rows_T, grad_TF, rate, eps):
    for t in range(len(rows_T)):
        row = np.int64(rows_T[t])
        prefetch_later(table_RF, rows_T, t)
        prefetch_later(second_RF, rows_T, t)
        for f in range(table_RF.shape[1]):
            g = grad_TF[t, f]
            v = second_RF[row, f] + g * g
            second_RF[row, f] = v
            table_RF[row, f] -= rate * g / (np.sqrt(v) + eps)


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _sgd(table_RF, rows_T, grad_TF, rate):
    for t in range(len(rows_T)):
        row = np.int64(rows_T[t])
        prefetch_later(table_RF, rows_T, t)
        for f in range(table_RF.shape[1]):
            table_RF[row, f] -= rate * grad_TF[t, f]


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _momentum(table_RF, first_RF, rows_T, grad_TF, rate, b1):
    for t in range(len(rows_T)):
        row = np.int64(rows_T[t])
        prefetch_later(table_RF, rows_T, t)
        prefetch_later(first_RF, rows_T, t)
        for f in range(table_RF.shape[1]):
            m = b1 * first_RF[row, f] + (np.float32(1) - b1) * grad_TF[t, f]
            m = np.float32(0) if abs(m) < NORMAL else m
            first_RF[row, f] = m
            table_RF[row, f] -= rate * m
