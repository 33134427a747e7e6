"""Several objectives: the mixture, what each objective asks for, the non-dominated points."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import DataError, SettingsError
from landbridge.training.weighting.multi_objective import (
    OBJECTIVES,
    MultiObjective,
    exposure,
    pareto,
    simplex_grid,
    worst_group,
)
from landbridge.training.weighting.sparsity import renormalised

SHARE = np.array([0.6, 0.3, 0.1])
ASKED = {
    "sparsity": np.array([0.7, 1.1, 2.5]),
    "worst_group": np.array([1.2, 0.6, 1.0]),
    "exposure": np.array([0.9, 1.4, 0.4]),
}
positive = st.floats(0.05, 20)


# --- the mixture -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_alone_is_what_it_asks_for(name: str) -> None:
    alone = MultiObjective(**{**dict.fromkeys(OBJECTIVES, 0.0), name: 1.0})
    want_D = renormalised(ASKED[name], SHARE, 0.2, 5)
    np.testing.assert_allclose(alone.mixed({name: ASKED[name]}, SHARE), want_D, rtol=1e-12)


@given(st.tuples(*[st.floats(0, 2)] * 3), st.integers(0, 1000))
def test_the_mixture_is_a_product_of_powers_with_mean_1(powers: tuple[float, ...], seed: int) -> None:
    asked_3D = np.random.default_rng(seed).lognormal(0, 1, (3, 3))
    found_D = MultiObjective(*powers).mixed(dict(zip(OBJECTIVES, asked_3D, strict=True)), SHARE)
    product_D = np.prod([asked_D**power for asked_D, power in zip(asked_3D, powers, strict=True)], axis=0)
    np.testing.assert_allclose(found_D, renormalised(product_D, SHARE, 0.2, 5), rtol=1e-9)
    assert SHARE @ found_D == pytest.approx(1, abs=1e-12)
    assert found_D.min() >= 0.2
    assert found_D.max() <= 5


def test_scale_of_the_requested_weights_does_not_matter_and_no_request_is_ones() -> None:
    mix = MultiObjective(0.5, 0.3, 0.2)
    scaled = {name: 7.0**place * weight_D for place, (name, weight_D) in enumerate(ASKED.items())}
    np.testing.assert_allclose(mix.mixed(ASKED, SHARE), mix.mixed(scaled, SHARE), rtol=1e-12)
    assert MultiObjective(0.0).mixed({}, SHARE).tolist() == [1, 1, 1]
    assert MultiObjective(500.0).mixed(ASKED, SHARE).min() >= 0.2


# --- what objectives ask for -----------------------------------------------------------------------------


def test_worst_group_weights_are_group_dro() -> None:
    """After steps with losses L the parts f w are a softmax of ln f + η Σ L."""
    losses_TD = np.random.default_rng(0).random((30, 3))
    weight_D = np.ones(3)
    for loss_D in losses_TD:
        weight_D = worst_group(weight_D, loss_D, SHARE, lr=0.2)
        assert SHARE @ weight_D == pytest.approx(1)
    grown_D = SHARE * np.exp(0.2 * losses_TD.sum(axis=0))
    np.testing.assert_allclose(SHARE * weight_D, grown_D / grown_D.sum(), rtol=1e-12)


def test_worst_group_comes_to_the_worst_domain_alone_and_equal_losses_move_nothing() -> None:
    weight_D = np.ones(3)
    for _ in range(3000):
        weight_D = worst_group(weight_D, [1.0, 2.0, 1.9], SHARE, lr=0.1)
    assert SHARE * weight_D == pytest.approx([0, 1, 0], abs=1e-6)
    assert worst_group([0.5, 1.5, 2.5], [3.0] * 3, SHARE) == pytest.approx([0.5, 1.5, 2.5])
    assert np.isfinite(worst_group(np.ones(3), [1e6, 1.0, 1.0], SHARE, lr=1.0)).all()


def test_exposure_raises_who_is_shown_too_little() -> None:
    target = [0.5, 0.25, 0.25]
    assert exposure(target, [0, 0, 0]).tolist() == [1, 1, 1]
    assert exposure(target, [400, 200, 200]) == pytest.approx([1, 1, 1])
    assert exposure(target, [700, 100, 0]) == pytest.approx(
        [0.5 * 801 / 700.5, 0.25 * 801 / 100.25, 801.0], rel=1e-12
    )
    assert exposure([2, 1, 1], [70, 10, 0]) == pytest.approx(exposure(target, [70, 10, 0]))


@given(st.lists(st.tuples(positive, st.integers(0, 500)), min_size=1, max_size=6))
def test_exposure_weights_bring_what_is_shown_to_its_target(pairs: list[tuple[float, int]]) -> None:
    target_D, shown_D = (np.array(column, float) for column in zip(*pairs, strict=True))
    part_D = target_D / target_D.sum()
    brought_D = exposure(target_D, shown_D) * (shown_D + part_D)
    np.testing.assert_allclose(brought_D / brought_D.sum(), part_D, rtol=1e-9)


# --- points and grids ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=12), st.tuples(*[st.booleans()] * 3))
def test_the_front_is_that_of_a_loop(points: list[tuple[int, ...]], larger: tuple[bool, ...]) -> None:
    signed = [tuple(v if up else -v for v, up in zip(point, larger, strict=True)) for point in points]

    def dominated(one: tuple[int, ...]) -> bool:
        return any(all(o >= v for o, v in zip(other, one, strict=True)) and other != one for other in signed)

    found_P = pareto(np.array(points, float).reshape(-1, 3), larger)
    assert found_P.tolist() == [not dominated(point) for point in signed]


def test_the_front_by_hand() -> None:
    points = [[1.0, 9.0], [2.0, 8.0], [2.0, 7.0], [2.0, 8.0], [0.0, 9.0]]
    assert pareto(points).tolist() == [True, True, False, True, False]
    assert pareto(points, False).tolist() == [False, False, True, False, True]
    assert pareto(points, [True, False]).tolist() == [False, False, True, False, False]
    with pytest.raises(DataError, match="metric that is NaN"):
        pareto([[1.0, np.nan]])


@pytest.mark.parametrize(("objectives", "steps"), [(1, 4), (2, 5), (3, 4), (4, 3)])
def test_the_grid_is_every_point_of_the_simplex_once(objectives: int, steps: int) -> None:
    found_PM = simplex_grid(objectives, steps)
    every = [point for point in product(range(steps + 1), repeat=objectives) if sum(point) == steps]
    assert len(found_PM) == comb(steps + objectives - 1, objectives - 1)
    np.testing.assert_allclose(found_PM, np.array(every) / steps)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: MultiObjective(-1), "sparsity must be 0 or more"),
        (lambda: MultiObjective(low=2), "can have mean 1"),
        (
            lambda: MultiObjective().mixed({}, SHARE),
            "sparsity has coefficient 1.0, but no weights were given",
        ),
        (lambda: MultiObjective().mixed({"sparse": SHARE}, SHARE), "did you mean 'sparsity'"),
        (
            lambda: MultiObjective().mixed({"sparsity": SHARE - 0.1}, SHARE),
            "weights of objective sparsity must be positive",
        ),
        (lambda: worst_group(SHARE, SHARE, SHARE, lr=-1), "lr must be 0 or more"),
        (lambda: exposure([0.5, 0.0], [1, 1]), "target share must be above 0"),
        (lambda: simplex_grid(0, 3), "A grid needs"),
    ],
)
def test_impossible_settings_are_reported(made: Any, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        made()
