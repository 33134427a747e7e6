"""Popularity: counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import countries, of_tables, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import DAY, Interactions
from landbridge.data.products import equal_ids, products_of
from landbridge.models.base import Queries
from landbridge.models.popularity import Popularity
from landbridge.selection.auto import candidates


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


def with_products(data: MultiDomain) -> MultiDomain:
    """Equal ids are one product; ids are 0, 1, … in every domain."""
    return replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))


def twin(data: MultiDomain, pooling: float) -> dict[str, list[float]]:
    """Eqs. (1) to (3), item after item: in a world whose products go by numbers of items."""
    counts = {
        name: [int((table.item_idx == item).sum()) for item in range(table.n_items)]
        for name, table in data.domains.items()
    }
    scores: dict[str, list[float]] = {}
    for name, own in counts.items():
        scores[name] = []
        for item, count in enumerate(own):
            having = [other for other in counts.values() if item < len(other)]
            events = sum(map(sum, having))
            share = sum(other[item] for other in having) / events if events else 0.0
            prior, total = pooling * share, sum(own)
            scores[name].append(total * (count + prior) / (total + pooling) if total else 0.0)
    return scores


@given(
    pooling=st.floats(0.01, 1e7),
    seed=st.integers(0, 50),
    sizes=st.tuples(*[st.tuples(st.integers(1, 12), st.integers(0, 20))] * 3),
)
def test_pooled_shares_are_those_of_the_slow_twin(pooling: float, seed: int, sizes: Any) -> None:
    """Catalogues of different sizes, a domain without events among them."""
    data = with_products(uneven(dict(zip("abc", sizes, strict=True)), users=20, seed=seed))
    fitted = Popularity(pooling=pooling).fit(data)
    for name, expected in twin(data, pooling).items():
        np.testing.assert_allclose(fitted.score_I[name], expected, rtol=1e-5)


def test_an_item_of_one_domain_and_pooling_without_shared_items_are_counts() -> None:
    data = uneven({"a": (10, 30), "b": (30, 30)})
    counts = Popularity().fit(data).score_I
    pooled = Popularity(pooling=77.0).fit(with_products(data)).score_I
    assert not np.array_equal(pooled["b"][:10], counts["b"][:10])
    assert np.array_equal(pooled["b"][10:], counts["b"][10:])
    for world in (data, replace(data, products=products_of(data.items, np.empty((0, 2), int), by_id=False))):
        alone = Popularity(pooling=77.0).fit(world).score_I
        assert all(np.array_equal(alone[name], counts[name]) for name in data.domain_names)


def test_the_more_pooling_the_nearer_to_the_share_of_all_domains() -> None:
    data = with_products(uneven({"a": (10, 55), "b": (10, 5)}))
    shares = [
        (lambda score_I: score_I / score_I.sum())(Popularity(pooling=pooling).fit(data).score_I["b"])
        for pooling in (0.0, 10.0, 1e9)
    ]
    counts_I = sum(data[name].item_counts for name in data.domain_names)
    np.testing.assert_allclose(shares[2], counts_I / counts_I.sum(), rtol=1e-4)
    distances = [np.abs(share_I - shares[2]).sum() for share_I in shares]
    assert distances[0] > distances[1] > distances[2]


def test_old_events_of_another_domain_fade_before_they_are_pooled() -> None:
    tables = {
        "a": Interactions.from_events([0, 1], [0, 1], 4, 2, time=np.array([0, 30]) * DAY),
        "b": Interactions.from_events([2], [0], 4, 2, time=np.array([99]) * DAY),
    }
    data = with_products(of_tables(tables))
    score_I = Popularity(half_life_days=30, pooling=1.0).fit(data).score_I["b"]
    # of a: 0.5 and 1 events; of b: 1 and 0; together shares of 0.6 and 0.4
    np.testing.assert_allclose(score_I, [(1 + 0.6) / 2, (0 + 0.4) / 2])


@pytest.mark.parametrize("shared", [False, True])
def test_auto_tries_pooling_and_deviations_where_items_are_shared(shared: bool) -> None:
    data = countries() if shared else replace(countries(), products=None)
    proposed = candidates(data)
    assert ("popularity pooled" in proposed) == shared
    assert proposed["popularity"].single_domain
    searched = {
        label for label, each in proposed.items() if {"pooling", "deviation_reg"} & {*each.space_on(data)}
    }
    assert searched == ({"popularity pooled", "joined"} if shared else set())
