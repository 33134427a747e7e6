"""Weightings that look at losses alone: Uncertainty, Fixed, random ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landbridge.core.errors import SettingsError
from landbridge.training.weighting.base import (
    DomainRates,
    Fixed,
    Uncertainty,
    Uniform,
    random_rates,
    random_weightings,
)
from landbridge.training.weighting.gradnorm import GradNorm

torch = pytest.importorskip("torch")


def test_uncertainty_steps_along_the_gradient_of_its_objective() -> None:
    s = torch.tensor([0.0, 0.3], requires_grad=True)
    values = torch.tensor([0.4, 1.1])
    ((-s).exp() * values + s / 2).sum().backward()
    state = {"a": np.array([0.0]), "b": s.detach().numpy()[1:].astype(float)}
    losses = dict(zip("ab", values, strict=True))
    weights, after = Uncertainty(0.01).weights(losses, {}, {**state, "gone": np.array([2.0])})
    assert weights == pytest.approx({"a": 1.0, "b": np.exp(-0.3)})
    moved = [after[d][0] - state[d][0] for d in "ab"]
    assert moved == pytest.approx((-0.01 * s.grad).tolist(), rel=1e-5)
    assert after["gone"] == [2.0]
    assert Uncertainty(0.01).weights({"a": torch.tensor(900.0)}, {}, {})[1]["a"] == [0.01]  # and no further


def test_uncertainty_comes_to_half_the_inverse_loss_and_stays_bounded() -> None:
    losses = {
        "a": torch.tensor(0.1),
        "b": torch.tensor(2.0),
        "zero": torch.tensor(0.0),
        "huge": torch.tensor(1e9),
    }
    state: Any = {}
    for _ in range(3000):
        weights, state = Uncertainty().weights(losses, {}, state)
    bounds = {"zero": np.exp(10), "huge": np.exp(-10)}
    assert weights == pytest.approx({"a": 5.0, "b": 0.25, **bounds}, rel=1e-3)
    assert Uncertainty().log_values(state)["weight"] == pytest.approx(weights, rel=1e-3)
    assert Uncertainty().log_values({}) == GradNorm("shared").log_values({}) == Uniform().log_values({}) == {}


def test_random_weightings() -> None:
    drawn = random_weightings(["x", "y", "z"])
    assert len({tuple(fixed.by_domain.values()) for fixed in drawn}) == 10
    assert all(sum(fixed.by_domain.values()) == pytest.approx(3) for fixed in drawn)
    assert random_weightings(["x", "y", "z"], 3) == drawn[:3]
    assert random_weightings(["x", "y", "z"], seed=1) != drawn
    many = np.array([[*fixed.by_domain.values()] for fixed in random_weightings(["x", "y"], 2000)])
    assert np.sort(many[:, 0])[[500, 1000, 1500]] == pytest.approx([0.5, 1.0, 1.5], abs=0.07)  # flat
    assert random_weightings(["x"], 1) == (Fixed({"x": 1.0}),)


def test_random_rates_are_log_uniform_between_a_tenth_and_ten() -> None:
    drawn = random_rates(["x", "y"])
    assert random_rates(["x", "y"], 3) == drawn[:3]
    assert random_rates(["x", "y"], seed=1) != drawn
    many = np.log10([[*rates.values()] for rates in random_rates(["x", "y"], 2000)])
    assert np.abs(many).max() <= 1
    np.testing.assert_allclose(
        np.quantile(many, [0.25, 0.5, 0.75], axis=0).T, [[-0.5, 0, 0.5]] * 2, atol=0.07
    )


def test_rates_are_of_what_only_one_domain_has() -> None:
    rates = DomainRates({"a": 0.5}, {"a": {"item.a"}, "b": {"item.b", "head.b"}})
    assert rates.lr_factors({}) == {"item.a": 0.5, "item.b": 1.0, "head.b": 1.0}
    assert rates.weights({"a": 2.0, "b": 3.0}, {}, {}) == ({"a": 1.0, "b": 1.0}, {})
    assert rates.log_values({}) == {"pace": {"a": 0.5, "b": 1.0}}
    with pytest.raises(SettingsError, match="factor of domain 'a' must be above 0 and finite, not 0"):
        DomainRates({"a": 0.0}, {})


def test_a_length_of_steps_below_zero_is_refused() -> None:
    with pytest.raises(SettingsError, match="lr must be 0 or more"):
        Uncertainty(-1)
