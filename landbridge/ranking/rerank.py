"""Lists under rules: at most n of a value, pinned and boosted items, diversity, exposure of the tail.

Of the items that a user's list may hold, s_(1) is the best score and s_(p) that at place p = ``REFERENCE``,
or at the last place where fewer are left. The relevance of an item is its score on this scale,

    r_ui = (s_ui − s_u(p)) / (s_u(1) − s_u(p))                                                         (1)

so that 1 is the user's best item and 0 the one at place 100, in every domain and for every method. It keeps
the order of the scores. (Where both scores are equal, the last listable item takes the place of p.) With
boosts b on sets of items and n_i users of item i, the list is made by

    a_ui = r_ui + Σ_{b∋i} by_b − tail · ln(1 + n_i) / ln(1 + max_j n_j)                                (2)

A list S is filled place by place from the items with the largest a: the one that breaks no limit and has
the largest

    m_ui = (1 − diversity) a_ui − diversity · max(0, max_{j∈S} cos(v_i, v_j))                          (3)

is next (maximal marginal relevance; Carbonell and Goldstein 1998). An item breaks a limit where any of its
values in a limited column has been listed as often as the limit says. Pinned items are in S first, by their
places; a pin that may not be listed or breaks a limit is dropped. With diversity 0, (3) is exact over all
items. Else its candidates are the ``POOL`` items with the largest a, four times as many again and again
where these do not fill the list.

Equal values: the higher a, then the lower item. Shape letters: B queries, I items, K places, P pins,
F factors, V values, N entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.types import Arrays, Float32, Float64, Int32, Int64, Ragged
from landbridge.ranking.top_k import Scores, checked_scores

REFERENCE = 100  # the place whose score is relevance 0
POOL = 100  # candidates of Eq. (3), or this many times the list:
PER_PLACE = 4
_NO_ITEMS = np.zeros(0, np.int32)


class ItemVectors(NamedTuple):
    """What items are compared by: ``unit_IF``, vectors of length 1 (or 0); or, where F is 0, the sets of
    users in the rows of ``users``, of ``n_users``, whose cosine is |U_i ∩ U_j| / √(|U_i| |U_j|)."""

    unit_IF: Float32
    users: Ragged
    n_users: int


NO_VECTORS = ItemVectors(np.zeros((0, 0), np.float32), Ragged.empty(0), 0)


@dataclass(frozen=True, eq=False)
class Reranking:
    """How lists over I items are made.

    ``bonus_I``: the boosts and the tail's part of Eq. (2); None: all zero. ``values``: row i holds the
    values of item i, and ``limit_V`` how often each may be listed. ``pin_P`` and ``place_P``: pinned items
    and their places from 0, in the order of the places.
    """

    diversity: float = 0.0
    bonus_I: Float64 | None = None
    values: Ragged = field(default_factory=lambda: Ragged.empty(0))
    limit_V: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    pin_P: Int32 = field(default_factory=lambda: _NO_ITEMS)
    place_P: Int32 = field(default_factory=lambda: _NO_ITEMS)
    vectors: ItemVectors = NO_VECTORS

    def arrays(self) -> Arrays:
        """What makes lists of the same scores differ, as named arrays; the vectors are those of the model."""
        return {
            "diversity": np.array([self.diversity]),
            "bonus": np.zeros(0) if self.bonus_I is None else self.bonus_I,
            "limits": np.concatenate([self.limit_V, self.values.offsets, self.values.columns]),
            "pins": np.concatenate([self.pin_P, self.place_P]),
        }


def rerank(scores_BI: Scores, k: int, hidden: Ragged, how: Reranking) -> tuple[Int32, Scores]:
    """The lists of every row and the items' scores, both (B, K); item -1, score -inf in an empty place.

    Items in the rows of ``hidden``, and those with the score -inf, are never listed. Raises SettingsError
    for k below 1, DataError for NaN scores.
    """
    from landbridge.ranking import rerank_kernels

    if k < 1:
        raise SettingsError(f"The length of a list must be 1 or more, not {k}.")
    scores_BI = checked_scores(scores_BI, hidden)
    n_items = scores_BI.shape[1]
    values = how.values if len(how.values) else Ragged.empty(n_items)
    users = how.vectors.users if len(how.vectors.users) else Ragged.empty(n_items)
    pinned_P = how.place_P < k
    # places beyond any list, which needs no memory for them
    place_P = np.minimum(how.place_P, n_items + np.arange(len(how.place_P)))[pinned_P].astype(np.int32)
    width = min(k, n_items + len(place_P))
    item_BK = np.full((len(scores_BI), width), -1, np.int32)
    rerank_kernels.reranked(
        len(scores_BI),
        scores_BI,
        np.zeros(0) if how.bonus_I is None else how.bonus_I,
        how.bonus_I is not None,
        max(POOL, PER_PLACE * k),
        how.diversity,
        (hidden.offsets, hidden.columns),
        (values.offsets, values.columns, how.limit_V),
        (how.pin_P[pinned_P], place_P),
        (how.vectors.unit_IF, users.offsets, users.columns, how.vectors.n_users),
        REFERENCE,
        item_BK,
    )
    item_BK = item_BK[:, : min(k, n_items)]
    listed_BK = item_BK >= 0
    score_BK = np.take_along_axis(scores_BI, np.maximum(item_BK, 0).astype(np.int64), axis=1)
    return item_BK, np.where(listed_BK, score_BK, -np.inf).astype(scores_BI.dtype)
