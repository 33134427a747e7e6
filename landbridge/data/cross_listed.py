"""Duplicate items: one product listed in several domains, detected by nearly the same users.

A joint model that recognises duplicates seems to transfer taste although it does not, so results are
reported with and without them. Users U, items I, test rows T, pairs P.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError
from landbridge.core.types import Float32, Int32, Int64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

BLOCK = 2**23  # most entries of one block's product: about 100 MB


@dataclass(frozen=True, eq=False)
class CrossListed:
    """Duplicate items of two domains, one row per pair, sorted by the first domain's item, then the second's.

    ``first_item``, ``second_item``: int32 (P,). ``common``: int32 (P,), users of both.
    ``jaccard``: float32 (P,), common users over users of either.
    """

    first_item: Int32
    second_item: Int32
    common: Int32
    jaccard: Float32

    def __len__(self) -> int:
        return len(self.first_item)


def cross_listed(
    data: MultiDomain, *, jaccard: float = 0.8, min_users: int = 3
) -> dict[tuple[str, str], CrossListed]:
    """Duplicate items of every pair of domains: at least ``min_users`` common users and a Jaccard index of
    at least ``jaccard`` between the users of both items. SettingsError for values outside their range."""
    _check(jaccard, min_users)
    return {
        (first, second): _duplicates(data[first], data[second], jaccard, min_users)
        for first, second in combinations(data.domain_names, 2)
    }


def has_duplicate(
    history: MultiDomain,
    domain: str,
    user_idx: npt.ArrayLike,
    item_idx: npt.ArrayLike,
    *,
    jaccard: float = 0.8,
    min_users: int = 3,
) -> npt.NDArray[np.bool_]:
    """Whether each user's history in another domain holds a duplicate of the item of ``domain``, (T,).

    The row's own user counts among the item's users even where the event is held out, since the row itself
    says that this user has the item.
    """
    from landbridge.data.cross_listed_kernels import mark_duplicates

    _check(jaccard, min_users)
    users, items = np.asarray(user_idx, np.int32), np.asarray(item_idx, np.int32)
    # a held-out event is not in the history
    own_T = (~history[domain].contains(users, items)).astype(np.int64)
    here = history[domain].by_item
    duplicate_T = np.zeros(len(users), bool)
    for name, events in history.domains.items():
        if name != domain:
            by_user, by_item = events.by_user, events.by_item
            elsewhere = by_user.offsets, by_user.columns, by_item.offsets, by_item.columns
            rows = users, items, own_T, (here.offsets, here.columns)
            mark_duplicates(len(users), *rows, elsewhere, (float(jaccard), min_users), duplicate_T)
    return duplicate_T


def _check(jaccard: float, min_users: int) -> None:
    if not 0 < jaccard <= 1 or min_users < 2:
        raise SettingsError(
            f"jaccard must be above 0 and at most 1 and min_users 2 or more, not {jaccard} and {min_users}."
        )


def _duplicates(first: Interactions, second: Interactions, jaccard: float, min_users: int) -> CrossListed:
    """Duplicate items of two domains."""
    # A block's items have similar popularity, and the Jaccard index bounds how much the popularity of
    # duplicates differs. So each block is compared with a narrow range of the other domain only.
    a, b = _Ordered.of(first, min_users), _Ordered.of(second, min_users)
    parts = [np.empty((4, 0))]
    for start, stop in _blocks(a, b):
        low, high = a.counts[start] * jaccard, a.counts[stop - 1] / jaccard
        left, right = np.searchsorted(b.counts, [np.floor(low), np.ceil(high) + 1])
        if left < right:
            # a sparse product: entry (i, j) is the number of users who have both items
            shared = (a.matrix[start:stop] @ b.matrix[left:right].T).tocoo()
            either = a.counts[start + shared.row] + b.counts[left + shared.col] - shared.data
            # the sparse product has an entry only where a user is shared, so few pairs are tested
            keep = (shared.data >= min_users) & (shared.data / either >= jaccard)
            columns = (
                a.items[start + shared.row],
                b.items[left + shared.col],
                shared.data,
                shared.data / either,
            )
            parts.append(np.stack([column[keep] for column in columns]).astype(np.float64))
    one, two, common, share = np.concatenate(parts, axis=1)
    order = np.lexsort((two, one))
    return CrossListed(
        one[order].astype(np.int32),
        two[order].astype(np.int32),
        common[order].astype(np.int32),
        share[order].astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class _Ordered:
    """The items with enough users, from rare to popular, and their users as a sparse matrix (I, U)."""

    items: Int64
    counts: Int64
    matrix: Any

    @classmethod
    def of(cls, events: Interactions, min_users: int) -> _Ordered:
        from scipy.sparse import csr_array

        rows = events.by_item
        ones = np.ones(len(rows.columns), np.int32)
        matrix = csr_array((ones, rows.columns, rows.offsets), shape=(events.n_items, events.n_users))
        order = np.argsort(events.item_counts, kind="stable")
        items = order[events.item_counts[order] >= min_users]
        return cls(items, events.item_counts[items], matrix[items])


def _blocks(a: _Ordered, b: _Ordered) -> Iterator[tuple[int, int]]:
    """Runs of items of ``a`` whose users differ by less than a quarter and whose product stays small."""
    if not len(a.items) or not len(b.items):
        return
    # an upper bound of the non-zeros that an item contributes to the product
    work_I = a.matrix @ np.asarray(b.matrix.sum(axis=0), np.int64)
    # within a band the Jaccard index admits a narrow range of the other domain's popularity
    band_I = np.floor(np.log(a.counts) / np.log(1.25)).astype(np.int64)
    chunk_I = np.cumsum(work_I) // BLOCK
    edges = np.flatnonzero((np.diff(band_I) != 0) | (np.diff(chunk_I) != 0)) + 1
    bounds = [0, *edges.tolist(), len(a.items)]
    yield from pairwise(bounds)
