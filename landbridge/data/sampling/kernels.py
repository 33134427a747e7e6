"""Negatives and histories as numba kernels; negatives are explained in
:mod:`landbridge.data.sampling.pairwise`.

Every draw is a hash of a key and its own number (splitmix64), so it depends neither on the draws before
it nor on the thread that makes it: any number of threads gives the same negatives. N pairs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ divided by the golden ratio: the step of splitmix64
# factors of splitmix64's finaliser
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
FINE = 1 << 30  # how finely a chance is drawn
TRIES = 64  # draws by popularity before the uniform one


@njit(nogil=True, error_model="numpy", cache=True)
def drawn(key, number, attempt, size):
    """A whole number below ``size``, uniform but for a bias of size / 2³²."""
    # a counter-based generator (splitmix64): a draw depends on key, number and attempt only, so it is the
    # same in any order and on any number of threads
    bits = _mixed(_mixed(key + np.uint64(number) * GOLDEN) + np.uint64(attempt) * GOLDEN)
    # multiply and shift, after Lemire (2019): no division
    return np.int64((bits >> np.uint64(32)) * np.uint64(size) >> np.uint64(32))


@njit(nogil=True, error_model="numpy", cache=True)
def negative(key, number, own_N, low, high, pool_M, pool_low, pool_high):
    """An item of ``low`` to ``high`` that is not among the sorted ``own_N``, of which there must be one.

    Uniform: the r-th free item, found by bisection, so that no draw is rejected. With a pool: one of
    its items ``pool_low`` to ``pool_high``; uniform after all where ``TRIES`` in a row were the user's own.
    """
    # in a joined table only the user's items of this range matter
    own_N = own_N[np.searchsorted(own_N, low) : np.searchsorted(own_N, high)]
    for attempt in range(1, TRIES + 1 if pool_high > pool_low else 1):
        item = pool_M[pool_low + drawn(key, number, attempt, pool_high - pool_low)]
        at = np.searchsorted(own_N, item)
        if at == len(own_N) or own_N[at] != item:
            return np.int64(item)
    free = drawn(key, number, 0, high - low - len(own_N))
    left, right = 0, len(own_N)
    while left < right:  # how many of the user's own items come before the free one
        middle = (left + right) // 2
        if own_N[middle] - low - middle > free:
            right = middle
        else:
            left = middle + 1
    return np.int64(low + free + left)


@njit(nogil=True, error_model="numpy", cache=True)
def negatives(key, first, user_N, item_N, offsets, columns, starts_D, pool_M, pool_starts_D, out_N):
    """One negative for every pair, from the range of ``starts_D`` in which its item lies. ``first``: the
    number of the first draw, so that parts of a sequence are drawn as the whole would be."""
    for n in range(len(user_N)):
        domain = np.searchsorted(starts_D, item_N[n], side="right") - 1
        own_N = columns[offsets[user_N[n]] : offsets[user_N[n] + 1]]
        out_N[n] = negative(
            key,
            first + n,
            own_N,
            starts_D[domain],
            starts_D[domain + 1],
            pool_M,
            pool_starts_D[domain],
            pool_starts_D[domain + 1],
        )


@njit(nogil=True, error_model="numpy", cache=True)
def histories(key, first, user_N, without_N, offsets, columns, mask, out_NL):
    """At most L of the items of each user but one, ``without_N``; each is then masked with chance ``mask``.

    Drawn evenly and without repetition (Floyd's algorithm); masked and missing places are -1. ``first``: as
    of :func:`negatives`.
    """
    most = out_NL.shape[1]
    for n in range(len(user_N)):
        own_M = columns[offsets[user_N[n]] : offsets[user_N[n] + 1]]
        at, size = np.searchsorted(own_M, without_N[n]), len(own_M)
        # the place of the item that is left out; beyond the end where the user does not have it
        skipped = at if at < size and own_M[at] == without_N[n] else size
        size -= skipped < size
        count = 0
        out_NL[n] = -1
        for place in range(max(size - most, 0), size):
            chosen = drawn(key, first + n, count, place + 1)
            for other in range(count):
                if out_NL[n, other] == chosen:
                    chosen = place
                    break
            out_NL[n, count] = chosen
            count += 1
        for each in range(count):
            chosen = out_NL[n, each]
            kept = drawn(key, first + n, most + each, FINE) >= mask * FINE
            out_NL[n, each] = own_M[chosen + (chosen >= skipped)] if kept else -1


@njit(nogil=True, error_model="numpy", cache=True)
def _mixed(bits):
    bits = (bits ^ (bits >> np.uint64(30))) * FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * SECOND
    return bits ^ (bits >> np.uint64(31))
