"""The value of an event: weight, age and rank, against a loop over users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import uneven

from landbridge.core.types import Ragged
from landbridge.data.interactions import DAY
from landbridge.data.queries import Queries
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.event_values import EventValues


@pytest.mark.parametrize(("half_life", "exponent"), [(0.0, 0.0), (2.0, 0.0), (0.0, 0.7), (3.0, 1.0)])
def test_values_are_weight_times_age_times_rank(half_life: float, exponent: float) -> None:
    data = uneven(weighted=True)
    values = EventValues.of(data, 0.5, half_life, exponent)
    mean = sum(events.weight.sum() for events in data.domains.values()) / data.n_events
    for name, rows in values.of_history(data).items():
        events = data[name]
        assert events.time is not None
        assert events.weight is not None
        for user in range(data.n_users):
            own = np.flatnonzero(events.user_idx == user)
            order = own[np.argsort(events.time[own], kind="stable")]
            for rank, event in enumerate(order[::-1]):
                age = (events.time[own].max() - events.time[event]) / DAY
                expected = (events.weight[event] / mean) ** 0.5 * (1 + rank) ** -exponent
                expected *= 0.5 ** (age / half_life) if half_life else 1
                assert rows.weights[event] == pytest.approx(expected, rel=1e-5)


def test_without_times_the_order_given_counts_and_age_does_not() -> None:
    events = {"a": Ragged.from_rows([[4, 7, 2]])}
    query = Queries(np.array([-1], np.int32), events)
    by_age, by_rank = EventValues(half_life_days=5.0), EventValues(rank_exponent=1.0)
    assert by_age.of_queries(query)["a"].weights.tolist() == [1, 1, 1]
    np.testing.assert_allclose(by_rank.of_queries(query)["a"].weights, [1 / 3, 1 / 2, 1])
    data = uneven()
    untimed = data.with_events({name: replace(e, time=None) for name, e in data.domains.items()})
    fitted = EASE(half_life_days=30, rank_exponent=0.5).fit(untimed)
    assert np.isfinite(fitted.score("a", Queries.of_users([0, 1, -1]))).all()


def test_recent_events_decide_what_is_recommended() -> None:
    """An old and a new event: with a short half-life the scores are those of the new one alone."""
    data = uneven()
    fitted, recent = EASE(form="exact").fit(data), EASE(form="exact", half_life_days=1e-3).fit(data)
    both = {"a": Ragged.from_rows([[3, 9]])}
    new = {"a": Ragged.from_rows([[9]])}
    times = {"a": np.array([0, 10 * DAY])}
    with_both = Queries(np.array([-1], np.int32), both, times)
    with_new = Queries(np.array([-1], np.int32), new, {"a": times["a"][1:]})
    np.testing.assert_allclose(recent.score("b", with_both), fitted.score("b", with_new), rtol=1e-5)
