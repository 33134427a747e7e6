"""GradNorm: the oracles of the method, its four readings, odd batches and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.training.gradients import Losses, gram
from landbridge.training.weighting.gradnorm import GradNorm

torch = pytest.importorskip("torch")
NORMS = {"a": 1.0, "b": 4.0, "c": 10.0}
EVEN = {"a": 30 / 13.5, "b": 7.5 / 13.5, "c": 3 / 13.5}  # proportional to 1/g, with the sum 3


def planes(norms: Mapping[str, float], loss: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Losses of value ``loss`` whose gradients at "shared" are orthogonal and of given norms."""
    shared = torch.zeros(len(norms), requires_grad=True)
    return {d: norm * shared[k] + loss for k, (d, norm) in enumerate(norms.items())}, {"shared": shared}


def given(losses: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[Losses, Mapping[str, Any]]:
    return Losses(losses, parameters), parameters


def settled(weighting: GradNorm, batches: Any, steps: int = 600) -> tuple[dict[str, float], Any]:
    """Weights and state after so many batches, gone through again and again."""
    state: Any = {}
    for step in range(steps):
        weights, state = weighting.weights(*given(*batches[step % len(batches)]), state)
    return weights, state


def facts(weighting: GradNorm, state: Any) -> Any:
    return weighting.log_values(state)


# --- the oracles of the method ---------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_equal_rates_settle_where_all_norms_are_equal(alpha: float) -> None:
    weights, state = settled(GradNorm("shared", alpha=alpha), [planes(NORMS)])
    assert weights == pytest.approx(EVEN, rel=1e-6)
    assert facts(GradNorm("shared"), state)["off_target"] == pytest.approx(0, abs=1e-6)


def test_the_literal_rule_settles_there_on_average() -> None:
    rule, state, history = GradNorm("shared", alpha=0, lr=1e-3, rule="literal"), {}, []
    for _ in range(4000):
        weights, state = rule.weights(*given(*planes(NORMS)), state)
        history.append([*weights.values()])
    np.testing.assert_allclose(np.mean(history[2000:], axis=0), [*EVEN.values()], atol=0.02)


def test_settled_norms_are_in_the_ratio_of_relative_losses_to_alpha() -> None:
    losses, parameters = planes(NORMS)
    losses = {d: loss + extra for (d, loss), extra in zip(losses.items(), (0.0, 1.0, 3.0), strict=True)}
    _, state = settled(GradNorm("shared", alpha=1.5), [(losses, parameters)], 2000)
    told = facts(GradNorm("shared", alpha=1.5), state)
    norms = np.array([*told["shared_norm"].values()])
    np.testing.assert_allclose(norms / norms[0], np.array([1, 2, 4]) ** 1.5, rtol=1e-5)
    assert [*told["shared_target"].values()] == pytest.approx(norms)
    assert sum(told["shared_share"].values()) == pytest.approx(1)
    assert told["relative_loss"] == pytest.approx(
        {d: v / np.log(2) for d, v in zip("abc", (1, 2, 4), strict=True)}
    )


@pytest.mark.parametrize("rule", ["proximal", "literal"])
@pytest.mark.parametrize("lr", [0.025, 5.0])
def test_weights_are_above_zero_and_sum_to_the_number_of_domains(rule: str, lr: float) -> None:
    state: Any = {}
    for step in range(50):
        norms = dict(zip("abcd", generator(1, "norms", str(step)).lognormal(0, 2, 4), strict=True))
        weights, state = GradNorm("shared", lr=lr, rule=rule, order="after").weights(
            *given(*planes(norms)), state
        )
        assert sum(weights.values()) == pytest.approx(4, abs=1e-9)
        assert min(weights.values()) > 0


def test_a_hundredfold_loss_is_balanced_away_at_alpha_zero() -> None:
    rule = GradNorm("shared", alpha=0)
    one, _ = settled(rule, [planes(NORMS)])
    other, _ = settled(rule, [planes(NORMS | {"b": 400.0}, loss=100.0)], 3000)
    forces = [np.array([w * g[d] for d, w in ws.items()]) for ws, g in ((one, NORMS), (other, NORMS))]
    forces[1][1] *= 100
    np.testing.assert_allclose(forces[0] / forces[0][0], forces[1] / forces[1][0], rtol=1e-5)


def test_all_losses_times_a_thousand_change_no_step() -> None:
    rule = GradNorm("shared", start=None)
    one, state = settled(rule, [planes(NORMS)], 7)
    more, thousand = settled(rule, [planes({d: 1e3 * g for d, g in NORMS.items()}, loss=1e3)], 7)
    assert one == pytest.approx(more, rel=1e-7)
    assert facts(rule, state)["off_target"] == pytest.approx(facts(rule, thousand)["off_target"])


@pytest.mark.parametrize("target", [0.3, 3.0, 30.0])
def test_the_slope_is_that_of_autograd(target: float) -> None:
    """d/dw |‖∇_W w L‖ - c| through a second-order graph, against the step that the literal rule takes."""
    shared, weight = torch.randn(4, 3, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    loss = (shared @ torch.arange(3.0)).square().sum()
    (inner,) = torch.autograd.grad(weight * loss, shared, create_graph=True)
    (inner.norm() - target * loss.detach()).abs().backward(retain_graph=True)
    matrix = gram(Losses({"a": loss}, {"shared": shared}).at("shared", {"a": 1.0}))[1]
    norm = float(np.sqrt(matrix[0, 0]))
    assert weight.grad.item() == pytest.approx(np.sign(norm - target * loss.item()) * norm, rel=1e-5)


def test_the_first_literal_step_by_hand() -> None:
    rule = GradNorm("shared", alpha=0, lr=0.01, rule="literal", order="after")
    weights, _ = rule.weights(*given(*planes(NORMS)), {})
    moved = np.array([1 + 0.01 * 1, 1 + 0.01 * 4, 1 - 0.01 * 10])  # the mean norm is 5
    assert [*weights.values()] == pytest.approx(moved * 3 / moved.sum(), rel=1e-6)


def test_the_first_proximal_step_by_hand() -> None:
    rule = GradNorm("shared", alpha=0, lr=0.5, order="after")
    weights, _ = rule.weights(*given(*planes(NORMS)), {})
    moved = np.array([1 + 0.5 * 1 / 5, 5 / 4, 1 - 0.5])  # b would pass its target, c just reaches it
    assert [*weights.values()] == pytest.approx(moved * 3 / moved.sum(), rel=1e-6)


def test_the_order_says_whether_a_step_uses_the_old_weights() -> None:
    before, state = GradNorm("shared").weights(*given(*planes(NORMS)), {})
    after, same = GradNorm("shared", order="after").weights(*given(*planes(NORMS)), {})
    assert before == dict.fromkeys("abc", 1.0)
    assert [*after.values()] == state["weight_D"].tolist() == same["weight_D"].tolist()
    assert after != before


def test_identical_domains_stay_at_one() -> None:
    weights, _ = settled(GradNorm("shared"), [planes({"a": 3.0, "b": 3.0})], 50)
    assert weights == {"a": 1.0, "b": 1.0}


# --- the four readings -----------------------------------------------------------------------------------


def test_data_scale_favours_the_small_domain() -> None:
    sizes = {"a": 10, "b": 100, "c": 100_000}
    rule = GradNorm("shared", alpha=2, complexity="data", sizes=sizes)
    _, state = settled(rule, [planes(NORMS)], 2000)
    norms = np.array([*facts(rule, state)["shared_norm"].values()])
    wanted = (1 / np.log1p([*sizes.values()])) ** 2
    np.testing.assert_allclose(norms / norms[0], wanted / wanted[0], rtol=1e-5)
    with pytest.raises(SettingsError, match="needs the number of events of 'c'"):
        GradNorm("shared", complexity="data", sizes={"a": 1, "b": 1}).weights(*given(*planes(NORMS)), {})


def test_loss_scale_makes_norms_equal_for_all_losses() -> None:
    losses, parameters = planes(NORMS)
    batch = {d: loss + k for k, (d, loss) in enumerate(losses.items())}, parameters
    weights, _ = settled(GradNorm("shared", alpha=2, complexity="loss"), [batch])
    assert weights == pytest.approx(EVEN, rel=1e-6)
    assert settled(GradNorm("shared", alpha=2), [batch])[0] != pytest.approx(EVEN, rel=1e-2)


def test_own_steps_are_longer_where_the_norm_is_below_its_target() -> None:
    losses, parameters = planes(NORMS | {"d": 0.01})
    parameters |= {name: torch.zeros(1) for name in ("head a", "items a", "head c", "head d")}
    own = {"a": ("head a", "items a"), "c": ("head c",), "d": ("head d",)}
    rule = GradNorm("shared", complexity="step", own=own)
    weights, state = settled(rule, [(losses, parameters)], 5)
    mean = 15.01 / 4
    assert weights == dict.fromkeys("abcd", 1.0)
    paces = {"head a": mean, "items a": mean, "head c": mean / 10, "head d": 10}
    assert rule.lr_factors(state) == pytest.approx(paces)
    assert facts(rule, state)["pace"] == pytest.approx({"a": mean, "b": mean / 4, "c": mean / 10, "d": 10})
    assert rule.lr_factors({}) == GradNorm("shared").lr_factors(state) == {}


# --- odd batches and settings ----------------------------------------------------------------------------


def test_a_missing_domain_keeps_its_weight_and_averages_and_counts_in_the_means() -> None:
    rule = GradNorm("shared", alpha=0, order="after")
    _, state = settled(rule, [planes(NORMS)], 3)
    losses, parameters = planes(NORMS)
    weights, after = rule.weights(*given({d: losses[d] for d in "ab"}, parameters), state)
    was, now = (facts(rule, each) for each in (state, after))
    assert now["weight"]["c"] == was["weight"]["c"]
    assert after["norm_D"][2] == state["norm_D"][2]
    assert after["count_DD"].tolist() == [[4, 4, 3], [4, 4, 3], [3, 3, 3]]
    assert weights["a"] + weights["b"] == pytest.approx(was["weight"]["a"] + was["weight"]["b"])
    assert sum(now["weight"].values()) == pytest.approx(3)
    alone, _ = rule.weights(*given({"a": losses["a"]}, parameters), state)
    assert alone["a"] == pytest.approx(was["weight"]["a"])  # nobody to share with
    assert weights["b"] > was["weight"]["b"]  # below the mean norm, as c counts although it is not there


def test_domains_that_never_share_a_batch_stay_at_one() -> None:
    """A batch per domain: nothing can be shared, so the weights stay, and no cosine is told."""
    losses, parameters = planes(NORMS)
    _, state = settled(GradNorm("shared"), [({d: losses[d]}, parameters) for d in "abc"], 30)
    assert facts(GradNorm("shared"), state)["weight"] == pytest.approx(dict.fromkeys("abc", 1.0))
    assert facts(GradNorm("shared"), state)["shared_cosine"] == {}


def test_a_domain_that_comes_later_begins_at_one() -> None:
    losses, parameters = planes(NORMS)
    _, state = settled(GradNorm("shared"), [({d: losses[d] for d in "ca"}, parameters)], 20)
    weights, state = GradNorm("shared").weights(*given(losses, parameters), state)
    assert weights["b"] == 1
    assert state["domains"].tolist() == ["c", "a", "b"]
    assert state["norm_D"] == pytest.approx([10, 1, 4], rel=1e-7)
    assert state["weight_D"].sum() == pytest.approx(3)


@pytest.mark.parametrize("constant", [torch.tensor(2.0), torch.ones(1, requires_grad=True).sum(), "zero"])
def test_a_domain_without_a_gradient_counts_once_and_disturbs_no_other(constant: Any) -> None:
    losses, parameters = planes(NORMS)
    dead = (0 * parameters["shared"]).sum() + 2 if isinstance(constant, str) else constant
    weights, state = settled(GradNorm("shared"), [({"dead": dead, **losses}, parameters)], 600)
    alone, _ = settled(GradNorm("shared"), [(losses, parameters)], 600)
    assert weights == {"dead": 1.0, **alone}
    assert "dead" not in facts(GradNorm("shared"), state)["weight"]
    if isinstance(constant, str):  # zero at the start, as with a head of zeros, is no mistake …
        assert GradNorm("shared").weights(*given({"dead": dead}, parameters), {}) == ({"dead": 1.0}, {})
    else:  # … but a parameter that no loss depends on is one
        with pytest.raises(SettingsError, match="No domain's loss depends on 'shared'"):
            GradNorm("shared").weights(*given({"dead": dead}, parameters), {})


@pytest.mark.parametrize("loss", [0.0, -1.0])
@pytest.mark.parametrize("start", [None, float(np.log(2))])
def test_losses_at_zero_or_below_leave_the_weights_finite(loss: float, start: float | None) -> None:
    losses, parameters = planes(NORMS)
    batch = {**losses, "a": losses["a"] - 1 + loss}, parameters
    weights, _ = settled(GradNorm("shared", start=start), [batch], 2000)
    assert np.isfinite([*weights.values()]).all()
    assert sum(weights.values()) == pytest.approx(3)
    if start is not None:
        assert weights["a"] < 1e-3  # there is nothing left to learn
    solved = {domain: loss - 1 for domain, loss in losses.items()}
    assert np.isfinite(
        facts(GradNorm("shared"), settled(GradNorm("shared"), [(solved, parameters)], 5)[1])["off_target"]
    )


def test_the_start_is_the_mean_over_the_first_twenty_batches() -> None:
    losses = [1.0 + step for step in range(30)]
    _, state = settled(GradNorm("shared", start=None), [planes(NORMS, loss) for loss in losses], 30)
    assert state["start_D"] == pytest.approx(np.full(3, np.mean(losses[:20])))
    average = np.mean(losses[:10])
    for loss in losses[10:]:
        average += 0.1 * (loss - average)
    assert state["loss_D"] == pytest.approx(np.full(3, average))  # plain at first, then exponential


def test_impossible_settings() -> None:
    for settings, message in (
        ({"alpha": -0.1}, "alpha must be 0 or more"),
        ({"alpha": float("nan")}, "alpha must be 0 or more"),
        ({"lr": -1}, "lr must be 0 or more"),
        ({"decay": 1.0}, "decay must be 0 or more and below 1"),
        ({"start": 0.0}, "start must be above 0 and finite, or None"),
        ({"complexity": "rates"}, "Unknown complexity 'rates': did you mean 'rate'"),
        ({"order": "since"}, "Unknown order 'since'"),
        ({"rule": "adam"}, "Unknown rule 'adam'"),
        ({"complexity": "step"}, "needs own"),
    ):
        with pytest.raises(SettingsError, match=message):
            GradNorm("shared", **settings)
    with pytest.raises(SettingsError, match="Unknown parameter to balance 'share': did you mean 'shared'"):
        GradNorm("share").weights(*given(*planes(NORMS)), {})
    with pytest.raises(SettingsError, match="Unknown parameter to balance 'heads'"):
        GradNorm("shared", complexity="step", own={"a": ["heads"]}).weights(*given(*planes(NORMS)), {})


def test_cosines_are_reported_by_pair() -> None:
    shared = torch.tensor([1.0, 0.0], requires_grad=True)
    losses = {"a": shared[0] + 1, "b": 1 - 2 * shared[0], "c": shared.sum()}
    _, state = settled(GradNorm("shared"), [(losses, {"shared": shared})], 4)
    cosines = facts(GradNorm("shared"), state)["shared_cosine"]
    assert cosines == pytest.approx({"a, b": -1, "a, c": 0.5**0.5, "b, c": -(0.5**0.5)})
