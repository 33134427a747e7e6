"""Sparsity of domains and the weights that follow: counts against a naive twin, maps, renormalisation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq
from worlds import of_tables, uneven

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.training.weighting.sparsity import (
    COUNT_UNITS,
    ENTROPIES,
    MAPS,
    METRICS,
    DomainCounts,
    SparsityScore,
    WeightMap,
    item_weights,
    renormalised,
)

# Thousands of ratings by genre, a film in all of its genres: about MovieLens 1M.
FILMS = np.array([357, 355, 257, 190, 157, 148, 134, 80, 76, 72, 69, 43, 42, 40, 36, 21, 18, 8], np.float64)
EXAMPLE = np.array([0.5, 0.3, 0.15, 0.05])  # of the table in docs/methods/dwl-weights.md


def counted(events: Any, items: Any = None, users: Any = None, **settings: Any) -> DomainCounts:
    """Counts of domains without common items; by default as many items and users as events, all evenly."""
    events_D = np.asarray(events, np.float64)
    items_D = events_D if items is None else np.asarray(items, np.float64)
    users_D = events_D if users is None else np.asarray(users, np.float64)
    total = float(events_D.sum())
    made = DomainCounts(
        tuple(f"d{place}" for place in range(len(events_D))),
        events_D,
        items_D,
        users_D,
        total,
        float(items_D.sum()),
        float(users_D.sum()),
        events_D / max(total, 1),
        np.log(np.maximum(items_D, 1)),
        np.log(np.maximum(users_D, 1)),
    )
    return replace(made, **settings)


def shares() -> Any:
    """Share vectors of 1 to 8 domains, some of them without events."""
    part = st.one_of(st.just(0.0), st.floats(1e-6, 1))
    return st.lists(part, min_size=1, max_size=8).filter(lambda parts: sum(parts) > 0).map(as_shares)


def as_shares(parts: list[float]) -> Any:
    return np.array(parts) / sum(parts)


def scores() -> Any:
    return st.lists(st.floats(-20, 20), min_size=1, max_size=8).map(np.array)


maps = st.builds(
    WeightMap,
    kind=st.sampled_from(MAPS),
    min_weight=st.floats(0.01, 1),
    max_weight=st.floats(1, 50),
    kappa=st.floats(0, 3),
    temperature=st.floats(0.1, 5),
)


# --- counts ----------------------------------------------------------------------------------------------


def entropy(counts: Any) -> float:
    parts = [count / sum(counts) for count in counts if count]
    return -sum(part * log(part) for part in parts)


def with_memberships(seed: int, timed: bool = False) -> MultiDomain:
    rng = np.random.default_rng(seed)
    data = uneven({"a": (9, 12), "b": (5, 7), "empty": (4, 0), "c": (11, 3)}, users=15, seed=seed)
    if timed:
        data = data.with_events(
            {
                name: Interactions(
                    e.user_idx, e.item_idx, e.n_users, e.n_items, None, rng.integers(0, 100, len(e))
                )
                for name, e in data.domains.items()
            }
        )
    return replace(
        data, memberships={name: rng.random((data[name].n_items, 4)) < 0.3 for name in ("a", "empty", "c")}
    )


@given(st.integers(0, 10_000), st.booleans())
def test_counts_are_those_of_a_loop_over_all_events(seed: int, timed: bool) -> None:
    data = with_memberships(seed, timed)
    found = DomainCounts.of(data, *((30, 70) if timed else ()))
    seen: dict[str, list[tuple[int, tuple[str, int]]]] = {name: [] for name in data.domain_names}
    share, number = dict.fromkeys(data.domain_names, 0.0), 0
    for home, events in data.domains.items():
        for place, (user, item) in enumerate(zip(events.user_idx, events.item_idx, strict=True)):
            if timed and not 30 <= events.time[place] <= 70:
                continue
            row = data.memberships[home][item] if home in data.memberships else [False] * 4
            mine = [name for name, on in zip(data.domain_names, row, strict=True) if on or name == home]
            number += 1
            for name in mine:
                seen[name].append((int(user), (home, int(item))))
                share[name] += 1 / len(mine)
    assume(number)
    everything = [event for events in seen.values() for event in events]
    assert found.names == data.domain_names
    assert found.n_events == number
    assert found.n_items == len({item for _, item in everything})
    assert found.n_users == len({user for user, _ in everything})
    assert found.share_D == pytest.approx([share[name] / number for name in data.domain_names])
    assert found.share_D.sum() == pytest.approx(1)
    for place, pairs in enumerate(seen.values()):
        users, items = [user for user, _ in pairs], [item for _, item in pairs]
        assert found.events_D[place] == len(pairs)
        assert found.users_D[place] == len(set(users))
        assert found.items_D[place] == len(set(items))
        counted = (found.user_entropy_D[place], Counter(users)), (found.item_entropy_D[place], Counter(items))
        for value, counts in counted:
            assert value == pytest.approx(entropy(list(counts.values())), abs=1e-12)


def test_a_window_needs_times_and_may_be_open() -> None:
    with pytest.raises(DataError, match="domain 'a' have no times"):
        DomainCounts.of(of_tables({"a": Interactions.from_events([0], [0], 1, 1)}), since=3)
    data = with_memberships(1, timed=True)
    whole, early, late = (
        DomainCounts.of(data),
        DomainCounts.of(data, until=40),
        DomainCounts.of(data, since=41),
    )
    assert 0 < early.n_events < whole.n_events
    np.testing.assert_array_equal(early.events_D + late.events_D, whole.events_D)


# --- the score -------------------------------------------------------------------------------------------


def test_the_score_by_hand() -> None:
    counts = counted([8, 2], items=[4, 2], users=[4, 1], n_users=4.0, item_entropy_D=np.log([3, 2]))
    first = 0.6 * 0 + 0.2 * (1 - log(3) / log(4)) + log(10 / 8)
    assert SparsityScore().score(counts) == pytest.approx([first, log(5) + 0.6 * log(4)])
    assert METRICS["frequency"].score(counts) == pytest.approx([log(10 / 8), log(5)])
    assert METRICS["users"].score(counts) == pytest.approx([0, log(4)])
    assert SparsityScore(0, 0, 1, entropy="items").score(counts) == pytest.approx([log(3), log(2)])
    assert SparsityScore(0, 0, 1, entropy="users").score(counts) == pytest.approx([log(4), 0])
    assert SparsityScore(0, 0, 1, entropy="none").score(counts).tolist() == [0, 0]
    by_items = replace(METRICS["frequency"], count_unit="items")
    assert by_items.score(counts) == pytest.approx([log(6 / 4), log(3)])


def test_published_entropy_pulls_the_small_domain_down_and_the_normalised_one_does_not() -> None:
    """Both domains are uniform; the smaller one has less to be uncertain about."""
    counts = counted([90, 10])
    literal = replace(METRICS["entropy"], entropy="items").score(counts)
    assert literal[1] < literal[0]
    assert METRICS["entropy"].score(counts) == pytest.approx([0, 0], abs=1e-12)
    crowded = replace(counts, item_entropy_D=np.log([90, 2]))  # the small domain's events are on few items
    assert METRICS["entropy"].score(crowded)[1] > 0.5
    single = counted([5, 5], items=[1, 5])
    assert METRICS["entropy"].score(single) == pytest.approx([0, 0])


def test_counting_items_may_turn_the_order_around() -> None:
    counts = counted([900, 100], items=[20, 80])
    by_events, by_items = (
        replace(METRICS["frequency"], count_unit=kind).score(counts) for kind in COUNT_UNITS
    )
    assert by_events[0] < by_events[1]
    assert by_items[0] > by_items[1]


@given(shares(), st.sampled_from(ENTROPIES), st.sampled_from(COUNT_UNITS))
def test_a_domain_without_events_changes_no_other_score(share_D: Any, kind: str, counting: str) -> None:
    events_D = np.ceil(share_D * 1000)
    sparsity = SparsityScore(entropy=kind, count_unit=counting, standardise=True)
    score_D = sparsity.score(counted(events_D))
    assert np.isnan(score_D).tolist() == (events_D == 0).tolist()
    alone_D = sparsity.score(counted(events_D[events_D > 0]))
    np.testing.assert_allclose(score_D[events_D > 0], alone_D, atol=1e-12)


def test_standardised_terms_have_mean_0_and_deviation_1() -> None:
    counts = counted([50, 30, 20], users=[7, 7, 7])
    score_D = SparsityScore(2.0, 0.6, 0.0, standardise=True).score(counts)
    term_D = np.log(100 / counts.events_D)
    assert score_D == pytest.approx(2 * (term_D - term_D.mean()) / term_D.std())  # equal terms add nothing


def test_nothing_at_all_has_no_score() -> None:
    nothing = DomainCounts.of(of_tables({"a": Interactions.from_events([], [], 3, 2)}))
    for standardise in (False, True):
        score_D = SparsityScore(standardise=standardise).score(nothing)
        assert np.isnan(score_D).all()
        assert WeightMap().weights(score_D, nothing.share_D).tolist() == [1.0]


# --- the maps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", MAPS)
def test_balanced_domains_have_weight_1_exactly(metric: str, kind: str) -> None:
    """Equal tables up to the order of their items, so that sums differ by rounding."""
    rng = np.random.default_rng(0)
    user_idx, item_idx = np.nonzero(rng.random((40, 30)) < 0.2)
    tables = {
        name: Interactions.from_events(user_idx, rng.permutation(30)[item_idx], 40, 30) for name in "abcde"
    }
    counts = DomainCounts.of(of_tables(tables))
    for standardise in (False, True):
        score_D = replace(METRICS[metric], standardise=standardise).score(counts)
        assert WeightMap(kind).weights(score_D, counts.share_D).tolist() == [1.0] * 5
        assert WeightMap(kind).weights(score_D).tolist() == [1.0] * 5
    alone = DomainCounts.of(of_tables({"a": tables["a"]}))
    assert WeightMap(kind).weights(METRICS[metric].score(alone), alone.share_D).tolist() == [1.0]


@given(scores(), maps)
def test_maps_are_monotone_and_renormalised_ones_within_bounds(score_D: Any, weighting: WeightMap) -> None:
    order = np.argsort(score_D)
    share_D = np.full(len(score_D), 1 / len(score_D))
    for weight_D in (weighting.raw(score_D), weighting.weights(score_D), weighting.weights(score_D, share_D)):
        assert (np.diff(weight_D[order]) >= -1e-9 * weight_D[order][1:]).all()
    for weight_D in (weighting.weights(score_D), weighting.weights(score_D, share_D)):
        assert weight_D.min() >= weighting.min_weight
        assert weight_D.max() <= weighting.max_weight


def test_the_maps_by_hand() -> None:
    score_D = np.array([1.0, 2.0, np.nan, 4.0])
    raw = {kind: WeightMap(kind, temperature=2.0).raw(score_D).tolist() for kind in MAPS}
    whole = exp(0.5) + exp(1) + exp(2)
    assert raw["literal"] == pytest.approx([0.2, 1 / 3, 1, 1])
    assert raw["affine"] == pytest.approx([0.2, 0.2 + 4.8 / 3, 1, 5])
    assert raw["geometric"] == pytest.approx([0.2, 0.2 * 25 ** (1 / 3), 1, 5])
    assert raw["exponential"] == pytest.approx([exp(0.5), exp(1), 1, exp(2)])
    assert raw["softmax"] == pytest.approx([3 * exp(0.5) / whole, 3 * exp(1) / whole, 1, 3 * exp(2) / whole])


@given(shares(), st.floats(0, 2))
def test_frequency_alone_under_the_exponential_map_is_a_power_of_the_inverse_share(
    share_D: Any, kappa: float
) -> None:
    events_D = np.ceil(share_D * 1000)
    counts = counted(events_D[events_D > 0])
    raw_D = WeightMap(kappa=kappa).raw(SparsityScore(1.0, 0.0, 0.0).score(counts))
    if np.ptp(counts.share_D):
        assert raw_D == pytest.approx(counts.share_D**-kappa)


def test_the_published_map_never_raises_a_weight() -> None:
    """Min-max lies in [0, 1]: the upper bound never acts, and the mean weight of a sample is .28."""
    counts = counted(FILMS, n_events=1000.0)
    score_D = METRICS["frequency"].score(counts)
    literal_D = WeightMap("literal").weights(score_D)
    assert (literal_D.min(), literal_D.max()) == (0.2, 1.0)
    assert literal_D.tolist() == WeightMap("literal", max_weight=50.0).weights(score_D).tolist()
    assert counts.share_D @ literal_D == pytest.approx(0.28, abs=0.005)
    assert counts.share_D @ WeightMap().weights(score_D, counts.share_D) == pytest.approx(1)


def test_min_max_does_not_see_how_little_domains_differ() -> None:
    score_D = METRICS["frequency"].score(counted([1000, 1001]))
    assert WeightMap("affine").weights(score_D).tolist() == [5.0, 0.2]
    assert WeightMap().weights(score_D, np.array([0.5, 0.5])) == pytest.approx([1, 1], abs=1e-3)


def test_the_example_of_the_page() -> None:
    score_D = METRICS["frequency"].score(counted(EXAMPLE * 1000))
    plain = {kind: np.round(WeightMap(kind).weights(score_D), 2).tolist() for kind in MAPS}
    level = {kind: np.round(WeightMap(kind).weights(score_D, EXAMPLE), 2).tolist() for kind in MAPS}
    assert plain == {
        "literal": [0.2, 0.22, 0.52, 1.0],
        "affine": [0.2, 1.26, 2.71, 5.0],
        "geometric": [0.2, 0.41, 1.08, 5.0],
        "exponential": [1.41, 1.83, 2.58, 4.47],
        "softmax": [0.25, 0.42, 0.83, 2.5],
    }
    means = [float(EXAMPLE @ WeightMap(kind).weights(score_D)) for kind in plain]
    assert dict(zip(plain, np.round(means, 2).tolist(), strict=True)) == {
        "literal": 0.29,
        "affine": 1.14,
        "geometric": 0.63,
        "exponential": 1.87,
        "softmax": 0.5,
    }
    assert level == {
        "literal": [0.68, 0.75, 1.77, 3.39],
        "affine": [0.2, 1.1, 2.35, 4.34],
        "geometric": [0.39, 0.8, 2.1, 5.0],
        "exponential": [0.76, 0.98, 1.38, 2.4],
        "softmax": [0.5, 0.83, 1.67, 5.0],
    }


# --- renormalisation -------------------------------------------------------------------------------------


@given(shares(), st.floats(0.01, 1), st.floats(1, 50), st.integers(0, 1000))
def test_renormalised_weights_have_mean_1_within_their_bounds(
    share_D: Any, low: float, high: float, seed: int
) -> None:
    weight_D = np.random.default_rng(seed).lognormal(0, 3, len(share_D))
    found_D = renormalised(weight_D, share_D, low, high)
    here_D = share_D > 0
    assert share_D @ found_D == pytest.approx(1, abs=1e-12)
    assert found_D.min() >= low
    assert found_D.max() <= high
    assert (found_D[~here_D] == 1).all()

    def surplus(log_c: float) -> float:
        return float(share_D[here_D] @ np.clip(np.exp(log_c) * weight_D[here_D], low, high)) - 1

    if low < 1 < high and abs(surplus(-60.0)) > 1e-9 < abs(surplus(60.0)):
        c = np.exp(brentq(surplus, -60, 60, xtol=1e-14))
        np.testing.assert_allclose(found_D[here_D], np.clip(c * weight_D[here_D], low, high), rtol=1e-6)


def test_where_the_mean_does_not_depend_on_c_all_weights_are_at_a_bound() -> None:
    weight_D = renormalised([1.0, 1e9], [5 / 6, 1 / 6], 0.2, 5.0)
    assert weight_D == pytest.approx([0.2, 5.0])


def test_equal_weights_become_ones_exactly_for_all_shares() -> None:
    rng = np.random.default_rng(0)
    for weight in rng.lognormal(0, 2, 50):
        assert renormalised([weight] * 3, rng.random(3), 0.2, 5).tolist() == [1.0] * 3
    several = renormalised([1.0, 3.0, 0.4], [0.1, 0.2, 0.7], 0.2, 5)
    assert renormalised([1.0, 3.0, 0.4], [1, 2, 7], 0.2, 5) == pytest.approx(several.tolist(), rel=1e-12)
    assert renormalised([3.7, 9.0], [0.0, 2.0], 0.2, 5).tolist() == [1.0, 1.0]
    assert renormalised([3.7, 9.0], [0.0, 0.0], 0.2, 5).tolist() == [1.0, 1.0]
    far_D = renormalised([1e-130, 3e-130], [0.5, 0.5], 0.2, 5)
    assert far_D == pytest.approx([0.5, 1.5])


# --- items of several domains ----------------------------------------------------------------------------


def test_an_item_of_several_domains() -> None:
    belongs_ID = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    weight_D = np.array([0.5, 2.0, 3.0])
    assert item_weights(weight_D, belongs_ID).tolist() == [0.5, 2.0, 3.0, 1.0]
    assert item_weights(weight_D, belongs_ID, "mean") == pytest.approx([0.5, 1.25, 5.5 / 3, 1.0])
    assert item_weights(weight_D, belongs_ID, "product").tolist() == [0.5, 1.0, 3.0, 1.0]


@given(st.integers(0, 10_000))
def test_the_mean_over_an_items_domains_keeps_the_mean_over_events(seed: int) -> None:
    """Which is what equal parts in the shares are for; the largest one lies above it."""
    data = with_memberships(seed)
    counts = DomainCounts.of(data)
    weight_D = WeightMap().weights(SparsityScore().score(counts), counts.share_D)
    total = dict.fromkeys(("mean", "max"), 0.0)
    for home, events in data.domains.items():
        belongs_ID = np.zeros((events.n_items, 4), bool)
        belongs_ID |= data.memberships.get(home, belongs_ID)
        belongs_ID[:, data.domain_names.index(home)] = True
        for combine in total:
            total[combine] += item_weights(weight_D, belongs_ID, combine)[events.item_idx].sum()
    assert total["mean"] == pytest.approx(counts.n_events)
    assert total["max"] >= counts.n_events - 1e-9


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: SparsityScore(alpha=-1), "alpha must be a number, 0 or more"),
        (lambda: SparsityScore(gamma=float("nan")), "gamma must be a number, 0 or more"),
        (lambda: SparsityScore(count_unit="event"), "did you mean 'events'"),
        (lambda: SparsityScore(entropy="item"), "did you mean 'items'"),
        (lambda: WeightMap("exponent"), "did you mean 'exponential'"),
        (lambda: WeightMap(min_weight=1.5), "min_weight must be a number, above 0 and at most 1"),
        (lambda: WeightMap(max_weight=0.5), "max_weight must be a number, 1 or more"),
        (lambda: WeightMap(min_weight=0), "min_weight must be a number, above 0"),
        (lambda: WeightMap(kappa=-1), "kappa must be a number, 0 or more"),
        (lambda: WeightMap(temperature=0), "temperature must be a number, above 0"),
        (lambda: renormalised([1, 2], [0.5, 0.5], 2, 3), "can have mean 1"),
        (lambda: renormalised([1, 0], [0.5, 0.5], 0.2, 5), "positive and finite"),
        (lambda: item_weights([1.0], np.ones((1, 1), bool), "maximum"), "did you mean 'max'"),
    ],
)
def test_impossible_settings_are_reported(made: Any, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        made()
