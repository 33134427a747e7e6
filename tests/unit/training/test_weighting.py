"""Weightings: GradNorm's oracles, its four readings, odd batches; Uncertainty; random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.errors import SettingsError
from landbridge.rng import generator
from landbridge.training.balancing import GradNorm
from landbridge.training.gradients import gradients, gram
from landbridge.training.loop import run_phase
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.rows import Optimizer
from landbridge.training.weighting import Fixed, Uncertainty, Uniform, Weighting, random_weightings

torch = pytest.importorskip("torch")
ID = {"settings": 1}
NORMS = {"a": 1.0, "b": 4.0, "c": 10.0}
EVEN = {"a": 30 / 13.5, "b": 7.5 / 13.5, "c": 3 / 13.5}  # proportional to 1/g, with the sum 3


def planes(norms: Mapping[str, float], loss: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Losses of value ``loss`` whose gradients at "shared" are orthogonal and of given norms."""
    shared = torch.zeros(len(norms), requires_grad=True)
    return {d: norm * shared[k] + loss for k, (d, norm) in enumerate(norms.items())}, {"shared": shared}


def settled(weighting: GradNorm, batches: Any, steps: int = 600) -> tuple[dict[str, float], Any]:
    """Weights and state after so many batches, gone through again and again."""
    state: Any = {}
    for step in range(steps):
        losses, parameters = batches[step % len(batches)]
        weights, state = weighting.weigh(losses, parameters, state)
    return weights, state


def facts(weighting: GradNorm, state: Any) -> Any:
    return weighting.facts(state)


# --- the oracles of the method ---------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_equal_rates_settle_where_all_norms_are_equal(alpha: float) -> None:
    weights, state = settled(GradNorm("shared", alpha=alpha), [planes(NORMS)])
    assert weights == pytest.approx(EVEN, rel=1e-6)
    assert facts(GradNorm("shared"), state)["off_target"] == pytest.approx(0, abs=1e-6)


def test_the_literal_rule_settles_there_on_average() -> None:
    rule, state, history = GradNorm("shared", alpha=0, lr=1e-3, rule="literal"), {}, []
    for _ in range(4000):
        weights, state = rule.weigh(*planes(NORMS), state)
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
        weights, state = GradNorm("shared", lr=lr, rule=rule, order="after").weigh(*planes(norms), state)
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
    assert one == pytest.approx(more, rel=1e-9)
    assert facts(rule, state)["off_target"] == pytest.approx(facts(rule, thousand)["off_target"])


@pytest.mark.parametrize("target", [0.3, 3.0, 30.0])
def test_the_slope_is_that_of_autograd(target: float) -> None:
    """d/dw |‖∇_W w L‖ - c| through a second-order graph, against the step that the literal rule takes."""
    shared, weight = torch.randn(4, 3, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    loss = (shared @ torch.arange(3.0)).square().sum()
    (inner,) = torch.autograd.grad(weight * loss, shared, create_graph=True)
    (inner.norm() - target * loss.detach()).abs().backward(retain_graph=True)
    matrix = gram(gradients({"a": loss}, shared))[1]
    norm = float(np.sqrt(matrix[0, 0]))
    assert weight.grad.item() == pytest.approx(np.sign(norm - target * loss.item()) * norm, rel=1e-5)


def test_the_first_literal_step_by_hand() -> None:
    rule = GradNorm("shared", alpha=0, lr=0.01, rule="literal", order="after")
    weights, _ = rule.weigh(*planes(NORMS), {})
    moved = np.array([1 + 0.01 * 1, 1 + 0.01 * 4, 1 - 0.01 * 10])  # the mean norm is 5
    assert [*weights.values()] == pytest.approx(moved * 3 / moved.sum(), rel=1e-6)


def test_the_first_proximal_step_by_hand() -> None:
    rule = GradNorm("shared", alpha=0, lr=0.5, order="after")
    weights, _ = rule.weigh(*planes(NORMS), {})
    moved = np.array([1 + 0.5 * 1 / 5, 5 / 4, 1 - 0.5])  # b would pass its target, c just reaches it
    assert [*weights.values()] == pytest.approx(moved * 3 / moved.sum(), rel=1e-6)


def test_the_order_says_whether_a_step_uses_the_old_weights() -> None:
    before, state = GradNorm("shared").weigh(*planes(NORMS), {})
    after, same = GradNorm("shared", order="after").weigh(*planes(NORMS), {})
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
        GradNorm("shared", complexity="data", sizes={"a": 1, "b": 1}).weigh(*planes(NORMS), {})


def test_loss_scale_makes_norms_equal_whatever_the_losses_are() -> None:
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
    assert rule.paces(state) == pytest.approx(paces)
    assert facts(rule, state)["pace"] == pytest.approx({"a": mean, "b": mean / 4, "c": mean / 10, "d": 10})
    assert rule.paces({}) == GradNorm("shared").paces(state) == {}


@pytest.mark.parametrize("kind", ["adam", "adagrad", "sgd"])
def test_a_pace_is_a_step_length_for_every_optimizer(kind: str) -> None:
    class Paced(Uniform):
        def paces(self, state: Any) -> Any:
            return {"head a": 3.0}

    moved = []
    for weighting in (Uniform(), Paced()):
        phase = two(weighting, epochs=1, batches=1, optimizer=Optimizer(kind, 0.01))
        start = {name: tensor.detach().clone() for name, tensor in phase.parameters.items()}
        run_phase(phase, FitOptions(threads=1), ID)
        moved.append({name: (tensor - start[name]).detach() for name, tensor in phase.parameters.items()})
    torch.testing.assert_close(moved[1]["head a"], 3 * moved[0]["head a"], rtol=1e-4, atol=1e-7)
    for name in ("shared", "head b"):
        assert torch.equal(moved[1][name], moved[0][name])


# --- odd batches and settings ----------------------------------------------------------------------------


def test_a_missing_domain_keeps_its_weight_and_averages_and_counts_in_the_means() -> None:
    rule = GradNorm("shared", alpha=0, order="after")
    _, state = settled(rule, [planes(NORMS)], 3)
    losses, parameters = planes(NORMS)
    weights, after = rule.weigh({d: losses[d] for d in "ab"}, parameters, state)
    was, now = (facts(rule, each) for each in (state, after))
    assert now["weight"]["c"] == was["weight"]["c"]
    assert after["norm_D"][2] == state["norm_D"][2]
    assert after["count_DD"].tolist() == [[4, 4, 3], [4, 4, 3], [3, 3, 3]]
    assert weights["a"] + weights["b"] == pytest.approx(was["weight"]["a"] + was["weight"]["b"])
    assert sum(now["weight"].values()) == pytest.approx(3)
    alone, _ = rule.weigh({"a": losses["a"]}, parameters, state)
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
    weights, state = GradNorm("shared").weigh(losses, parameters, state)
    assert weights["b"] == 1
    assert state["domains"].tolist() == ["c", "a", "b"]
    assert state["norm_D"].tolist() == [10, 1, 4]
    assert state["weight_D"].sum() == pytest.approx(3)


@pytest.mark.parametrize("constant", [torch.tensor(2.0), torch.ones(1, requires_grad=True).sum(), "zero"])
def test_a_domain_without_a_gradient_counts_once_and_disturbs_nobody(constant: Any) -> None:
    losses, parameters = planes(NORMS)
    dead = (0 * parameters["shared"]).sum() + 2 if isinstance(constant, str) else constant
    weights, state = settled(GradNorm("shared"), [({"dead": dead, **losses}, parameters)], 600)
    alone, _ = settled(GradNorm("shared"), [(losses, parameters)], 600)
    assert weights == {"dead": 1.0, **alone}
    assert "dead" not in facts(GradNorm("shared"), state)["weight"]
    if isinstance(constant, str):  # zero at the start, as with a head of zeros, is no mistake …
        assert GradNorm("shared").weigh({"dead": dead}, parameters, {}) == ({"dead": 1.0}, {})
    else:  # … but a parameter that no loss depends on is one
        with pytest.raises(SettingsError, match="No domain's loss depends on 'shared'"):
            GradNorm("shared").weigh({"dead": dead}, parameters, {})


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
        GradNorm("share").weigh(*planes(NORMS), {})
    with pytest.raises(SettingsError, match="Unknown parameter to balance 'heads'"):
        GradNorm("shared", complexity="step", own={"a": ["heads"]}).weigh(*planes(NORMS), {})
    with pytest.raises(SettingsError, match="lr must be 0 or more"):
        Uncertainty(-1)


# --- gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [(True, True, True), (False, False, False), (True, False, True)])
def test_inner_products_of_gradients_are_those_of_dense_ones(kinds: tuple[bool, ...]) -> None:
    table = torch.randn(30, 4, requires_grad=True)
    rows = [torch.tensor(picked) for picked in ([3, 3, 9], [9, 3, 1, 29], [0, 1])]
    losses = {
        str(k): torch.nn.functional.embedding(picked, table, sparse=sparse).pow(k + 1).sum()
        for k, (picked, sparse) in enumerate(zip(rows, kinds, strict=True))
    }
    dense_PX = torch.stack(
        [
            torch.autograd.grad(loss, table, retain_graph=True)[0].to_dense().flatten()
            for loss in losses.values()
        ]
    )
    names, gram_PP = gram(gradients(losses, table))
    assert names == ["0", "1", "2"]
    np.testing.assert_allclose(gram_PP, (dense_PX @ dense_PX.T).numpy(), rtol=1e-5, atol=1e-5)


def test_cosines_are_told_by_pair() -> None:
    shared = torch.tensor([1.0, 0.0], requires_grad=True)
    losses = {"a": shared[0] + 1, "b": 1 - 2 * shared[0], "c": shared.sum()}
    _, state = settled(GradNorm("shared"), [(losses, {"shared": shared})], 4)
    cosines = facts(GradNorm("shared"), state)["shared_cosine"]
    assert cosines == pytest.approx({"a, b": -1, "a, c": 0.5**0.5, "b, c": -(0.5**0.5)})


# --- within training -------------------------------------------------------------------------------------


def two(
    weighting: Weighting, epochs: int = 3, batches: int = 8, scale: float = 1.0, **settings: Any
) -> Phase:
    """Two domains read a shared layer 8 x 4, each by a head of its own; a's noise is ``scale``."""
    draw = generator(0, "two")
    taste_84 = draw.standard_normal((8, 4))
    parameters = {
        name: torch.tensor(draw.normal(0, 0.1, shape), dtype=torch.float32, requires_grad=True)
        for name, shape in (("shared", (8, 4)), ("head a", (4, 1)), ("head b", (4, 1)))
    }

    def drawn(epoch: int) -> list[Any]:
        rng = generator(0, "batches", str(epoch))
        found = []
        for _ in range(batches):
            x_N8 = rng.standard_normal((32, 8))
            a_N = x_N8 @ taste_84[:, 0] + rng.standard_normal(32) * scale
            found.append([torch.tensor(v, dtype=torch.float32) for v in (x_N8, a_N, x_N8 @ taste_84[:, 1])])
        return found

    def losses(batch: Any) -> dict[str, Any]:
        x_N8, *targets = batch
        hidden_N4 = x_N8 @ parameters["shared"]
        return {
            domain: (hidden_N4 @ parameters[f"head {domain}"] - y_N[:, None]).square().mean()
            for domain, y_N in zip("ab", targets, strict=True)
        }

    return Phase("two", epochs, drawn, losses, parameters, weighting, **settings)


def trained(weighting: Weighting, only: str = "ab", **settings: Any) -> tuple[list[Any], Any]:
    phase = two(weighting, **settings)
    chosen = Phase(**{**vars(phase), "losses": lambda batch: {d: phase.losses(batch)[d] for d in only}})
    log = run_phase(chosen, FitOptions(threads=1), ID)
    return [tensor.detach().numpy() for tensor in phase.parameters.values()], log


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "settings", [{}, {"rule": "literal"}, {"complexity": "data", "sizes": {"a": 9}}, {"start": None}]
)
def test_one_domain_is_trained_bit_for_bit_as_without_balancing(settings: Any) -> None:
    plain, log = trained(Uniform(), "a")
    balanced, told = trained(GradNorm("shared", **settings), "a")
    assert equal(plain, balanced)
    assert [record["loss:a"] for record in log] == [record["loss:a"] for record in told]
    assert told[-1]["weight"] == {"a": 1.0}


def test_without_a_step_it_measures_only() -> None:
    plain, _ = trained(Uniform())
    measured, log = trained(GradNorm("shared", lr=0))
    assert equal(plain, measured)
    assert log[-1]["weight"] == {"a": 1.0, "b": 1.0}
    assert log[-1]["off_target"] > 0


@pytest.mark.parametrize(
    "weighting",
    [
        GradNorm("shared", lr=0.3),
        GradNorm("shared", start=None, order="after", rule="literal"),
        GradNorm("shared", complexity="step", own={"a": ("head a",), "b": ("head b",)}),
        Uncertainty(),
    ],
)
def test_a_resumed_fit_is_balanced_on_bit_for_bit(tmp_path: Path, weighting: Weighting) -> None:
    def odd(epochs: int) -> Phase:
        """b is missing at first, and the domains are told in another order than the alphabet's."""
        phase = two(weighting, epochs, optimizer=Optimizer("adam", 0.02))

        def losses(batch: Any) -> Any:
            found = phase.losses(batch)
            late = float(batch[0].sum()) > 0
            return {"b": found["b"], "a": found["a"]} if late else {"b": found["b"]}

        return Phase(**{**vars(phase), "losses": losses})

    whole, part, resumed = odd(4), odd(2), odd(4)
    log = run_phase(whole, FitOptions(threads=1), ID)
    run_phase(part, FitOptions(threads=1, checkpoint=tmp_path), ID)
    assert run_phase(resumed, FitOptions(threads=1, checkpoint=tmp_path), ID) == log
    pairs = zip(whole.parameters.values(), resumed.parameters.values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert len({record["weight"]["a"] for record in log}) == (1 if getattr(weighting, "own", {}) else 4)


def test_the_record_has_every_figure_by_domain() -> None:
    _, log = trained(GradNorm("shared", complexity="loss"), scale=3.0)
    for figure in ("weight", "relative_loss", "shared_norm", "shared_target", "shared_share"):
        assert [set(record[figure]) for record in log] == [{"a", "b"}] * 3
    assert [*log[0]["shared_cosine"]] == ["a, b"]
    assert all(isinstance(record["off_target"], float) for record in log)
    assert log[-1]["weight"]["a"] < 1 < log[-1]["weight"]["b"]


def test_a_loud_domain_drowns_a_quiet_one_unless_they_are_balanced() -> None:
    """a is nearly all noise, and large; b could be learned exactly, and its losses are a millionth of a's."""
    budget = {"epochs": 10, "batches": 20, "scale": 1000.0, "optimizer": Optimizer("adam", 0.01)}
    weightings = {
        "equal": Uniform(),
        "rate": GradNorm("shared", start=None),
        "loss": GradNorm("shared", complexity="loss"),
        "uncertainty": Uncertainty(0.1),
    }
    last = {name: trained(weighting, **budget)[1][-1] for name, weighting in weightings.items()}
    for name in ("rate", "loss", "uncertainty"):
        assert last[name]["loss:b"] < last["equal"]["loss:b"] / 10
        assert last[name]["loss:a"] < last["equal"]["loss:a"] * 1.05


# --- the other weightings --------------------------------------------------------------------------------


def test_uncertainty_steps_along_the_gradient_of_its_objective() -> None:
    s = torch.tensor([0.0, 0.3], requires_grad=True)
    values = torch.tensor([0.4, 1.1])
    ((-s).exp() * values + s / 2).sum().backward()
    state = {"a": np.array([0.0]), "b": s.detach().numpy()[1:].astype(float)}
    losses = dict(zip("ab", values, strict=True))
    weights, after = Uncertainty(0.01).weigh(losses, {}, {**state, "gone": np.array([2.0])})
    assert weights == pytest.approx({"a": 1.0, "b": np.exp(-0.3)})
    moved = [after[d][0] - state[d][0] for d in "ab"]
    assert moved == pytest.approx((-0.01 * s.grad).tolist(), rel=1e-5)
    assert after["gone"] == [2.0]
    assert Uncertainty(0.01).weigh({"a": torch.tensor(900.0)}, {}, {})[1]["a"] == [0.01]  # and no further


def test_uncertainty_comes_to_half_the_inverse_loss_and_stays_bounded() -> None:
    losses = {
        "a": torch.tensor(0.1),
        "b": torch.tensor(2.0),
        "zero": torch.tensor(0.0),
        "huge": torch.tensor(1e9),
    }
    state: Any = {}
    for _ in range(3000):
        weights, state = Uncertainty().weigh(losses, {}, state)
    bounds = {"zero": np.exp(10), "huge": np.exp(-10)}
    assert weights == pytest.approx({"a": 5.0, "b": 0.25, **bounds}, rel=1e-3)
    assert Uncertainty().facts(state)["weight"] == pytest.approx(weights, rel=1e-3)
    assert Uncertainty().facts({}) == GradNorm("shared").facts({}) == Uniform().facts({}) == {}


def test_random_weightings() -> None:
    drawn = random_weightings(["x", "y", "z"])
    assert len({tuple(fixed.weights.values()) for fixed in drawn}) == 10
    assert all(sum(fixed.weights.values()) == pytest.approx(3) for fixed in drawn)
    assert random_weightings(["x", "y", "z"], 3) == drawn[:3]
    assert random_weightings(["x", "y", "z"], seed=1) != drawn
    many = np.array([[*fixed.weights.values()] for fixed in random_weightings(["x", "y"], 2000)])
    assert np.sort(many[:, 0])[[500, 1000, 1500]] == pytest.approx([0.5, 1.0, 1.5], abs=0.07)  # flat
    assert random_weightings(["x"], 1) == (Fixed({"x": 1.0}),)
