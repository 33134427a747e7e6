"""Remembered scores are the model's, and take no more memory than they may."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from worlds import own_events, uneven

from landbridge.data.queries import Queries
from landbridge.data.splitting.splits import leave_last_out
from landbridge.evaluation.evaluate import evaluate, recommended_share
from landbridge.evaluation.score_cache import ScoreCache
from landbridge.models.als.ials import IALS


class Counting:
    """A fitted model that counts how many rows it was asked for."""

    def __init__(self, fitted: Any) -> None:
        self.fitted, self.history, self.method, self.rows = fitted, fitted.history, fitted.method, 0

    def list_scores(self, domain: str, queries: Queries) -> Any:
        return self.score(domain, queries)

    def unlisted(self, domain: str) -> Any:
        return self.fitted.unlisted(domain)

    def score(self, domain: str, queries: Queries) -> Any:
        self.rows += len(queries)
        return self.fitted.score(domain, queries)


def test_every_user_is_scored_once_and_evaluated_alike() -> None:
    split = leave_last_out(uneven())
    fitted = IALS(factors=4, epochs=2).fit(split.test.history)
    counting = Counting(fitted)
    remembered = ScoreCache(counting)
    one, other = evaluate(fitted, split.test, block=7), evaluate(remembered, split.test, block=7)
    assert one.rows.equals(other.rows)
    once = counting.rows
    assert recommended_share(fitted, split.test, block=7).equals(
        recommended_share(remembered, split.test, block=7)
    )
    assert counting.rows == once


def test_what_does_not_fit_is_scored_again() -> None:
    data = uneven()
    counting = Counting(IALS(factors=4, epochs=2).fit(data))
    remembered = ScoreCache(counting, most=4 * 40 * 2)  # two rows of domain a
    for _ in range(3):
        for users in ([0, 1], [2]):
            asked = Queries.of_users(users)
            assert np.array_equal(remembered.score("a", asked), counting.fitted.score("a", asked))
    assert counting.rows == 2 + 3


def test_users_given_by_their_events_are_not_mixed_up() -> None:
    data = uneven()
    remembered = ScoreCache(IALS(factors=4, epochs=2).fit(data))
    history = Queries.of_users(np.arange(data.n_users))
    brought = Queries(np.full(data.n_users, -1, np.int32), own_events(data))
    new = Queries(
        history.user_idx, {"a": replace(data["a"].by_user, columns=data["a"].by_user.columns[::-1])}
    )
    before = remembered.score("b", history)
    assert not np.array_equal(remembered.score("b", new), before)
    assert np.array_equal(remembered.score("b", history), before)
    assert np.allclose(remembered.score("b", brought), before, atol=1e-3)
