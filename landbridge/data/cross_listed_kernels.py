"""Numba kernel of :mod:`landbridge.data.cross_listed`: whether a user has a duplicate of an item.

Letters: U users, I items of the domain, J those of another one, T rows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from landbridge.core.threads import over_rows


@over_rows
@njit(nogil=True, cache=True)
def mark_duplicates(begin, end, user_T, item_T, own_T, by_item, elsewhere, bounds, found_T):
    """Sets ``found_T`` where an item of the user elsewhere has nearly the users of the row's item.

    ``own_T``: whether the row's user is to be counted among the item's. ``by_item``: offsets and users of the
    items. ``elsewhere``: offsets and items of the users in the other domain, offsets and users of its items.
    ``bounds``: the least Jaccard index and number of common users. Rows of users and items are sorted.
    """
    user_offsets, user_items, item_offsets, item_users = elsewhere
    jaccard, min_users = bounds
    for row in range(begin, end):
        user, item, own = user_T[row], item_T[row], own_T[row]
        here_N = by_item[1][by_item[0][item] : by_item[0][item + 1]]
        size = len(here_N) + own
        for place in range(user_offsets[user], user_offsets[user + 1]):
            if found_T[row]:
                break
            other = user_items[place]
            there_M = item_users[item_offsets[other] : item_offsets[other + 1]]
            both = size + len(there_M)
            # c / (both - c) ≥ jaccard from this number c of common users on, but for rounding
            least = max(math.floor(jaccard * both / (1 + jaccard)), min_users)
            common = _common(here_N, there_M, least - own) + own
            found_T[row] = common >= min_users and common / (both - common) >= jaccard


@njit(nogil=True, cache=True)
def _common(one_N, two_M, least):
    """How many numbers two sorted arrays share, or fewer where these are certainly fewer than ``least``."""
    n = m = common = 0
    while n < len(one_N) and m < len(two_M) and common + min(len(one_N) - n, len(two_M) - m) >= least:
        if one_N[n] == two_M[m]:
            common += 1
            n += 1
            m += 1
        elif one_N[n] < two_M[m]:
            n += 1
        else:
            m += 1
    return np.int64(common)
