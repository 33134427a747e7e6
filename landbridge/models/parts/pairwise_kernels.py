"""Pairwise learning as one numba loop; equations in :mod:`landbridge.models.parts.pairwise`.

Rows R are the users, then the items, in one table. A batch is a (3, B) index: user, positive and negative
row of each pair; seen flat, entry e of 3B is in role e // B of pair e % B. Every row's gradient is summed
by one thread in the order of the batch, so the result does not depend on the number of threads. N pairs of
an epoch, B of a batch, T rows that the batch touches, F factors, C chunks of rows.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from landbridge.data.batch_kernels import drawn, negative
from landbridge.training.row_kernels import group, step_row, update

FAST = {"reassoc", "contract", "nsz", "arcp"}  # lets loops use vector units; NaN stays NaN


@njit(nogil=True, cache=True)
def descend(
    table_RF,
    first_RF,
    second_RF,
    count_R,
    index_3N,
    weight_N,
    size,
    graph,
    layers,
    reg,
    kind,
    lr,
    beta1,
    beta2,
    eps,
    loss_N,
):
    """One epoch in batches of ``size``, in place; losses of the pairs, Eq. (1), go into ``loss_N``.

    With ``layers`` the scores are those of the propagated rows, Eq. (3), and every row is updated. Ends
    early where a loss is no finite number, and gives the number of steps done.
    """
    n_rows, n_factors = table_RF.shape
    n_pairs = index_3N.shape[1]
    size = max(min(size, n_pairs), 1)
    spread = layers > 0
    room = min(3 * size, n_rows)
    place_R = np.full(n_rows, -1, np.int32)
    rows_T, starts_T = np.empty(room, np.int32), np.empty(room + 2, np.int64)
    index_E, order_E = np.empty(3 * size, np.int32), np.empty(3 * size, np.int64)
    coef_B = np.empty(size, np.float32)
    grad_TF = np.empty((room, n_factors), np.float32)
    everyone_R = np.arange(n_rows).astype(np.int32)
    full_RF = np.empty((n_rows if spread else 0, n_factors), np.float32)
    final_RF, spare_RF = np.empty_like(full_RF), np.empty_like(full_RF)
    steps = 0
    for start in range(0, n_pairs, size):
        b = min(size, n_pairs - start)
        for role in range(3):
            index_E[role * b : (role + 1) * b] = index_3N[role, start : start + b]
        batch_E, loss_B = index_E[: 3 * b], loss_N[start : start + b]
        weight_B = weight_N[start : start + b] if len(weight_N) else weight_N
        if spread:
            propagate(graph, table_RF, layers, final_RF, spare_RF)
        scored_RF = final_RF if spread else table_RF
        touched = group(batch_E, place_R, rows_T, starts_T, order_E)
        coefficients(scored_RF, batch_E, weight_B, coef_B, loss_B)
        if not np.all(np.isfinite(loss_B)):
            return steps
        gradients(scored_RF, batch_E, coef_B, starts_T, order_E, rows_T, touched, grad_TF)
        if spread:
            full_RF[:] = 0
            for t in range(touched):
                full_RF[rows_T[t]] = grad_TF[t]
            propagate(graph, full_RF, layers, final_RF, spare_RF)  # symmetric: backward is forward
            add_decay(table_RF, rows_T, starts_T, touched, reg, final_RF, True)
            update(
                kind,
                table_RF,
                first_RF,
                second_RF,
                count_R,
                everyone_R,
                n_rows,
                final_RF,
                lr,
                beta1,
                beta2,
                eps,
            )
        else:
            add_decay(table_RF, rows_T, starts_T, touched, reg, grad_TF, False)
            update(
                kind,
                table_RF,
                first_RF,
                second_RF,
                count_R,
                rows_T,
                touched,
                grad_TF,
                lr,
                beta1,
                beta2,
                eps,
            )
        steps += 1
    return steps


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def coefficients(table_RF, index_E, weight_B, coef_B, loss_B):
    """Each pair's loss, and its derivative by the difference of the two scores."""
    size, n_factors = len(loss_B), table_RF.shape[1]
    for b in prange(size):
        user, positive, other = index_E[b], index_E[size + b], index_E[2 * size + b]
        x = np.float32(0)
        for f in range(n_factors):
            x += table_RF[user, f] * (table_RF[positive, f] - table_RF[other, f])
        w = weight_B[b] if len(weight_B) else np.float32(1)
        loss_B[b] = w * (max(-x, np.float32(0)) + np.log1p(np.exp(-abs(x))))  # Eq. (1)
        coef_B[b] = -w / (1 + np.exp(x)) if x > -80 else -w  # Eq. (2)


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def gradients(table_RF, index_E, coef_B, starts_T, order_E, rows_T, touched, grad_TF):
    """The sum over the batch of every touched row's gradients, Eq. (2), without decay."""
    size, n_factors = len(index_E) // 3, table_RF.shape[1]
    for t in prange(touched):
        g_F = grad_TF[t]
        g_F[:] = 0
        for place in range(starts_T[t], starts_T[t + 1]):
            entry = order_E[place]
            b = entry % size
            c = coef_B[b]
            if entry < size:
                positive_F, other_F = table_RF[index_E[size + b]], table_RF[index_E[2 * size + b]]
                for f in range(n_factors):
                    g_F[f] += c * (positive_F[f] - other_F[f])
            else:
                user_F = table_RF[index_E[b]]
                c = c if entry < 2 * size else -c
                for f in range(n_factors):
                    g_F[f] += c * user_F[f]


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def add_decay(table_RF, rows_T, starts_T, touched, reg, grad_RF, whole):
    """λ times a row for every time the batch has it; ``whole``: the gradients are those of all rows."""
    for t in prange(touched):
        row = rows_T[t]
        place = np.int64(row) if whole else np.int64(t)
        scale = np.float32(reg * (starts_T[t + 1] - starts_T[t]))
        for f in range(table_RF.shape[1]):
            grad_RF[place, f] += scale * table_RF[row, f]


@njit(nogil=True, cache=True)
def propagate(graph, rows_RF, layers, out_RF, spare_RF):
    """The mean of AᵏX over k = 0 … layers, by Horner's rule, Eq. (3); ``spare_RF`` is overwritten."""
    share = np.float32(1 / (layers + 1))
    last = rows_RF
    for layer in range(layers):
        into = out_RF if (layers - layer) % 2 else spare_RF
        factor = share if layer == layers - 1 else np.float32(1)
        _product(graph, last, rows_RF, factor, into)
        last = into


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def _product(graph, last_RF, rows_RF, factor, out_RF):
    """factor · (X + D^(-½) A D^(-½) L), four neighbours at a time."""
    offsets, columns, scale_R, bounds_C = graph
    n_factors = rows_RF.shape[1]
    for chunk in prange(len(bounds_C) - 1):
        for row in range(bounds_C[chunk], bounds_C[chunk + 1]):
            out_F = out_RF[row]
            for f in range(n_factors):
                out_F[f] = 0
            place, end = offsets[row], offsets[row + 1]
            while place + 4 <= end:
                c0, c1, c2, c3 = (
                    columns[place],
                    columns[place + 1],
                    columns[place + 2],
                    columns[place + 3],
                )
                s0, s1, s2, s3 = scale_R[c0], scale_R[c1], scale_R[c2], scale_R[c3]
                a_F, b_F, c_F, d_F = last_RF[c0], last_RF[c1], last_RF[c2], last_RF[c3]
                for f in range(n_factors):
                    out_F[f] += s0 * a_F[f] + s1 * b_F[f] + s2 * c_F[f] + s3 * d_F[f]
                place += 4
            for rest in range(place, end):
                s, a_F = scale_R[columns[rest]], last_RF[columns[rest]]
                for f in range(n_factors):
                    out_F[f] += s * a_F[f]
            own = scale_R[row]
            for f in range(n_factors):
                out_F[f] = factor * (rows_RF[row, f] + own * out_F[f])


@njit(parallel=True, nogil=True, cache=True)
def fold_rows(
    item_IF,
    offsets,
    columns,
    weight,
    starts_D,
    pool_M,
    pool_starts_D,
    passes,
    reg,
    kind,
    lr,
    beta1,
    beta2,
    eps,
    out_BF,
):
    """Rows learned from their events alone at fixed items, one step per event and pass, from zero."""
    for row in prange(len(out_BF)):
        own_N = columns[offsets[row] : offsets[row + 1]]
        first_F, second_F = np.zeros_like(out_BF[row]), np.zeros_like(out_BF[row])
        for step in range(passes * len(own_N)):
            n = drawn(np.uint64(0), step, 0, len(own_N))
            domain = np.searchsorted(starts_D, own_N[n], side="right") - 1
            low, high = starts_D[domain], starts_D[domain + 1]
            if np.searchsorted(own_N, high) - np.searchsorted(own_N, low) == high - low:
                continue
            other = negative(
                np.uint64(1), step, own_N, low, high, pool_M, pool_starts_D[domain], pool_starts_D[domain + 1]
            )
            w = weight[offsets[row] + n] if len(weight) else np.float32(1)
            g_F = _own_gradient(out_BF[row], item_IF[own_N[n]], item_IF[other], w, reg)
            step_row(kind, out_BF[row], first_F, second_F, step, g_F, lr, beta1, beta2, eps)


@njit(fastmath=FAST, nogil=True, cache=True)
def _own_gradient(x_F, positive_F, other_F, weight, reg):
    """The user's gradient of one pair, Eq. (2)."""
    difference_F = positive_F - other_F
    x = np.float32(0)
    for f in range(len(x_F)):
        x += x_F[f] * difference_F[f]
    c = np.float32(-weight / (1 + np.exp(x)) if x > -80 else -weight)
    return c * difference_F + np.float32(reg) * x_F
