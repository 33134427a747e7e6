"""Popularity: counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from worlds import of_tables, uneven

from landbridge.data.interactions import DAY, Interactions
from landbridge.models.base import Queries
from landbridge.models.popularity import Popularity


def test_the_score_is_the_number_of_events_for_all_users() -> None:
    data = uneven(weighted=True)
    scores_BI = Popularity().fit(data).score("b", Queries.of_users([3, -1]))
    counts_I = [int((data["b"].item_idx == item).sum()) for item in range(data["b"].n_items)]
    assert scores_BI.tolist() == [counts_I, counts_I]


def test_domains_keep_their_own_counts() -> None:
    data = uneven()
    fitted = Popularity().fit(data)
    assert fitted.score("a", Queries.of_users([0])).sum() == len(data["a"])
    assert fitted.score("c", Queries.of_users(np.arange(2))).shape == (2, 60)


def test_an_event_one_half_life_old_counts_half() -> None:
    days = np.array([0, 30, 60, 60]) * DAY
    events = Interactions.from_events([0, 1, 2, 3], [0, 1, 1, 2], 4, 3, time=days)
    data = of_tables({"a": events})
    fitted = Popularity(half_life_days=30).fit(data)
    np.testing.assert_allclose(fitted.score_I["a"], [0.25, 1.5, 1.0])
    without_times = data.with_events({"a": replace(events, time=None)})
    assert Popularity(half_life_days=30).fit(without_times).score_I["a"].tolist() == [1, 2, 1]
