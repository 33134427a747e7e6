"""Temperatures: their gradient three ways, where they come to rest, and one step of Algorithm 2 by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from crowds import divergence, log_mean
from torch import Tensor

from landbridge.core.errors import SettingsError
from landbridge.models.uclr.temperature import (
    TemperatureRule,
    Temperatures,
    by_activity,
    gradient,
)

N = 63


def some_gaps(people: int = 5, negatives: int = N, spread: float = 0.3, seed: int = 2) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(np.clip(rng.normal(-0.5, spread, (people, negatives)), -2, 2))


def slope(h_BN: Tensor, tau_B: Tensor, rho: float, log_s_B: Tensor | None = None) -> Tensor:
    """∂F/∂τ; without log s, that of the batch's own inner mean."""
    log_g_B, kl_B = log_mean(h_BN, tau_B), divergence(h_BN, tau_B)
    return gradient(log_g_B, kl_B, log_g_B if log_s_B is None else log_s_B, rho, h_BN.shape[1])


def objective_value(h_BN: Tensor, tau_B: Tensor, rho: float) -> Tensor:
    return tau_B * (log_mean(h_BN, tau_B) + rho)


def advance(state: Temperatures, users_B: Tensor, h_BN: Tensor) -> tuple[Tensor, Tensor]:
    """A step of users with these gaps to all others of a batch, of whom only they are moved."""
    wide_BN, tau_B = h_BN.double(), state.tau_U[users_B].double()
    log_g_B, kl_B = (figure(wide_BN, tau_B).float() for figure in (log_mean, divergence))
    return state.advance(users_B, log_g_B, kl_B, h_BN.shape[1])


def rest(h_N: Tensor, rho: float, low: float = 1e-3, high: float = 10.0) -> float:
    """The τ with KL(p(τ)) = ρ, by bisection on a KL written from its definition; KL falls as τ grows."""
    for _ in range(100):
        tau = math.sqrt(low * high)
        p_N = np.exp((h_N - h_N.max()).numpy() / tau)
        p_N /= p_N.sum()
        kl = sum(p * math.log(p * len(h_N)) for p in p_N if p > 0)
        low, high = (tau, high) if kl > rho else (low, tau)
    return tau


@pytest.mark.parametrize("objective", ["uco", "eq3", "rgcl"])
def test_gradient_is_that_of_autograd_and_of_finite_differences(objective: str) -> None:
    h_BN, tau_B = some_gaps(), torch.linspace(0.05, 0.9, 5, dtype=torch.float64).requires_grad_()
    rho = TemperatureRule(objective).rho(N)
    assert rho == pytest.approx({"uco": 0, "eq3": math.log(N), "rgcl": 0.4 * math.log(N)}[objective])
    found_B = slope(h_BN, tau_B.detach(), rho)
    (by_autograd_B,) = torch.autograd.grad(objective_value(h_BN, tau_B, rho).sum(), tau_B)
    np.testing.assert_allclose(found_B, by_autograd_B, atol=1e-6)
    step = 1e-6
    above_B, below_B = (objective_value(h_BN, tau_B.detach() + s, rho) for s in (step, -step))
    np.testing.assert_allclose(found_B, (above_B - below_B) / (2 * step), atol=1e-6)


def test_the_two_published_forms_pull_apart() -> None:
    """Where KL = .9114 over 63 negatives the mean form has slope -.9114 and the sum form +3.2317."""
    h_BN = some_gaps(1)
    tau = rest(h_BN[0], 0.9114)

    def difference(rho: float) -> float:
        above, below = (
            objective_value(h_BN, torch.tensor([tau + s], dtype=h_BN.dtype), rho) for s in (1e-6, -1e-6)
        )
        return float(above - below) / 2e-6

    assert difference(0.0) == pytest.approx(-0.9114, abs=1e-4)
    assert difference(math.log(N)) == pytest.approx(3.2317, abs=1e-4)
    assert float(slope(h_BN, torch.tensor([tau]), 0.0)) == pytest.approx(-0.9114, abs=1e-4)


def test_without_gaps_the_slope_is_rho() -> None:
    h_BN, tau_B = torch.zeros(3, N), torch.tensor([1e-5, 0.1, 1.0])
    np.testing.assert_allclose(slope(h_BN, tau_B, 0.0), 0, atol=1e-6)
    np.testing.assert_allclose(slope(h_BN, tau_B, math.log(N)), math.log(N), rtol=1e-6)


def test_one_negative_moves_no_temperature() -> None:
    for objective in ("uco", "eq3", "rgcl"):
        state = Temperatures.start(TemperatureRule(objective), 2)
        advance(state, torch.tensor([0, 1]), torch.tensor([[-0.3], [0.4]]))
        np.testing.assert_array_equal(state.tau_U, np.float32([0.1, 0.1]))


def walked(rule: TemperatureRule, h_BN: Tensor, steps: int) -> Tensor:
    state = Temperatures.start(rule, len(h_BN))
    for _ in range(steps):
        advance(state, torch.arange(len(h_BN)), h_BN.float())
    return state.tau_U


def test_temperatures_come_to_rest_where_the_divergence_is_rho() -> None:
    h_BN = some_gaps()
    tau_U = walked(TemperatureRule(), h_BN, 800)
    rho = 0.4 * math.log(N)
    np.testing.assert_allclose(tau_U, [rest(h_N, rho) for h_N in h_BN], rtol=1e-4)
    assert tau_U.min() > 0.02
    assert tau_U.max() < 0.9


def test_mean_form_drifts_to_the_upper_bound() -> None:
    tau_U = walked(TemperatureRule("uco", lr=0.05), some_gaps(), 1500)
    np.testing.assert_array_equal(tau_U, np.ones(5, np.float32))


def test_sum_form_drifts_to_the_lower_bound_where_the_closest_competitors_tie() -> None:
    """The slope is the entropy of p: with one closest competitor it dies out before the bound."""
    tied_BN = some_gaps()
    tied_BN[:, :2] = tied_BN.amax(dim=1, keepdim=True)
    tau_U = walked(TemperatureRule("eq3"), tied_BN, 100)
    np.testing.assert_array_equal(tau_U, np.full(5, 1e-5, np.float32))
    some_tau_U, later_tau_U = (walked(TemperatureRule("eq3"), some_gaps(), steps) for steps in (100, 200))
    assert (later_tau_U < some_tau_U).all()
    assert ((later_tau_U > 1e-4) & (later_tau_U < 0.05)).all()


@pytest.mark.parametrize("objective", ["uco", "eq3", "rgcl"])
def test_more_distinct_competitors_mean_a_higher_temperature(objective: str) -> None:
    h_BN = some_gaps(1) * torch.tensor([[0.2], [0.6], [1.0], [1.4]])
    tau_U = walked(TemperatureRule(objective, lr=1e-3), h_BN, 10)
    assert (tau_U.diff() > 0).all()


def test_a_step_by_hand() -> None:
    rule = TemperatureRule("uco", start=0.5, lr=0.2, gradient_ema=0.75)
    state, h_BN = Temperatures.start(rule, 6), some_gaps(2).float()
    users_B, average_B, tau_B = torch.tensor([4, 1]), np.zeros(2), np.full(2, 0.5)
    for _ in range(3):
        before_B, log_s_B = advance(state, users_B, h_BN)
        np.testing.assert_allclose(before_B, tau_B, rtol=1e-5)
        np.testing.assert_allclose(log_s_B, log_mean(h_BN, before_B), rtol=1e-5)
        kl_B = -slope(h_BN.double(), torch.tensor(tau_B), 0.0).numpy()
        average_B = 0.25 * average_B + 0.75 * -kl_B
        tau_B = np.minimum(tau_B - 0.2 * average_B, 1)
    np.testing.assert_allclose(state.tau_U[users_B], tau_B, rtol=1e-5)
    np.testing.assert_allclose(state.average_U[users_B], average_B, rtol=1e-5)
    others = [0, 2, 3, 5]
    np.testing.assert_array_equal(state.tau_U[others], np.float32(0.5))
    np.testing.assert_array_equal(state.average_U[others], 0)


@pytest.mark.parametrize(("scale", "factor"), [("literal", 1 / 40), ("batch", 1 / 5), ("one", 1.0)])
def test_scale_of_the_gradient(scale: str, factor: float) -> None:
    rule = TemperatureRule(grad_scale=scale, gradient_ema=1.0)
    state, h_BN = Temperatures.start(rule, 40), some_gaps()
    advance(state, torch.arange(5), h_BN.float())
    slope_B = slope(h_BN, torch.full((5,), 0.1), rule.rho(N))
    np.testing.assert_allclose(state.average_U[:5], slope_B * factor, rtol=1e-4)


def test_a_step_leaves_no_trace_in_autograd() -> None:
    state, h_BN = Temperatures.start(TemperatureRule(), 5), some_gaps().float().requires_grad_()
    tau_B, log_s_B = advance(state, torch.arange(5), h_BN)
    assert not any(t.requires_grad for t in (tau_B, log_s_B, state.tau_U, state.average_U, state.log_mean_U))


def test_inner_mean_is_tracked_from_the_first_visit() -> None:
    state = Temperatures.start(TemperatureRule(partition_ema=0.8, lr=0.0), 3)
    s = None
    for seed in range(4):
        h_BN = some_gaps(1, seed=seed).float()
        _, log_s_B = advance(state, torch.tensor([2]), h_BN)
        g = float(np.exp(h_BN.numpy() / 0.1).mean())
        s = g if s is None else 0.2 * s + 0.8 * g
        assert float(log_s_B) == pytest.approx(math.log(s), abs=1e-4)
    assert state.log_mean_U[:2].isneginf().all()


def test_slope_with_a_tracked_mean_is_the_estimator_written_out() -> None:
    """log s + ρ - Σ w h/τ with weights exp(h/τ)/(n s), inside [ρ - log n, ρ]."""
    h_BN, tau_B, rho = some_gaps(), torch.full((5,), 0.5, dtype=torch.float64), 1.7
    s_B = (h_BN / 0.5).exp().mean(dim=1) * torch.tensor([0.1, 0.9, 1.0, 1.1, 9.0])
    weight_BN = (h_BN / 0.5).exp() / (N * s_B.unsqueeze(1))
    wanted_B = s_B.log() + rho - (weight_BN * h_BN / 0.5).sum(dim=1)
    outside_B = (wanted_B > rho) | (wanted_B < rho - math.log(N))
    assert 0 < outside_B.sum() < 5
    wanted_B = wanted_B.clamp(rho - math.log(N), rho)
    np.testing.assert_allclose(slope(h_BN, tau_B, rho, s_B.log()), wanted_B, atol=1e-9)


def test_tracking_survives_a_tiny_temperature() -> None:
    state = Temperatures.start(TemperatureRule(partition_ema=0.5, start=1e-5), 5)
    for seed in range(3):
        advance(state, torch.arange(5), some_gaps(seed=seed).float())
        assert state.tau_U.isfinite().all()
        assert state.log_mean_U.isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"objective": "ucl"}, "did you mean 'uco'"),
        ({"grad_scale": "litteral"}, "did you mean 'literal'"),
        ({"start": 2.0}, "outside"),
        ({"low": 0.0}, "low must be a number, above 0"),
        ({"gradient_ema": 0.0}, "gradient_ema must be"),
        ({"partition_ema": 1.5}, "partition_ema must be"),
        ({"radius": 1.2}, "radius must be a number, from 0 to 1"),
    ],
)
def test_impossible_rules(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        TemperatureRule(**wrong)


def test_groups_by_activity_are_means_over_their_users() -> None:
    tau_U, events_U = np.float32([0.9, 0.1, 0.3, 0.5, 0.7]), np.array([0, 1, 1, 8, 500])
    assert by_activity(tau_U, events_U) == {
        "1": {"mean": pytest.approx(0.2), "sd": pytest.approx(0.1), "users": 2},
        "6-8": {"mean": pytest.approx(0.5), "sd": 0.0, "users": 1},
        "51+": {"mean": pytest.approx(0.7), "sd": pytest.approx(0.0), "users": 1},
    }
