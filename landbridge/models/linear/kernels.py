"""Numba kernels of item–item models: neighbours of an item, local ridge regressions, sparse products.

One thread computes one item or one query from the same numbers in the same order, so the result does not
depend on the number of threads. Letters: J source items, I target items, U users, N neighbours of an item,
L entries of the neighbours' columns, C chunks, B queries.

X is given twice, by user (rows) and by item (columns), each as (offsets, indices, values).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from landbridge.core.fast_math import FAST
from landbridge.core.threads import over_rows
from landbridge.models.als.kernels import _dot, _solve_definite

SMALLEST_RIDGE = 1e-5  # of the largest diagonal entry: below it a float32 Cholesky factor need not exist
NONE = -1


@over_rows
@njit(nogil=True, cache=True)
def local_ridge(begin, end, by_user, by_item, gram_JJ, ridge_J, relative_J, item_I, chunk_C, limit, out):
    """Columns ``item_I`` of B by ridge regressions on the item's own neighbours, Eq. (5) of ``ridge``.

    ``gram_JJ``: G, or (0, 0) to count the small parts of it where they are needed. ``relative_J``: 1 / G_ii,
    zero for items that may not be neighbours. ``chunk_C``: bounds of the chunks of target items. ``limit``:
    the largest diagonal entry of B, 0 for EASE. ``out``: neighbours (I, N), values (I, N), numbers (I,).
    """
    item_IN, value_IN, count_I = out
    n_items, n_users, most = len(ridge_J), len(by_user[0]) - 1, item_IN.shape[1]
    for chunk in range(begin, end):
        common_J, touched_J = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
        strength_N, last_U = np.empty(most, np.float32), np.full(n_users, NONE, np.int32)
        for i in range(chunk_C[chunk], chunk_C[chunk + 1]):
            item, chosen_N = item_I[i], item_IN[i]
            touched = _co_occurrences(by_user, by_item, item, common_J, touched_J)
            own = common_J[item]
            n = _strongest(common_J, touched_J[:touched], relative_J, item, strength_N, chosen_N)
            right_N = np.empty(n, np.float32)
            for a in range(n):
                right_N[a] = common_J[chosen_N[a]]
            for t in range(touched):
                common_J[touched_J[t]] = 0
            count_I[i] = n
            if n == 0:
                continue
            system_NN = np.zeros((n, n), np.float32)
            if len(gram_JJ):
                for a in range(n):
                    for b in range(a + 1):
                        system_NN[a, b] = gram_JJ[chosen_N[a], chosen_N[b]]
            else:
                _small_gram(by_item, chosen_N[:n], last_U, system_NN)
            _regress(system_NN, right_N, ridge_J, chosen_N[:n], value_IN[i])
            if limit > 0:
                _relax(right_N, own + ridge_J[item], ridge_J[item], limit, value_IN[i, :n])


@over_rows
@njit(nogil=True, cache=True)
def nearest(begin, end, by_user, by_item, source_J, target_J, bonus_J, settings, item_I, chunk_C, out):
    """The items most similar to each target item of ``item_I``, Eq. (1) of ``item_knn``; ``out`` as above.

    ``source_J``, ``target_J``: the powers of the norms of an item in its two roles. ``bonus_J``: the factor
    of a source item's similarity. ``settings``: shrinkage and power.
    """
    item_IN, value_IN, count_I = out
    shrinkage, power = settings
    n_items, most = len(source_J), item_IN.shape[1]
    for chunk in range(begin, end):
        similar_J, touched_J = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
        strength_N = np.empty(most, np.float32)
        for i in range(chunk_C[chunk], chunk_C[chunk + 1]):
            item = item_I[i]
            touched = _co_occurrences(by_user, by_item, item, similar_J, touched_J)
            for other in touched_J[:touched]:
                ratio = similar_J[other] / (source_J[other] * target_J[item] + shrinkage)
                similar_J[other] = bonus_J[other] * ratio**power
            count_I[i] = _listed(similar_J, touched_J[:touched], item, strength_N, item_IN[i], value_IN[i])


@over_rows
@njit(nogil=True, cache=True)
def followed(begin, end, item_N, place_N, by_item, weight_L, factor_J, item_I, chunk_C, out):
    """The items that each target item of ``item_I`` follows most, Eqs. (1) and (2) of ``sequential_rules``.

    ``item_N``: the items of all sequences, one after the other; ``place_N``: the events before each in its
    sequence. ``by_item``: offsets (J + 1,) and the events of every item. ``weight_L``: by the distance.
    ``factor_J``: b_ij n_i^-a for these targets; ``out`` as above.
    """
    item_IN, value_IN, count_I = out
    n_items, window = len(factor_J), len(weight_L)
    for chunk in range(begin, end):
        weight_J, touched_J = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
        strength_N = np.empty(item_IN.shape[1], np.float32)
        for i in range(chunk_C[chunk], chunk_C[chunk + 1]):
            item, touched = item_I[i], 0
            for at in range(by_item[0][item], by_item[0][item + 1]):
                event = by_item[1][at]
                for step in range(min(place_N[event], window)):
                    other = item_N[event - 1 - step]
                    if weight_J[other] == 0:
                        touched_J[touched] = other
                        touched += 1
                    weight_J[other] += weight_L[step]
            for other in touched_J[:touched]:
                weight_J[other] *= factor_J[other]
            count_I[i] = _listed(weight_J, touched_J[:touched], item, strength_N, item_IN[i], value_IN[i])


@njit(nogil=True, cache=True)
def _co_occurrences(by_user, by_item, item, common_J, touched_J):
    """G_{·item} into ``common_J``, which must be zero; returns how many items ``touched_J`` then lists."""
    touched = 0
    for at in range(by_item[0][item], by_item[0][item + 1]):
        user, x = by_item[1][at], by_item[2][at]
        for place in range(by_user[0][user], by_user[0][user + 1]):
            other = by_user[1][place]
            if common_J[other] == 0:
                touched_J[touched] = other
                touched += 1
            common_J[other] += x * by_user[2][place]
    return touched


@njit(nogil=True, cache=True)
def _strongest(common_J, touched_T, relative_J, item, strength_N, chosen_N):
    """The N items with the largest G_ij² / G_ii, sorted by index, into ``chosen_N``; returns their number."""
    n = 0
    for other in touched_T:
        strength = common_J[other] * common_J[other] * relative_J[other]
        if other != item and strength > 0:
            n = _offer(strength, other, strength_N, chosen_N, n)
    chosen_N[:n].sort()
    return n


@njit(nogil=True, cache=True)
def _listed(value_J, touched_T, item, strength_N, chosen_N, value_N):
    """The N items of the largest value and their values; returns their number, and clears ``value_J``."""
    n = _largest(value_J, touched_T, item, strength_N, chosen_N)
    for a in range(n):
        value_N[a] = value_J[chosen_N[a]]
    for other in touched_T:
        value_J[other] = 0
    return n


@njit(nogil=True, cache=True)
def _largest(value_J, touched_T, item, strength_N, chosen_N):
    """The N items of the largest value, sorted by index, into ``chosen_N``; returns their number."""
    n = 0
    for other in touched_T:
        if other != item and value_J[other] > 0:
            n = _offer(value_J[other], other, strength_N, chosen_N, n)
    chosen_N[:n].sort()
    return n


@njit(nogil=True, cache=True)
def _offer(strength, item, strength_N, chosen_N, n):
    """Put an item on the heap of the N best, the worst of which is at its root; returns the heap's size.

    Of equal strengths the lower item is better, in any order of offers.
    """
    most = len(strength_N)
    if n < most:
        at = n
        n += 1
        while at > 0:  # up from a new leaf
            parent = (at - 1) // 2
            if not _below(strength, item, strength_N[parent], chosen_N[parent]):
                break
            strength_N[at], chosen_N[at] = strength_N[parent], chosen_N[parent]
            at = parent
    else:
        if _below(strength, item, strength_N[0], chosen_N[0]):
            return n
        at = 0
        while True:  # down from the root, which is replaced
            child = 2 * at + 1
            if child >= n:
                break
            if child + 1 < n and _below(
                strength_N[child + 1], chosen_N[child + 1], strength_N[child], chosen_N[child]
            ):
                child += 1
            if not _below(strength_N[child], chosen_N[child], strength, item):
                break
            strength_N[at], chosen_N[at] = strength_N[child], chosen_N[child]
            at = child
    strength_N[at], chosen_N[at] = strength, item
    return n


@njit(nogil=True, cache=True, inline="always")
def _below(strength, item, other_strength, other_item):
    return strength < other_strength or (strength == other_strength and item > other_item)


@njit(nogil=True, cache=True)
def _small_gram(by_item, chosen_N, last_U, system_NN):
    """G of the chosen items, lower triangle, into ``system_NN``, which must be zero.

    Each user keeps a linked list of the chosen items seen so far, so that the work is the number of pairs
    that share a user, not N² intersections. ``last_U`` is -1 throughout before and after.
    """
    needed = 0
    for item in chosen_N:
        needed += by_item[0][item + 1] - by_item[0][item]
    place_L, before_L = np.empty(needed, np.int32), np.empty(needed, np.int32)
    value_L = np.empty(needed, np.float32)
    entry = np.int32(0)
    for a in range(len(chosen_N)):
        for at in range(by_item[0][chosen_N[a]], by_item[0][chosen_N[a] + 1]):
            user, x = by_item[1][at], by_item[2][at]
            place_L[entry], value_L[entry], before_L[entry] = a, x, last_U[user]
            last_U[user] = entry
            while_entry = entry
            while while_entry != NONE:
                system_NN[a, place_L[while_entry]] += x * value_L[while_entry]
                while_entry = before_L[while_entry]
            entry += 1
    for item in chosen_N:
        for at in range(by_item[0][item], by_item[0][item + 1]):
            last_U[by_item[1][at]] = NONE


@njit(nogil=True, cache=True)
def _regress(system_NN, right_N, ridge_J, chosen_N, value_N):
    """(G_SS + Λ_S)⁻¹ G_Sj into ``value_N``; ``right_N`` is G_Sj and stays."""
    n = len(chosen_N)
    largest = np.float32(0)
    for a in range(n):
        largest = max(largest, system_NN[a, a])
    for a in range(n):
        system_NN[a, a] += max(np.float32(ridge_J[chosen_N[a]]), np.float32(SMALLEST_RIDGE) * largest)
    for a in range(n):
        value_N[a] = right_N[a]
    _solve_definite(system_NN, value_N[:n])


@njit(nogil=True, cache=True)
def _relax(right_N, diagonal, ridge, limit, value_N):
    """Scale a column of EASE by Eq. (5) of ``ridge``: ``diagonal`` is G_jj + Λ_j, ``ridge`` is Λ_j."""
    residual = diagonal - _dot(right_N, value_N, len(right_N))  # 1 / P_jj
    value_N *= max(ridge / residual, np.float32(1) - limit)


@over_rows
@njit(nogil=True, cache=True)
def dense_gram(begin, end, by_user, by_item, gram_JJ):
    """G = XᵀX into ``gram_JJ``, which must be zero; with rows and columns exchanged it is XXᵀ."""
    for j in range(begin, end):
        for at in range(by_item[0][j], by_item[0][j + 1]):
            user, x = by_item[1][at], by_item[2][at]
            for place in range(by_user[0][user], by_user[0][user + 1]):
                gram_JJ[j, by_user[1][place]] += x * by_user[2][place]


@over_rows
@njit(nogil=True, cache=True)
def dual_columns(begin, end, inverse_UU, by_item, root_J, item_I, column_IJ):
    """Columns ``item_I`` of P = Λ^-½ (I − Zᵀ (I + ZZᵀ)⁻¹ Z) Λ^-½, Eq. (4) of ``ridge``, as rows (I, J)."""
    n_users, n_items = len(inverse_UU), len(root_J)
    for i in range(begin, end):
        item, spread_U = item_I[i], np.zeros(n_users, inverse_UU.dtype)
        for at in range(by_item[0][item], by_item[0][item + 1]):
            user, z = by_item[1][at], by_item[2][at]
            for u in range(n_users):
                spread_U[u] += z * inverse_UU[user, u]
        for j in range(n_items):
            total = 0.0
            for at in range(by_item[0][j], by_item[0][j + 1]):
                total += by_item[2][at] * spread_U[by_item[1][at]]
            column_IJ[i, j] = -total * root_J[j] * root_J[item]
        column_IJ[i, item] += root_J[item] * root_J[item]


@njit(nogil=True, cache=True)
def by_source(item_IN, value_IN, count_I, n_sources):
    """Padded lists of neighbours per target item as rows per source item: offsets, targets and values.

    A counting sort: the targets of every row are in order.
    """
    offsets_J = np.zeros(n_sources + 1, np.int64)
    for i in range(len(count_I)):
        for a in range(count_I[i]):
            offsets_J[item_IN[i, a] + 1] += 1
    for j in range(n_sources):
        offsets_J[j + 1] += offsets_J[j]
    next_J = offsets_J[:-1].copy()
    target_N, value_N = np.empty(offsets_J[-1], np.int32), np.empty(offsets_J[-1], np.float32)
    for i in range(len(count_I)):
        for a in range(count_I[i]):
            at = next_J[item_IN[i, a]]
            target_N[at], value_N[at] = i, value_IN[i, a]
            next_J[item_IN[i, a]] += 1
    return offsets_J, target_N, value_N


@over_rows
@njit(nogil=True, cache=True)
def add_sparse(begin, end, rows, matrix, out_BI):
    """out += x · W for rows x and a sparse W, both (offsets, indices, values)."""
    for b in range(begin, end):
        for at in range(rows[0][b], rows[0][b + 1]):
            item, x = rows[1][at], rows[2][at]
            for entry in range(matrix[0][item], matrix[0][item + 1]):
                out_BI[b, matrix[1][entry]] += x * matrix[2][entry]


@over_rows
@njit(fastmath=FAST, nogil=True, cache=True)
def add_dense(begin, end, rows, weight_JI, out_BI):
    """out += x · W for rows x (offsets, indices, values) and a dense W."""
    for b in range(begin, end):
        out_I = out_BI[b]
        for at in range(rows[0][b], rows[0][b + 1]):
            x, weight_I = rows[2][at], weight_JI[rows[1][at]]
            for i in range(len(out_I)):
                out_I[i] += x * weight_I[i]
