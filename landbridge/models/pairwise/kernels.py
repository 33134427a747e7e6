"""Numba kernels of pairwise training; equations in :mod:`landbridge.models.pairwise.table`.

The R rows of the table are the users, then the items. A batch is a (3, B) index: user, positive and negative
row of each pair; in the flat index, entry e of 3B has role e // B in pair e % B. One thread sums the gradient
of a row in the order of the batch, so the result does not depend on the number of threads. N pairs of an
epoch, B of a batch, T rows that the batch touches, F factors in P parts of L columns, C chunks of rows.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from landbridge.core.fast_math import FAST
from landbridge.core.prefetch_kernels import AHEAD, prefetch_later, prefetch_row
from landbridge.core.threads import over_rows
from landbridge.data.sampling.kernels import drawn, negative
from landbridge.training.optimizer_kernels import group, update

LANES = 64  # columns of a product at once: four vectors of 16


@njit(nogil=True, error_model="numpy", cache=True)
def descend(
    table_RF, slots, index_3N, weight_N, size, graph, layers, reg, reg_power, kind, constants, loss_N
):
    """Train one epoch in place, in batches of ``size``; the losses of the pairs, Eq. (1), go into ``loss_N``.

    With ``layers`` the scores are those of the propagated embeddings, Eq. (3), and every row is updated.
    Training stops at a loss that is not finite. Returns the number of steps done.
    """
    n_rows, n_factors = table_RF.shape
    n_pairs = index_3N.shape[1]
    # buffers are for one batch, which can be smaller than a table is large
    size = max(min(size, n_pairs), 1)
    room = min(3 * size, n_rows)
    place_R = np.full(n_rows, -1, np.int32)
    rows_T, starts_T = np.empty(room, np.int32), np.empty(room + 2, np.int64)
    index_E, order_E = np.empty(3 * size, np.int32), np.empty(3 * size, np.int64)
    coef_B = np.empty(size, np.float32)
    grad_TF = np.empty((room, n_factors), np.float32)
    full_RF = np.zeros((n_rows if layers else 0, n_factors), np.float32)
    final_RF, spare_RF = np.empty_like(full_RF), np.empty_like(full_RF)
    all_rows_R = np.arange(n_rows).astype(np.int32)
    for step, start in enumerate(range(0, n_pairs, size)):
        b = min(size, n_pairs - start)
        for role in range(3):
            index_E[role * b : (role + 1) * b] = index_3N[role, start : start + b]
        batch_E, loss_B = index_E[: 3 * b], loss_N[start : start + b]
        weight_B = weight_N[start : start + b] if len(weight_N) else weight_N
        touched = group(batch_E, place_R, rows_T, starts_T, order_E)
        if layers:
            propagate(graph, table_RF, layers, final_RF, spare_RF)
        scored_RF = final_RF if layers else table_RF
        users = _user_gradients(
            scored_RF, batch_E, weight_B, starts_T, order_E, rows_T, coef_B, loss_B, grad_TF
        )
        if not np.all(np.isfinite(loss_B)):
            return step
        _item_gradients(scored_RF, batch_E, coef_B, starts_T, order_E, users, touched, grad_TF)
        if layers:
            for t in range(touched):
                full_RF[rows_T[t]] = grad_TF[t]
            propagate(graph, full_RF, layers, final_RF, spare_RF)  # symmetric: backward is forward
            for t in range(touched):
                # only the touched rows are cleared: clearing all would cost a pass over the table per step
                full_RF[rows_T[t]] = 0
                grad_TF[t] = final_RF[rows_T[t]]
        _add_penalty(table_RF, rows_T, starts_T, touched, np.float32(reg), reg_power, grad_TF)
        if layers:
            for t in range(touched):
                final_RF[rows_T[t]] = grad_TF[t]
            _update_all(kind, table_RF, slots, all_rows_R, final_RF, constants, graph[3])
        else:
            update(kind, table_RF, slots, rows_T[:touched], grad_TF, constants)
    return len(range(0, n_pairs, size))


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _user_gradients(table_RF, index_E, weight_B, starts_T, order_E, rows_T, coef_B, loss_B, grad_TF):
    """Losses, their derivatives by x, and the gradients of users without penalty; Eqs. (1), (2).

    Users are the first rows that a batch touches. Returns their number.
    """
    size, n_factors = len(loss_B), table_RF.shape[1]
    difference_F = np.empty(n_factors, np.float32)
    t = done = 0
    while done < size:
        user = np.int64(rows_T[t])
        prefetch_later(table_RF, rows_T, t)
        for f in range(n_factors):
            grad_TF[t, f] = 0
        for place in range(done, starts_T[t + 1]):
            if place + AHEAD < size:
                later = order_E[place + AHEAD]
                prefetch_row(table_RF, index_E[size + later])
                prefetch_row(table_RF, index_E[2 * size + later])
            b = order_E[place]
            positive, other = np.int64(index_E[size + b]), np.int64(index_E[2 * size + b])
            for f in range(n_factors):
                difference_F[f] = table_RF[positive, f] - table_RF[other, f]
            # a loop of its own: beside a store, LLVM would choose the order of this sum by memory addresses
            x = np.float32(0)
            for f in range(n_factors):
                x += table_RF[user, f] * difference_F[f]
            loss_B[b], c = _pair_loss(x, weight_B[b] if len(weight_B) else np.float32(1))
            coef_B[b] = c
            for f in range(n_factors):
                grad_TF[t, f] += c * difference_F[f]
        done = starts_T[t + 1]
        t += 1
    return t


@njit(nogil=True, error_model="numpy", cache=True)
def _pair_loss(x, weight):
    """-w ln σ(x) and its derivative by x, Eqs. (1), (2), computed from e^(-|x|), which cannot overflow."""
    small = np.exp(-abs(x))
    loss = weight * (max(-x, np.float32(0)) + np.log1p(small))
    return loss, -weight * (small if x > 0 else np.float32(1)) / (1 + small)


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _item_gradients(table_RF, index_E, coef_B, starts_T, order_E, users, touched, grad_TF):
    """The gradients of items without penalty, Eq. (2), each from the entries in which the item occurs."""
    size, n_factors = len(index_E) // 3, table_RF.shape[1]
    for t in range(users, touched):
        for f in range(n_factors):
            grad_TF[t, f] = 0
        for place in range(starts_T[t], starts_T[t + 1]):
            entry = order_E[place]
            # a batch's index holds its users, then its positives, then its negatives
            b = entry - size if entry < 2 * size else entry - 2 * size
            c = coef_B[b] if entry < 2 * size else -coef_B[b]
            user = np.int64(index_E[b])
            for f in range(n_factors):
                grad_TF[t, f] += c * table_RF[user, f]


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _add_penalty(table_RF, rows_T, starts_T, touched, reg, reg_power, grad_TF):
    """Add the gradient of the penalty: λ times a row for every time it occurs in the batch."""
    for t in range(touched):
        row, scale = np.int64(rows_T[t]), reg * np.float32(starts_T[t + 1] - starts_T[t])
        if reg_power == 1:
            scale *= _one_over_norm(table_RF[row])
        for f in range(table_RF.shape[1]):
            grad_TF[t, f] += scale * table_RF[row, f]


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _one_over_norm(x_F):
    """1/‖x‖, and 0 for the zero row, at which the norm has no gradient."""
    square = np.float32(0)
    for f in range(len(x_F)):
        square += x_F[f] * x_F[f]
    return np.float32(1) / np.sqrt(square) if square > 0 else np.float32(0)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def _update_all(kind, table_RF, slots, all_rows_R, grad_RF, constants, bounds_C):
    """One optimiser step on every row; one thread takes a row."""
    for chunk in prange(len(bounds_C) - 1):
        begin, end = bounds_C[chunk], bounds_C[chunk + 1]
        update(kind, table_RF, slots, all_rows_R[begin:end], grad_RF[begin:end], constants)


@njit(nogil=True, error_model="numpy", cache=True)
def propagate(graph, rows_RF, layers, out_RF, spare_RF):
    """The mean of AᵏX over k = 0 … layers, by Horner's rule, Eq. (3); ``spare_RF`` is overwritten.

    Rows are multiplied by D^(-½) between the products, so that the inner loop of a product is a plain sum.
    """
    last_RF = spare_RF if layers % 2 else out_RF
    _scale(graph[2], rows_RF, last_RF)
    for layer in range(layers):
        into_RF = spare_RF if (layers - layer) % 2 == 0 else out_RF
        share = np.float32(1 / (layers + 1) if layer == layers - 1 else 0)
        _product(graph, last_RF, rows_RF, share, into_RF)
        last_RF = into_RF


@njit(parallel=True, fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _scale(scale_R, rows_RF, out_RF):
    """D^(-½) X."""
    for row in prange(len(rows_RF)):
        for f in range(rows_RF.shape[1]):
            out_RF[row, f] = scale_R[row] * rows_RF[row, f]


@njit(parallel=True, fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def _product(graph, last_RF, rows_RF, share, out_RF):
    """X + D^(-½) A Y for the last layer's Y; times D^(-½) for the next, or ``share`` > 0 in the last."""
    offsets, columns, scale_R, bounds_C = graph
    n_rows, n_factors = rows_RF.shape
    width = LANES if n_factors % LANES == 0 else n_factors
    shape = n_rows, n_factors // width, width
    last_RPL, out_RPL = last_RF.reshape(shape), out_RF.reshape(shape)
    for chunk in prange(len(bounds_C) - 1):
        for row in range(bounds_C[chunk], bounds_C[chunk + 1]):
            begin, end = offsets[row], offsets[row + 1]
            for part in range(n_factors // width):
                if width == LANES:
                    _add_neighbours(columns, begin, end, last_RPL, part, LANES, out_RPL, row)
                else:
                    _add_neighbours(columns, begin, end, last_RPL, part, width, out_RPL, row)
            own = scale_R[row]
            factor = share if share > 0 else own
            for f in range(n_factors):
                out_RF[row, f] = factor * (rows_RF[row, f] + own * out_RF[row, f])


@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True, inline="always")
def _add_neighbours(columns, begin, end, last_RPL, part, width, out_RPL, row):
    """The sum of the neighbours' rows, four at a time, in one part of the columns.

    Inlined with a constant width, the loops over columns become straight vector code. Indices are unsigned,
    because a check for negative indices would prevent that.
    """
    row, part, width = np.uint64(row), np.uint64(part), np.uint64(width)
    for f in range(width):
        out_RPL[row, part, f] = 0
    whole = end - (end - begin) % 4
    for place in range(begin, whole, 4):
        a, b = np.uint64(columns[place]), np.uint64(columns[place + 1])
        c, d = np.uint64(columns[place + 2]), np.uint64(columns[place + 3])
        for f in range(width):
            out_RPL[row, part, f] += (
                last_RPL[a, part, f] + last_RPL[b, part, f] + last_RPL[c, part, f] + last_RPL[d, part, f]
            )
    for place in range(whole, end):
        a = np.uint64(columns[place])
        for f in range(width):
            out_RPL[row, part, f] += last_RPL[a, part, f]


@over_rows
@njit(fastmath=FAST, nogil=True, error_model="numpy", cache=True)
def fold_rows(
    begin, end, item_IF, offsets, columns, weight, ranges, passes, reg, reg_power, kind, constants, out_BF
):
    """Fold-in: embeddings trained from zero at fixed items, one step per event and pass."""
    starts_D, pool_M, pool_starts_D = ranges
    for row in range(begin, end):
        own_N = columns[offsets[row] : offsets[row + 1]]
        n_factors, zero_1 = out_BF.shape[1], np.zeros(1, np.int32)
        x_1F, g_1F = np.zeros((1, n_factors), np.float32), np.zeros((1, n_factors), np.float32)
        slots = np.zeros_like(x_1F), np.zeros_like(x_1F), np.zeros(1, np.int32)
        for step in range(passes * len(own_N)):
            # constant keys: the same events give the same embedding, alone or in a batch
            n = drawn(np.uint64(0), step, 0, len(own_N))
            domain = np.searchsorted(starts_D, own_N[n], side="right") - 1
            low, high = starts_D[domain], starts_D[domain + 1]
            # a user who has every item of the domain has no negative in it
            if np.searchsorted(own_N, high) - np.searchsorted(own_N, low) == high - low:
                continue
            other = negative(
                np.uint64(1), step, own_N, low, high, pool_M, pool_starts_D[domain], pool_starts_D[domain + 1]
            )
            x, positive = np.float32(0), np.int64(own_N[n])
            for f in range(n_factors):
                x += x_1F[0, f] * (item_IF[positive, f] - item_IF[other, f])
            _, c = _pair_loss(x, weight[offsets[row] + n] if len(weight) else np.float32(1))
            scale = np.float32(reg) * (_one_over_norm(x_1F[0]) if reg_power == 1 else np.float32(1))
            for f in range(n_factors):
                g_1F[0, f] = c * (item_IF[positive, f] - item_IF[other, f]) + scale * x_1F[0, f]
            update(kind, x_1F, slots, zero_1, g_1F, constants)
        out_BF[row] = x_1F[0]
