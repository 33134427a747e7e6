"""The contract of every method, and what only this one promises."""

from __future__ import annotations

import numpy as np
from landbridge_example.method import ItemMean

import landbridge as lb
from landbridge.testing import MethodContract


class TestItemMean(MethodContract):
    """Settings, determinism, storage, cold-start users, empty domains and more."""

    method = "itemmean"


def test_the_score_is_the_shrunk_mean() -> None:
    ratings = lb.Interactions.from_events([0, 1, 2], [0, 0, 1], 3, 3, weight=[1.0, 2.0, 3.0])
    data = lb.MultiDomain(
        lb.Vocabulary.of([0, 1, 2]), {"shop": lb.Vocabulary.of([0, 1, 2])}, {"shop": ratings}
    )
    scores_BI = ItemMean(strength=1.0).fit(data).score("shop", lb.Queries.of_users([0]))
    assert np.allclose(scores_BI, [[(3 + 2) / 3, (3 + 2) / 2, 2.0]])  # by hand: m = 2
