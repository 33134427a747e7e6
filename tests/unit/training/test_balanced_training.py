"""Networks that learn while their domains are weighed: what is measured, changed, recorded and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.core.rng import generator
from landbridge.training.gradients import Losses, view
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.weighting.base import Uncertainty, Uniform, Weighting
from landbridge.training.weighting.gradnorm import GradNorm

torch = pytest.importorskip("torch")
ID = {"settings": 1}


def two(
    weighting: Weighting,
    epochs: int = 3,
    batches: int = 8,
    scale: float = 1.0,
    joint: bool = True,
    of: Callable[[Any], str] = lambda batch: "ab",
    **settings: Any,
) -> Phase:
    """Two domains read a shared layer 8 x 4, each by a head of its own; a's noise is ``scale``.

    ``joint``: in one pass, or each in its own through a view. ``of``: the domains of a batch, in order.
    """
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

    def losses(batch: Any) -> Losses:
        x_N8, target = batch[0], dict(zip("ab", batch[1:], strict=True))
        views = {d: {} if joint else {"shared": view(parameters["shared"])} for d in of(batch)}
        together_N4 = x_N8 @ parameters["shared"]
        found = {}
        for domain, own in views.items():
            hidden_N4 = x_N8 @ own["shared"] if own else together_N4
            error_N1 = hidden_N4 @ parameters[f"head {domain}"] - target[domain][:, None]
            found[domain] = error_N1.square().mean()
        return Losses(found, parameters, views)

    return Phase("two", epochs, drawn, losses, parameters, weighting, **settings)


def trained(weighting: Weighting, **settings: Any) -> tuple[list[Any], Any]:
    phase = two(weighting, **settings)
    log = run_phase(phase, FitOptions(threads=1), ID)
    return [tensor.detach().numpy() for tensor in phase.parameters.values()], log


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "settings", [{}, {"rule": "literal"}, {"complexity": "data", "sizes": {"a": 9}}, {"start": None}]
)
@pytest.mark.parametrize("joint", [True, False])
def test_one_domain_is_trained_bit_for_bit_as_without_balancing(joint: bool, settings: Any) -> None:
    alone: Any = {"joint": joint, "of": lambda batch: "a"}
    plain, log = trained(Uniform(), **alone)
    balanced, told = trained(GradNorm("shared", **settings), **alone)
    assert equal(plain, balanced)
    assert [record["loss:a"] for record in log] == [record["loss:a"] for record in told]
    assert told[-1]["weight"] == {"a": 1.0}


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("joint", [True, False])
def test_without_a_step_it_measures_only(joint: bool, order: str) -> None:
    plain, _ = trained(Uniform(), joint=joint)
    measured, log = trained(GradNorm("shared", lr=0, order=order), joint=joint)
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
@pytest.mark.parametrize("joint", [True, False])
def test_a_resumed_fit_is_balanced_on_bit_for_bit(tmp_path: Path, joint: bool, weighting: Weighting) -> None:
    def odd(epochs: int) -> Phase:
        """a is missing at first, and the domains are told in another order than the alphabet's."""
        step = {"optimizer": Optimizer("adam", 0.02), "joint": joint}
        return two(weighting, epochs, of=lambda batch: "ba" if float(batch[0].sum()) > 0 else "b", **step)

    whole, part, resumed = odd(4), odd(2), odd(4)
    log = run_phase(whole, FitOptions(threads=1), ID)
    run_phase(part, FitOptions(threads=1, work_dir=tmp_path), ID)
    assert run_phase(resumed, FitOptions(threads=1, work_dir=tmp_path), ID) == log
    pairs = zip(whole.parameters.values(), resumed.parameters.values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert len({record["weight"]["a"] for record in log}) == (1 if getattr(weighting, "own", {}) else 4)


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_is_measured_is_the_same_in_one_pass_and_in_several(order: str) -> None:
    found = [trained(GradNorm("shared", order=order), joint=joint) for joint in (True, False)]
    for one, other in zip(*(parameters for parameters, _ in found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    for figure in ("weight", "shared_norm", "shared_cosine"):
        one, other = (log[-1][figure] for _, log in found)
        assert one == pytest.approx(other, rel=1e-4)


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


@pytest.mark.parametrize("kind", ["adam", "adagrad", "sgd"])
def test_a_pace_is_a_step_length_for_every_optimizer(kind: str) -> None:
    class Paced(Uniform):
        def lr_factors(self, state: Any) -> Any:
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
