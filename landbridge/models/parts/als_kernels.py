"""The row solves of implicit ALS as one numba kernel; equations in :mod:`landbridge.models.parts.als`.

Every row is computed by one thread from the same numbers in the same order, so the result does not
depend on the number of threads. Letters: R rows, N entries of a row, F factors, C chunks of rows.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

FAST = {"reassoc", "contract", "nsz", "arcp"}  # lets dot products use vector units; NaN stays NaN
TILE = 16  # from here on a row's kernel matrix is worth a call of BLAS
BLOCK = 256  # entries of a long row gathered at once


@njit(parallel=True, fastmath=FAST, nogil=True, cache=True)
def solve_rows(
    offsets, columns, weight, rotated_IF, spectrum_F, ridge_R, pull_RF, bounds_C, longest, long_from, out_RF
):
    """Solve Eq. (3) for every row into ``out_RF``, rows ``bounds_C[c]:bounds_C[c + 1]`` per chunk.

    ``longest``: entries of the longest row below ``long_from``, from which on Eq. (4) is used.
    """
    n_factors = rotated_IF.shape[1]
    for chunk in prange(len(bounds_C) - 1):
        scaled_NF = np.empty((longest, n_factors), np.float32)
        kernel_NN = np.empty((longest, longest), np.float32)
        dual_N = np.empty(longest, np.float32)
        root_F = np.empty(n_factors, np.float32)
        for row in range(bounds_C[chunk], bounds_C[chunk + 1]):
            start, stop = offsets[row], offsets[row + 1]
            x_F = out_RF[row]
            pulled = pull_RF.shape[0] > 0
            for f in range(n_factors):
                root_F[f] = 1 / np.sqrt(spectrum_F[f] + ridge_R[row])
                x_F[f] = pull_RF[row, f] * root_F[f] if pulled else np.float32(0)
            weight_N = weight[start:stop] if len(weight) else weight
            if stop - start >= long_from:
                _solve_long(columns[start:stop], weight_N, rotated_IF, root_F, x_F)
            elif stop > start:
                _solve_short(
                    columns[start:stop],
                    weight_N,
                    rotated_IF,
                    root_F,
                    x_F,
                    scaled_NF,
                    kernel_NN,
                    dual_N,
                    pulled,
                )
            for f in range(n_factors):
                x_F[f] *= root_F[f]


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _solve_short(columns_N, weight_N, rotated_IF, root_F, x_F, scaled_NF, kernel_NN, dual_N, pulled):
    """Eq. (3) in scaled coordinates: x += Sᵀ (W⁻¹ + SSᵀ)⁻¹ (1 - S x) with S = Y D^(-1/2)."""
    n, n_factors = len(columns_N), rotated_IF.shape[1]
    for i in range(n):
        y_F = rotated_IF[columns_N[i]]
        for f in range(n_factors):
            scaled_NF[i, f] = y_F[f] * root_F[f]
    _gram_rows(scaled_NF, n, kernel_NN)
    for i in range(n):
        kernel_NN[i, i] += 1 / weight_N[i] if len(weight_N) else np.float32(1)
        dual_N[i] = 1
        if pulled:
            dual_N[i] -= _dot(scaled_NF[i], x_F, n_factors)
    _cholesky(kernel_NN, n)
    _substitute(kernel_NN, dual_N, n)
    for i in range(n):
        v = dual_N[i]
        for f in range(n_factors):
            x_F[f] += v * scaled_NF[i, f]


@njit(fastmath=FAST, nogil=True, cache=True, inline="never")
def _solve_long(columns_N, weight_N, rotated_IF, root_F, x_F):
    """Eq. (4) in scaled coordinates: (I + SᵀWS) x = x + SᵀW1, Cholesky on blocked Gramians."""
    n, n_factors = len(columns_N), rotated_IF.shape[1]
    block_BF = np.empty((BLOCK, n_factors), np.float32)
    system_FF = np.eye(n_factors, dtype=np.float32)
    part_FF = np.empty((n_factors, n_factors), np.float32)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        for i in range(size):
            w = weight_N[start + i] if len(weight_N) else np.float32(1)
            root_w = np.sqrt(w)
            y_F = rotated_IF[columns_N[start + i]]
            for f in range(n_factors):
                block_BF[i, f] = root_w * y_F[f] * root_F[f]
                x_F[f] += root_w * block_BF[i, f]
        np.dot(block_BF[:size].T, block_BF[:size], part_FF)
        system_FF += part_FF
    lower_FF = np.linalg.cholesky(system_FF)
    _substitute(lower_FF, x_F, n_factors)


@njit(fastmath=FAST, nogil=True, cache=True)
def _dot(a_F, b_F, size):
    total = np.float32(0)
    for f in range(size):
        total += a_F[f] * b_F[f]
    return total


@njit(fastmath=FAST, nogil=True, cache=True)
def _gram_rows(scaled_NF, n, kernel_NN):
    """Lower triangle of S Sᵀ."""
    if n >= TILE:
        rows_NF = scaled_NF[:n]
        product_NN = np.dot(rows_NF, rows_NF.T)
        kernel_NN[:n, :n] = product_NN
        return
    n_factors = scaled_NF.shape[1]
    for i in range(n):
        a_F = scaled_NF[i]
        j = 0
        while j + 3 <= i:  # four columns at a time: one load of a_F serves four products
            s0 = s1 = s2 = s3 = np.float32(0)
            b0, b1, b2, b3 = scaled_NF[j], scaled_NF[j + 1], scaled_NF[j + 2], scaled_NF[j + 3]
            for f in range(n_factors):
                s0 += a_F[f] * b0[f]
                s1 += a_F[f] * b1[f]
                s2 += a_F[f] * b2[f]
                s3 += a_F[f] * b3[f]
            kernel_NN[i, j], kernel_NN[i, j + 1], kernel_NN[i, j + 2], kernel_NN[i, j + 3] = s0, s1, s2, s3
            j += 4
        while j <= i:
            kernel_NN[i, j] = _dot(a_F, scaled_NF[j], n_factors)
            j += 1


@njit(fastmath=FAST, nogil=True, cache=True)
def _cholesky(kernel_NN, n):
    """In place, lower triangle."""
    for i in range(n):
        for j in range(i):
            kernel_NN[i, j] = (kernel_NN[i, j] - _dot(kernel_NN[i], kernel_NN[j], j)) / kernel_NN[j, j]
        kernel_NN[i, i] = np.sqrt(kernel_NN[i, i] - _dot(kernel_NN[i], kernel_NN[i], i))


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
