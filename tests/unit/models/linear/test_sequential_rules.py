"""Sequential rules against counting one pair after the other, and on a world whose next event is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import of_tables, uneven, untimed

from landbridge.core.errors import DataError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.sampling.sequences import user_histories
from landbridge.models.linear.sequential_rules import SequentialRules
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)


def slow_rules(data: MultiDomain, method: SequentialRules) -> np.ndarray:
    """Eq. (2) between all items of the joined catalogue, one pair of events after the other."""
    table, slices = data.joined()
    histories, rules_JJ = user_histories(data), np.zeros((table.n_items, table.n_items))
    domain_J = np.repeat(np.arange(len(slices)), [part.stop - part.start for part in slices.values()])
    for user in range(data.n_users):
        items = histories.columns[histories.offsets[user] : histories.offsets[user + 1]].tolist()
        for later, j in enumerate(items):
            for earlier in range(max(later - method.window, 0), later):
                rules_JJ[items[earlier], j] += (later - earlier) ** -method.distance_exponent
    rules_JJ /= np.maximum(table.item_counts, 1)[:, None] ** method.source_exponent
    rules_JJ[domain_J[:, None] != domain_J] *= method.cross_weight
    return rules_JJ


def slow_scores(data: MultiDomain, method: SequentialRules, user: int) -> np.ndarray:
    """Σ_i x_ui W_ij for all items of the joined catalogue."""
    histories = user_histories(data)
    items = histories.columns[histories.offsets[user] : histories.offsets[user + 1]]
    value_N = (1.0 + np.arange(len(items))[::-1]) ** -method.rank_exponent  # Eq. (3)
    scores_J: np.ndarray = value_N @ slow_rules(data, method)[items]
    return scores_J


@given(
    st.integers(1, 12),
    st.sampled_from((0.0, 0.5, 1.0)),
    st.sampled_from((0.0, 0.7, 1.0)),
    st.sampled_from((0.0, 1.0, 2.0)),
    st.sampled_from((0.0, 0.3, 1.0)),
)
def test_scores_are_those_of_counting_pairs(
    window: int, distance: float, source: float, rank: float, cross: float
) -> None:
    data = uneven()
    method = SequentialRules(
        window=window,
        distance_exponent=distance,
        source_exponent=source,
        rank_exponent=rank,
        cross_weight=cross,
        cold_policy="zero",
    )
    fitted = method.fit(data, ONE)
    for user in (0, 3, 7):
        found = [fitted.score(name, Queries.of_users([user]))[0] for name in data.domain_names]
        # the popularity that orders items without a score is far below them
        assert np.allclose(np.concatenate(found), slow_scores(data, method, user), atol=2e-6, rtol=1e-5)


def test_separate_domains_are_those_alone() -> None:
    data = uneven()
    separate = SequentialRules(sharing="separate")
    fitted = separate.fit(data, ONE)
    assert separate.single_domain
    for name in data.domain_names:
        alone = SequentialRules().fit(data.select([name]), ONE)
        queries = Queries.of_users(np.arange(data.n_users))
        np.testing.assert_array_equal(fitted.score(name, queries), alone.score(name, queries))


def test_an_item_keeps_those_it_follows_most() -> None:
    data = uneven()
    rules_JJ = slow_rules(data, SequentialRules())
    fitted, start = SequentialRules(neighbours=3).fit(data, ONE), 0
    for target in data.domain_names:
        size = data[target].n_items
        kept_JI = np.concatenate(
            [
                np.stack([fitted.matrices[source][target].row(item) for item in range(data[source].n_items)])
                for source in data.domain_names
            ]
        )
        expected_JI = rules_JJ[:, start : start + size]
        best_I = -np.sort(-expected_JI, axis=0)[2]
        assert ((kept_JI > 0).sum(axis=0) == np.minimum((expected_JI > 0).sum(axis=0), 3)).all()
        assert np.allclose(kept_JI[kept_JI > 0], expected_JI[kept_JI > 0], rtol=1e-5)
        assert (kept_JI.max(axis=0) >= best_I * (1 - 1e-5)).all()
        start += size


def chain(users: int = 60, steps: int = 8) -> MultiDomain:
    """After item i of either domain comes item i + 1 of the other one, around a circle of 12."""
    first_U, domain_U = np.arange(users) % 12, np.arange(users) // 12 % 2
    item_US = (first_U[:, None] + np.arange(steps)) % 12
    domain_US = (np.arange(steps) + domain_U[:, None]) % 2
    user_US, time_US = np.indices(item_US.shape)
    return of_tables(
        {
            name: Interactions.from_events(
                user_US[domain_US == d], item_US[domain_US == d], users, 12, time=time_US[domain_US == d]
            )
            for d, name in enumerate("ab")
        }
    )


def test_the_next_item_of_the_other_domain_is_the_best() -> None:
    fitted = SequentialRules().fit(chain(), ONE)
    for item in range(11):
        query = Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([[item]])}, {"a": np.array([5])})
        assert int(fitted.score("b", query)[0].argmax()) == item + 1


def test_the_order_across_domains_counts() -> None:
    """Of two events in different domains the later one says more."""
    fitted = SequentialRules(rank_exponent=2.0).fit(chain(), ONE)
    events = {"a": Ragged.from_rows([[2]]), "b": Ragged.from_rows([[7]])}
    for times, domain, item in (({"a": [1], "b": [2]}, "a", 8), ({"a": [2], "b": [1]}, "b", 3)):
        query = Queries(np.array([-1], np.int32), events, {n: np.array(t) for n, t in times.items()})
        top = {name: float(fitted.score(name, query)[0].max()) for name in "ab"}
        assert max(top, key=lambda name: top[name]) == domain
        assert int(fitted.score(domain, query)[0].argmax()) == item


def test_contributions_sum_to_the_score() -> None:
    data = uneven()
    fitted = SequentialRules().fit(data, ONE)
    query = Queries.of_users([3])
    for name in data.domain_names:
        score_I = fitted.score(name, query)[0]
        for item, explanation in enumerate(fitted.explain(name, query, np.arange(4))):
            parts = sum(float(part.sum()) for part in explanation.events.values())
            assert parts + explanation.popularity == pytest.approx(score_I[item], rel=1e-5)


def test_a_window_without_end_is_that_of_the_longest_sequence() -> None:
    data = uneven()
    queries = Queries.of_users(np.arange(data.n_users))
    endless, long = (SequentialRules(window=w).fit(data, ONE) for w in (2**31 - 1, data.n_events))
    for name in data.domain_names:
        np.testing.assert_array_equal(endless.score(name, queries), long.score(name, queries))


def test_it_is_a_candidate_where_there_are_times() -> None:
    data = uneven()
    assert SequentialRules.in_auto(data) == {"seqrules": SequentialRules()}
    assert SequentialRules.in_auto(untimed(data)) == {}
    one = data.select(data.domain_names[:1])
    assert {"sharing", "cross_weight"} == (
        SequentialRules().space_on(data).keys() - SequentialRules().space_on(one).keys()
    )


def test_without_times_there_is_no_order() -> None:
    table = Interactions.from_events([0, 0], [0, 1], 1, 2)
    with pytest.raises(DataError, match="has no time stamps"):
        SequentialRules().fit(of_tables({"a": table}), ONE)


@pytest.mark.parametrize(
    "settings", [{"window": 0}, {"neighbours": 0}, {"source_exponent": 2.0}, {"cross_weight": -0.1}]
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    from landbridge.core.errors import SettingsError

    with pytest.raises(SettingsError, match=next(iter(settings))):
        SequentialRules.from_settings(settings)
