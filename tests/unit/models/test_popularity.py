"""Popularity: counts."""

from __future__ import annotations

import numpy as np
from worlds import uneven

from landbridge.models.base import Queries
from landbridge.models.popularity import Popularity


def test_the_score_is_the_number_of_events_for_everybody() -> None:
    data = uneven(weighted=True)
    scores_BI = Popularity().fit(data).score("b", Queries.of_users([3, -1]))
    counts_I = [int((data["b"].item_idx == item).sum()) for item in range(data["b"].n_items)]
    assert scores_BI.tolist() == [counts_I, counts_I]


def test_domains_keep_their_own_counts() -> None:
    data = uneven()
    fitted = Popularity().fit(data)
    assert fitted.score("a", Queries.of_users([0])).sum() == len(data["a"])
    assert fitted.score("c", Queries.of_users(np.arange(2))).shape == (2, 60)
