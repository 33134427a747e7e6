"""Numba kernel that solves all rows of a half step; equations in :mod:`landbridge.models.als.solver`.

One thread computes a row from the same numbers in the same order, so the result does not depend on the number
of threads. A negative weight is that of an entry whose target is 0 instead of 1. Letters: R rows, N events of
a row, F factors, C chunks of rows, B block. Gramians are built in register tiles of 4 × 4 dot products over
contiguous memory, which is half the work of a BLAS call because only the lower triangle is needed. Matrices
are padded to multiples of 4 with zero rows; their unit diagonal keeps the padded system regular and the
solution unchanged.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.prefetch_kernels import prefetch_first, prefetch_later
from landbridge.core.threads import over_rows

TILE = 4  # rows and columns of a tile whose 16 sums stay in registers
LAPACK = 24  # from this size on LAPACK's Cholesky beats the plain loop
BLOCK = 128  # events of a long row gathered at once: a block stays in the cache
STRIDE = BLOCK + 16  # no power of two: columns of the transposed block must not share a cache set


@over_rows
@njit(fastmath=FAST, nogil=True, cache=True)
def solve_rows(
    begin,
    end,
    offsets,
    columns,
    weight,
    rotated_IF,
    spectrum_F,
    ridge_R,
    pull_RF,
    start_RF,
    bounds_C,
    longest,
    long_from,
    steps_from,
    tolerance,
    out_RF,
):
    """Solve every row into ``out_RF``, rows ``bounds_C[c]:bounds_C[c + 1]`` per chunk.

    Rows below ``long_from`` events (at most ``longest``) use Eq. (3), the others Eq. (4): by Cholesky or,
    from ``steps_from`` events on, by conjugate gradients unless they fail.
    """
    n_factors = rotated_IF.shape[1]
    for chunk in range(begin, end):
        # scratch memory of a chunk, reused by its rows; TILE rows more for the padding
        scaled_NF = np.empty((longest + TILE, n_factors), np.float32)
        dual_N = np.empty(longest + TILE, np.float32)
        scale_F = np.empty(n_factors, np.float32)
        for row in range(bounds_C[chunk], bounds_C[chunk + 1]):
            columns_N = columns[offsets[row] : offsets[row + 1]]
            weight_N = weight[offsets[row] : offsets[row + 1]] if len(weight) else weight
            if row + 1 < bounds_C[chunk + 1]:
                prefetch_first(rotated_IF, columns[offsets[row + 1] : offsets[row + 2]])
            n, x_F = len(columns_N), out_RF[row]
            pulled = pull_RF.shape[0] > 0
            if n >= steps_from:
                for f in range(n_factors):
                    scale_F[f] = spectrum_F[f] + ridge_R[row]
                pull_F = pull_RF[row] if pulled else scale_F[:0]
                for f in range(n_factors):
                    x_F[f] = start_RF[row, f] if len(start_RF) else np.float32(0)
                if _solve_steps(columns_N, weight_N, rotated_IF, scale_F, pull_F, tolerance, x_F):
                    continue
            for f in range(n_factors):
                # D^(-1/2) on both sides makes every system the identity plus a positive semidefinite matrix
                # (for weights of 1): Cholesky is then safe in float32 however small the ridge is
                scale_F[f] = 1 / np.sqrt(spectrum_F[f] + ridge_R[row])
                x_F[f] = pull_RF[row, f] * scale_F[f] if pulled else np.float32(0)
            if n >= long_from:
                _solve_long(columns_N, weight_N, rotated_IF, scale_F, x_F)
            elif n > 0:
                _solve_short(columns_N, weight_N, rotated_IF, scale_F, x_F, scaled_NF, dual_N, pulled)
            for f in range(n_factors):
                x_F[f] *= scale_F[f]


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _solve_short(columns_N, weight_N, rotated_IF, root_F, x_F, scaled_NF, dual_N, pulled):
    """Eq. (3) in scaled coordinates: x += Sᵀ (W⁻¹ + SSᵀ)⁻¹ (1 - S x) with S = Y D^(-1/2)."""
    n, n_factors = len(columns_N), rotated_IF.shape[1]
    padded = -(-n // TILE) * TILE if n >= TILE else n
    for i in range(n):
        prefetch_later(rotated_IF, columns_N, i)
        y_F = rotated_IF[columns_N[i]]
        for f in range(n_factors):
            scaled_NF[i, f] = y_F[f] * root_F[f]
    # padding has the diagonal 1 and the right-hand side 0, so its solution is 0
    scaled_NF[n:padded] = 0
    kernel_NN = np.zeros((padded, padded), np.float32)
    _add_gramian(scaled_NF, padded, n_factors, kernel_NN)
    for i in range(padded):
        # W⁻¹ of Eq. (3), and 1 for padding
        kernel_NN[i, i] += 1 / abs(weight_N[i]) if i < n and len(weight_N) else np.float32(1)
        dual_N[i] = 1 if i < n and not (len(weight_N) and weight_N[i] < 0) else 0
        if pulled:
            dual_N[i] -= _dot(scaled_NF[i], x_F, n_factors)
    _solve_definite(kernel_NN, dual_N)
    for i in range(n):
        v = dual_N[i]
        for f in range(n_factors):
            x_F[f] += v * scaled_NF[i, f]


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _solve_long(columns_N, weight_N, rotated_IF, root_F, x_F):
    """Eq. (4) in scaled coordinates: (I + SᵀWS) x = x + SᵀW1, Cholesky on blocked Gramians."""
    n, n_factors = len(columns_N), rotated_IF.shape[1]
    padded = -(-n_factors // TILE) * TILE
    block_FB = np.zeros((padded, STRIDE), np.float32)
    system_FF = np.eye(padded, dtype=np.float32)
    right_F = np.zeros(padded, np.float32)
    # loops: for an assignment of a slice numba compiles the words of its error, too
    for f in range(n_factors):
        right_F[f] = x_F[f]
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        for i in range(size):
            prefetch_later(rotated_IF, columns_N, start + i)
            # the root on both factors keeps the Gramian symmetric: only its lower triangle is computed
            root_w = np.sqrt(abs(weight_N[start + i])) if len(weight_N) else np.float32(1)
            right_w = np.float32(0) if len(weight_N) and weight_N[start + i] < 0 else root_w
            y_F = rotated_IF[columns_N[start + i]]
            for f in range(n_factors):
                value = root_w * y_F[f] * root_F[f]
                block_FB[f, i] = value
                right_F[f] += right_w * value
        _add_gramian(block_FB, padded, size, system_FF)
    _solve_definite(system_FF, right_F)
    for f in range(n_factors):
        x_F[f] = right_F[f]


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _solve_steps(columns_N, weight_N, rotated_IF, diagonal_F, pull_F, tolerance, x_F):
    """Eq. (4) by conjugate gradients from ``x_F``, preconditioned by M = D + diag(Y_SᵀWY_S).

    Ends when rᵀM⁻¹r ≤ tolerance² bᵀM⁻¹b. Returns whether F/4 steps were enough.
    """
    n_factors = rotated_IF.shape[1]
    right_F, precond_F = np.zeros(n_factors, np.float32), diagonal_F.copy()
    product_F = np.empty(n_factors, np.float32)
    _begin(columns_N, weight_N, rotated_IF, diagonal_F, x_F, right_F, precond_F, product_F)
    residual_F, along_F = np.empty(n_factors, np.float32), np.empty(n_factors, np.float32)
    for f in range(n_factors):
        right_F[f] += pull_F[f] if len(pull_F) else np.float32(0)
        precond_F[f] = 1 / precond_F[f]
        residual_F[f] = right_F[f] - product_F[f]
        along_F[f] = residual_F[f] * precond_F[f]
    # a loop of its own: beside a store, LLVM would choose the order of these sums by memory addresses
    goal = left = np.float32(0)
    for f in range(n_factors):
        goal += right_F[f] * right_F[f] * precond_F[f]
        left += residual_F[f] * along_F[f]
    goal *= tolerance * tolerance
    # exact arithmetic needs at most F steps; a quarter is left to well-conditioned rows, Cholesky does the
    # others
    for _ in range(n_factors // 4):
        # before the step: a warm start is often good enough already
        if left <= goal:
            return True
        _multiply(columns_N, weight_N, rotated_IF, diagonal_F, along_F, product_F)
        length = left / _dot(along_F, product_F, n_factors)
        for f in range(n_factors):
            x_F[f] += length * along_F[f]
            residual_F[f] -= length * product_F[f]
        before, left = left, np.float32(0)
        for f in range(n_factors):
            left += residual_F[f] * residual_F[f] * precond_F[f]
        for f in range(n_factors):
            along_F[f] = residual_F[f] * precond_F[f] + left / before * along_F[f]
    return left <= goal


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _begin(columns_N, weight_N, rotated_IF, diagonal_F, x_F, right_F, precond_F, product_F):
    """Adds Y_SᵀW1 and diag(Y_SᵀWY_S), and the product of Eq. (4) with x: all that needs one pass of the rows.

    The rows come from memory here, and from the cache in the passes that follow. Two events at a time, as a
    sweep is up to a quarter longer with one.
    """
    n, n_factors = len(columns_N), rotated_IF.shape[1]
    for f in range(n_factors):
        product_F[f] = diagonal_F[f] * x_F[f]
    for i in range(0, n - 1, 2):
        prefetch_later(rotated_IF, columns_N, i)
        prefetch_later(rotated_IF, columns_N, i + 1)
        a_F, b_F = rotated_IF[columns_N[i]], rotated_IF[columns_N[i + 1]]
        a = b = np.float32(0)
        for f in range(n_factors):
            a += a_F[f] * x_F[f]
            b += b_F[f] * x_F[f]
        v = w = right_v = right_w = np.float32(1)
        if len(weight_N):
            v, w = abs(weight_N[i]), abs(weight_N[i + 1])
            right_v = max(weight_N[i], np.float32(0))  # a negative weight is of a target of 0
            right_w = max(weight_N[i + 1], np.float32(0))
            a, b = a * v, b * w
        for f in range(n_factors):
            right_F[f] += right_v * a_F[f] + right_w * b_F[f]
            precond_F[f] += v * a_F[f] * a_F[f] + w * b_F[f] * b_F[f]
            product_F[f] += a * a_F[f] + b * b_F[f]
    for i in range(n - n % 2, n):
        a_F = rotated_IF[columns_N[i]]
        w = abs(weight_N[i]) if len(weight_N) else np.float32(1)
        right_w = max(weight_N[i], np.float32(0)) if len(weight_N) else np.float32(1)
        a = _dot(a_F, x_F, n_factors) * w
        for f in range(n_factors):
            right_F[f] += right_w * a_F[f]
            precond_F[f] += w * a_F[f] * a_F[f]
            product_F[f] += a * a_F[f]


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _multiply(columns_N, weight_N, rotated_IF, diagonal_F, p_F, product_F):
    """(D + Y_SᵀWY_S) p, four entries at a time, each row read once from memory."""
    n, n_factors = len(columns_N), rotated_IF.shape[1]
    for f in range(n_factors):
        product_F[f] = diagonal_F[f] * p_F[f]
    for i in range(0, n - 3, 4):
        a_F, b_F = rotated_IF[columns_N[i]], rotated_IF[columns_N[i + 1]]
        c_F, d_F = rotated_IF[columns_N[i + 2]], rotated_IF[columns_N[i + 3]]
        a = b = c = d = np.float32(0)
        for f in range(n_factors):
            a += a_F[f] * p_F[f]
            b += b_F[f] * p_F[f]
            c += c_F[f] * p_F[f]
            d += d_F[f] * p_F[f]
        if len(weight_N):
            a, b = a * abs(weight_N[i]), b * abs(weight_N[i + 1])
            c, d = c * abs(weight_N[i + 2]), d * abs(weight_N[i + 3])
        for f in range(n_factors):
            product_F[f] += a * a_F[f] + b * b_F[f] + c * c_F[f] + d * d_F[f]
    for i in range(n - n % 4, n):
        a_F = rotated_IF[columns_N[i]]
        a = _dot(a_F, p_F, n_factors) * (abs(weight_N[i]) if len(weight_N) else np.float32(1))
        for f in range(n_factors):
            product_F[f] += a * a_F[f]


@njit(fastmath=FAST, nogil=True, cache=True)
def _dot(a_F, b_F, size):
    total = np.float32(0)
    for f in range(size):
        total += a_F[f] * b_F[f]
    return total


@njit(fastmath=FAST, nogil=True, cache=True)
def _add_gramian(a_NF, n, size, out_NN):
    """out += A Aᵀ for the first ``n`` rows and ``size`` columns, lower triangle of tiles."""
    if n < TILE:
        for i in range(n):
            for j in range(i + 1):
                out_NN[i, j] += _dot(a_NF[i], a_NF[j], size)
        return
    for i in range(0, n, TILE):
        for j in range(0, i + 1, TILE):
            _add_tile(a_NF, i, j, size, out_NN)


@njit(fastmath=FAST, nogil=True, cache=True)
def _add_tile(a_NF, i, j, size, out_NN):
    """Sixteen dot products at once: eight loads serve sixteen multiply-adds."""
    a0, a1, a2, a3 = a_NF[i], a_NF[i + 1], a_NF[i + 2], a_NF[i + 3]
    b0, b1, b2, b3 = a_NF[j], a_NF[j + 1], a_NF[j + 2], a_NF[j + 3]
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = np.float32(0)
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0)
    for f in range(size):
        s00 += a0[f] * b0[f]
        s01 += a0[f] * b1[f]
        s02 += a0[f] * b2[f]
        s03 += a0[f] * b3[f]
        s10 += a1[f] * b0[f]
        s11 += a1[f] * b1[f]
        s12 += a1[f] * b2[f]
        s13 += a1[f] * b3[f]
        s20 += a2[f] * b0[f]
        s21 += a2[f] * b1[f]
        s22 += a2[f] * b2[f]
        s23 += a2[f] * b3[f]
        s30 += a3[f] * b0[f]
        s31 += a3[f] * b1[f]
        s32 += a3[f] * b2[f]
        s33 += a3[f] * b3[f]
    sums = ((s00, s01, s02, s03), (s10, s11, s12, s13), (s20, s21, s22, s23), (s30, s31, s32, s33))
    for r, (w, x, y, z) in enumerate(sums):
        out_NN[i + r, j] += w
        out_NN[i + r, j + 1] += x
        out_NN[i + r, j + 2] += y
        out_NN[i + r, j + 3] += z


@njit(fastmath=FAST, nogil=True, cache=True)
def _solve_definite(kernel_NN, b_N):
    """b <- K⁻¹ b by Cholesky, from the lower triangle of K, which is overwritten."""
    n = len(kernel_NN)
    if n >= LAPACK:
        _substitute(np.linalg.cholesky(kernel_NN), b_N, n)
        return
    for i in range(n):
        for j in range(i):
            kernel_NN[i, j] = (kernel_NN[i, j] - _dot(kernel_NN[i], kernel_NN[j], j)) / kernel_NN[j, j]
        kernel_NN[i, i] = np.sqrt(kernel_NN[i, i] - _dot(kernel_NN[i], kernel_NN[i], i))
    _substitute(kernel_NN, b_N, n)


@njit(fastmath=FAST, nogil=True, cache=True)
def _substitute(lower_NN, b_N, n):
    """b <- (L Lᵀ)⁻¹ b, both passes along rows of L."""
    for i in range(n):
        b_N[i] = (b_N[i] - _dot(lower_NN[i], b_N, i)) / lower_NN[i, i]
    for i in range(n - 1, -1, -1):
        b_N[i] /= lower_NN[i, i]
        value = b_N[i]
        for j in range(i):
            b_N[j] -= lower_NN[i, j] * value
