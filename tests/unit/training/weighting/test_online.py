"""Weights from a stream: its average against a loop, its guarantees, and the rate of false alarms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.files import read_arrays, write_arrays
from landbridge.core.rng import generator
from landbridge.training.weighting.online import OnlineWeights, homogeneity
from landbridge.training.weighting.sparsity import WeightMap


def drawn(share_D: Any, number: int, seed: int = 0) -> Any:
    return generator(seed, "stream").choice(len(share_D), number, p=share_D)


def fed(stream: OnlineWeights, state: Any, domain_N: Any, size: int) -> Any:
    for start in range(0, len(domain_N), size):
        state = stream.seen(state, domain_N[start : start + size])
    return state


def exact(share_D: Any, number: int) -> Any:
    """A batch with exactly these shares."""
    return np.repeat(np.arange(len(share_D)), np.round(np.asarray(share_D) * number).astype(int))


def shares(least: float = 0.02) -> Any:
    """2 to 5 domains with shares that are whole percentages."""

    def of(parts: list[float]) -> Any:
        share_D = np.array(parts) / sum(parts)
        percent_D = np.maximum(np.floor(share_D * 100), round(least * 100))
        percent_D[share_D.argmax()] += 100 - percent_D.sum()
        return percent_D / 100

    return st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(of)


# --- the average -----------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.sampled_from([1, 7, 50, 120]), st.sampled_from([5.0, 60.0, 3000.0]))
def test_shares_are_averages_with_weights_that_halve(seed: int, size: int, half_life: float) -> None:
    """Against a loop over events, each as old as the average one of its batch."""
    domain_N = drawn([0.6, 0.3, 0.1], 120, seed)
    stream = OnlineWeights(half_life)
    state = fed(stream, stream.begin(np.zeros(3)), domain_N, size)
    age_N = 119 - np.arange(120)
    single_N = 0.5 ** (age_N / half_life)
    batch_N = np.arange(120) // size
    weight_N = np.array([single_N[batch_N == batch].mean() for batch in batch_N])
    share_D = np.bincount(domain_N, weight_N, minlength=3) / weight_N.sum()
    np.testing.assert_allclose(stream.shares(state), share_D, rtol=1e-9)


def test_the_total_does_not_depend_on_how_the_stream_is_cut() -> None:
    stream, domain_N = OnlineWeights(100.0), drawn([0.7, 0.3], 600)
    totals = [fed(stream, stream.begin([0, 0]), domain_N, size)["mass_D"].sum() for size in (1, 10, 600)]
    assert totals == pytest.approx([totals[0]] * 3)


@given(st.integers(0, 1000))
def test_the_order_within_a_batch_is_of_no_account(seed: int) -> None:
    stream = OnlineWeights(50.0, window=30)
    domain_N = drawn([0.5, 0.3, 0.2], 40, seed)
    start = fed(stream, stream.begin(np.zeros(3)), drawn([0.2, 0.3, 0.5], 60, seed), 20)
    one, other = (stream.seen(start, order_N) for order_N in (domain_N, np.sort(domain_N)))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_half_life_may_be_in_time() -> None:
    stream = OnlineWeights(half_life=3.0)  # days
    state = stream.seen(stream.begin([0, 0]), [0, 0, 0, 0], elapsed=0.0)
    assert state["mass_D"].tolist() == [4.0, 0.0]
    state = stream.seen(state, [1, 1], elapsed=0.0)
    assert stream.shares(state) == pytest.approx([2 / 3, 1 / 3])
    late = stream.seen(state, [1], elapsed=6.0)
    assert late["mass_D"] == pytest.approx([1.0, 0.5 + 0.75 / np.log(4)])


# --- guarantees ------------------------------------------------------------------------------------------


@given(shares(), st.floats(0.01, 0.5), st.integers(0, 1000))
def test_no_step_is_longer_than_allowed_and_no_weight_leaves_the_bounds(
    share_D: Any, change: float, seed: int
) -> None:
    stream = OnlineWeights(20.0, change=change)
    state = stream.begin(np.zeros(3))
    assert stream.weights(state).tolist() == [1, 1, 1]
    for batch in range(12):
        before_D = stream.weights(state)
        state = stream.seen(state, drawn(share_D if batch % 4 else share_D[::-1], 9, seed + batch))
        ratio_D = stream.weights(state) / before_D
        assert ratio_D.max() <= (1 + change) * (1 + 1e-12)
        assert ratio_D.min() >= 1 / (1 + change) / (1 + 1e-12)
        assert stream.weights(state).min() >= 0.2
        assert stream.weights(state).max() <= 5


@settings(max_examples=40)
@given(
    shares(),
    shares(),
    st.booleans(),
    st.sampled_from([0.3, 0.5, 1.3]),
    st.sampled_from([20.0, 150.0, 1000.0]),
    st.sampled_from([0.05, 0.5]),
)
def test_a_change_of_the_shares_is_followed_within_the_bound(
    old_D: Any, new_D: Any, renorm: bool, kappa: float, half_life: float, change: float
) -> None:
    bounds = (1e-3, 1e3) if renorm else (0.5, 4.0)
    stream = OnlineWeights(half_life, WeightMap("exponential", *bounds, kappa), renorm, change)
    goal_D = stream.weights(stream.begin(new_D))
    state, batch_N = stream.begin(old_D), exact(new_D, 100)
    bound = stream.lag(100, float(new_D.min()), 0.05)
    for number in range(1, bound + 12):
        state = stream.seen(state, batch_N)
        left_D = 0.5 ** (number * 100 / half_life) * (old_D - new_D)
        np.testing.assert_allclose(stream.shares(state), new_D + left_D, atol=1e-9)
        if number >= bound:
            assert np.abs(np.log(stream.weights(state) / goal_D)).max() <= 0.05


def test_the_bound_is_of_the_right_size() -> None:
    """A domain of a hundredth comes to have a third, at 2000 events a half-life and 100 an update."""
    stream = OnlineWeights(2000.0, change=0.05)
    old_D, new_D = np.array([0.66, 0.33, 0.01]), np.array([0.34, 0.33, 0.33])
    goal_D, state = stream.weights(stream.begin(new_D)), stream.begin(old_D)
    needed = 0
    while np.abs(np.log(stream.weights(state) / goal_D)).max() > 0.05:
        state, needed = stream.seen(state, exact(new_D, 100)), needed + 1
    assert 50 < needed < stream.lag(100, 0.33, 0.05) < 4 * needed


def test_constant_shares_give_the_static_weights_but_for_noise() -> None:
    share_D = np.array([0.6, 0.3, 0.1])
    stream = OnlineWeights(200.0, change=1.0)
    state = fed(stream, stream.begin(np.zeros(3)), drawn(share_D, 4_000), 20)
    static_D = stream.weights(stream.begin(share_D))
    logs, weights = [], []
    for domain_N in drawn(share_D, 80_000, seed=1).reshape(-1, 20):
        state = stream.seen(state, domain_N)
        logs.append(np.log(stream.shares(state)))
        weights.append(stream.weights(state))
    noise_D = np.sqrt((1 - share_D) / (share_D * 400 / np.log(2)))
    np.testing.assert_allclose(np.std(logs, axis=0), noise_D, rtol=0.1)
    np.testing.assert_allclose(np.mean(weights, axis=0), static_D, rtol=0.02)
    assert (np.abs(np.log(weights / static_D)) < 5 * noise_D.max()).all()


def test_known_shares_are_as_if_from_a_long_stream() -> None:
    share_D = np.array([0.6, 0.3, 0.1])
    stream = OnlineWeights(30.0, change=9.0)
    state = stream.begin(np.zeros(3))
    for _ in range(400):
        state = stream.seen(state, exact(share_D, 10))
    known = stream.begin(share_D)
    np.testing.assert_allclose(known["mass_D"], state["mass_D"], rtol=1e-12)
    np.testing.assert_allclose(stream.weights(known), stream.weights(state), rtol=1e-12)
    assert share_D @ stream.weights(known) == pytest.approx(1)


def test_memory_is_a_few_values_per_domain_and_can_be_stored(tmp_path: Any) -> None:
    stream = OnlineWeights(100.0, window=50)
    start = stream.begin(np.zeros(4))
    state = fed(stream, start, drawn([0.25] * 4, 5000), 10)
    assert {name: array.shape for name, array in start.items()} == {n: a.shape for n, a in state.items()}
    assert max(array.size for array in state.values()) == 4
    write_arrays(tmp_path / "state.safetensors", state, {})
    loaded = read_arrays(tmp_path / "state.safetensors")[0]
    more_N = drawn([0.25] * 4, 30, seed=1)
    one, other = stream.seen(state, more_N), stream.seen(loaded, more_N)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    before = stream.begin(np.zeros(4))
    assert all(np.array_equal(before[name], array) for name, array in start.items())


def test_an_empty_batch_changes_nothing_and_a_foreign_domain_is_an_error() -> None:
    stream = OnlineWeights()
    state = stream.begin([0.5, 0.5])
    assert stream.seen(state, []) is state
    for domain_N in ([0, 2], [-1]):
        with pytest.raises(DataError, match="between 0 and 1"):
            stream.seen(state, domain_N)
    with pytest.raises(DataError, match="elapsed must be 0 or more"):
        stream.seen(state, [0], elapsed=-1.0)


# --- drift -----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(20, 400), st.integers(20, 400)), min_size=2, max_size=6))
def test_the_chance_is_that_of_a_contingency_table(counts: list[tuple[int, int]]) -> None:
    table_2D = np.array(counts, np.float64).T
    assert homogeneity(*table_2D) == pytest.approx(chi2_contingency(table_2D, correction=False).pvalue)


def test_rare_domains_are_taken_together() -> None:
    common, rare = np.array([300.0, 200.0]), np.array([[2.0, 1.0, 4.0], [3.0, 3.0, 1.0]])
    one, other = np.append(common, rare[0]), np.append(common + 40, rare[1])
    pooled = chi2_contingency([[300, 200, 7], [340, 240, 7]], correction=False).pvalue
    assert homogeneity(one, other) == pytest.approx(pooled)
    assert homogeneity(np.array([9.0, 0]), np.array([70.0, 0])) == 1.0
    assert homogeneity(np.array([9.0]), np.array([70.0])) == 1.0


@pytest.mark.parametrize("alarm", [0.05, 0.01])
@pytest.mark.parametrize("share_D", [[0.5, 0.3, 0.2], [0.7, 0.2, 0.09, 0.006, 0.002, 0.002]])
def test_false_alarms_come_at_their_rate(alarm: float, share_D: list[float]) -> None:
    """Every test with a window of its own to compare with, so that tests are independent."""
    draw, tests = generator(2, "false alarms"), 4000
    chances = [homogeneity(*draw.multinomial(500, share_D, 2).astype(float)) for _ in range(tests)]
    rate = np.mean(np.array(chances) < alarm)
    assert rate == pytest.approx(alarm, abs=4 * np.sqrt(alarm * (1 - alarm) / tests))


def test_false_alarms_of_a_stream_come_at_their_rate_too() -> None:
    """Neighbouring tests share a window, so the rate's deviation is a little larger."""
    stream = OnlineWeights(window=200, alarm=0.05)
    state = fed(stream, stream.begin(np.zeros(3)), drawn([0.5, 0.3, 0.2], 400_000), 200)
    assert int(state["alarms_1"][0]) / 1999 == pytest.approx(0.05, abs=0.02)


def test_a_change_is_noticed_once() -> None:
    stream = OnlineWeights(window=1000)
    state = fed(stream, stream.begin(np.zeros(2)), drawn([0.8, 0.2], 20_000), 100)
    assert state["alarms_1"].tolist() == [0]
    state = fed(stream, state, drawn([0.7, 0.3], 20_000, seed=1), 100)
    assert state["alarms_1"].tolist() == [1]
    facts = stream.log_values(state, "ab")
    assert facts["alarms"] == 1
    assert facts["chance"] > 0.001
    assert facts["share"] == pytest.approx({"a": 0.7, "b": 0.3}, abs=0.03)
    assert facts["weight"]["a"] < 1 < facts["weight"]["b"]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: OnlineWeights(0), "half_life must be above 0"),
        (lambda: OnlineWeights(change=0), "change must be above 0"),
        (lambda: OnlineWeights(window=0), "window must be 1 event or more"),
        (lambda: OnlineWeights(alarm=1), "alarm must be 0 or more and below 1"),
        (
            lambda: OnlineWeights(map=WeightMap("affine")).lag(100, 0.1),
            "lag is known for the exponential map",
        ),
        (lambda: OnlineWeights().lag(100, 0.0), "lag is known"),
    ],
)
def test_impossible_settings_are_reported(made: Any, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        made()
