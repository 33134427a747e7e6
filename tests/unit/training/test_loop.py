"""The gradient loop: steps as in torch, resume, guards, weighting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.core.errors import DivergenceError, MissingExtraError, SettingsError, StoreError
from landbridge.core.rng import generator
from landbridge.training import tensors
from landbridge.training import torch_backend as neural
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase
from landbridge.training.weighting.base import Fixed, Uniform, Weighting

torch = pytest.importorskip("torch")
HERE = Path(__file__).parents[2]
ID = {"settings": 1}


def small(epochs: int = 4, rate: float = 0.5, **settings: Any) -> Phase:
    """An embedding of 20 rows and a layer of two outputs, one per domain, with dropout."""
    torch.manual_seed(0)
    table, weight, bias = torch.randn(20, 6), torch.randn(2, 6), torch.zeros(2)
    parameters = {"table": table, "weight": weight, "bias": bias}
    for tensor in parameters.values():
        tensor.requires_grad_()
    steps = torch.zeros(1)

    def batches(epoch: int) -> list[Any]:
        return [torch.tensor(rows) for rows in generator(0, "test", str(epoch)).integers(0, 9, (5, 4))]

    def losses(batch: Any) -> dict[str, Any]:
        steps.add_(1)
        rows = torch.nn.functional.embedding(batch, table, sparse=True)
        out = torch.nn.functional.dropout(rows, rate) @ weight.T + bias
        return {"a": (out[:, 0] - 1).square().mean(), "b": (out[:, 1] + 2).square().mean()}

    defaults = {"optimizer": Optimizer("adam", 0.02), "buffers": {"steps": steps}}
    return Phase("small", epochs, batches, losses, parameters, **{**defaults, **settings})


def values(phase: Phase) -> dict[str, np.ndarray]:
    return {n: t.detach().numpy().copy() for n, t in {**phase.parameters, **phase.buffers}.items()}


def same(one: Phase, other: Phase) -> bool:
    first, second = values(one), values(other)
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_dense_parameters_move_as_in_torch() -> None:
    phase, twin = small(rate=0.0), small(rate=0.0)
    dense = {name: twin.parameters[name] for name in ("weight", "bias")}
    peer, rare = (
        torch.optim.Adam(dense.values(), lr=0.02),
        torch.optim.SparseAdam([twin.parameters["table"]], lr=0.02),
    )
    for epoch in range(1):
        for batch in twin.batches(epoch):
            for optimizer in (peer, rare):
                optimizer.zero_grad()
            sum(twin.losses(batch).values()).backward()
            twin.parameters["table"].grad = None  # lazily counted rows have a test of their own
            peer.step()
            break
    run_phase(
        Phase(**{**vars(phase), "epochs": 1, "batches": lambda e: phase.batches(e)[:1]}), FitOptions(), ID
    )
    for name in dense:
        np.testing.assert_allclose(values(phase)[name], values(twin)[name], atol=1e-6)


def test_rows_that_no_batch_touches_stay_as_they_are() -> None:
    phase = small()
    before = values(phase)["table"]
    run_phase(phase, FitOptions(), ID)
    after = values(phase)["table"]
    assert np.array_equal(before[9:], after[9:])
    assert (before[:9] != after[:9]).any(axis=1).all()
    assert values(phase)["steps"] == 20


def test_it_learns_and_reports_the_losses_of_each_domain() -> None:
    log = run_phase(small(30), FitOptions(), ID)
    assert log[-1]["loss:a"] < log[0]["loss:a"] / 2
    assert log[-1]["loss:b"] < log[0]["loss:b"] / 2
    assert "weight" not in log[0]


def test_a_domain_s_loss_is_the_mean_over_the_batches_that_have_it() -> None:
    phase, told = small(1), []

    def losses(batch: Any) -> Any:
        found = phase.losses(batch)
        if float(phase.buffers["steps"]) % 2:
            return {"a": found["a"]}
        told.append(found["b"].item())
        return found

    log = run_phase(Phase(**{**vars(phase), "losses": losses}), FitOptions(), ID)
    assert len(told) == 2
    assert log[0]["loss:b"] == pytest.approx(np.mean(told))


def test_weights_and_the_phase_s_own_facts_are_on_record() -> None:
    steps: list[int] = []
    own = {"weighting": Fixed({"a": 2, "b": 0.5}), "log_values": lambda: {"seen": {"steps": len(steps)}}}
    log = run_phase(Phase(**{**vars(small(2)), **own}), FitOptions(), ID)
    assert [record["weight"]["a"] for record in log] == [2, 2]
    assert [record["seen"] for record in log] == [{"steps": 0}] * 2


@pytest.mark.parametrize("where", [7, 15])
def test_a_phase_that_broke_off_goes_on_bit_for_bit(tmp_path: Path, where: int) -> None:
    broken, whole = small(), small()
    inner = broken.losses

    def losses(batch: Any) -> Any:
        if float(broken.buffers["steps"]) == where:
            raise KeyboardInterrupt
        return inner(batch)

    with pytest.raises(KeyboardInterrupt):
        run_phase(Phase(**{**vars(broken), "losses": losses}), FitOptions(work_dir=tmp_path), ID)
    resumed = small()
    log = run_phase(resumed, FitOptions(work_dir=tmp_path), ID)
    assert log == run_phase(whole, FitOptions(), ID)
    assert same(resumed, whole)
    with pytest.raises(StoreError, match="another fit"):
        run_phase(small(), FitOptions(work_dir=tmp_path), {"settings": 2})


KILLED = """
import os, signal, sys
from pathlib import Path
from unit_training_loop import small, ID
from landbridge.training.loop import run_phase
from landbridge.training.options import FitOptions

phase, seen = small(6), []
def validate(fitted):
    seen.append(1)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.0
run_phase(phase, FitOptions(validate=validate, work_dir=Path(sys.argv[1])), ID, lambda: phase)
"""


def test_a_killed_phase_goes_on_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "unit_training_loop.py").write_text(Path(__file__).read_text())
    paths = os.pathsep.join([str(tmp_path), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    gone = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert gone.returncode == -signal.SIGKILL
    resumed, whole, calls = small(6), small(6), []
    validate = FitOptions(validate=lambda f: calls.append(1) or 0.0, work_dir=tmp_path)
    run_phase(resumed, validate, ID, lambda: resumed)
    run_phase(whole, FitOptions(), ID)
    assert len(calls) == 4  # the first two epochs were kept
    assert same(resumed, whole)


def test_patience_gives_the_best_parameters_back() -> None:
    figures = iter([0.1, 0.9, 0.3, 0.2, 0.1])
    stopped, short = small(9), small(2)
    log = run_phase(stopped, FitOptions(validate=lambda f: next(figures), patience=2), ID, lambda: stopped)
    run_phase(short, FitOptions(), ID)
    assert len(log) == 4
    assert same(stopped, short)


def test_the_seed_is_in_the_dropout_and_torch_is_left_as_it_was() -> None:
    one, again, other = small(), small(), small()
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    run_phase(one, FitOptions(seed=1, threads=1), ID)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    run_phase(again, FitOptions(seed=1), ID)
    run_phase(other, FitOptions(seed=2), ID)
    assert same(one, again)
    assert not same(one, other)


def test_a_loss_that_is_no_number_names_phase_and_step() -> None:
    phase = small()

    def losses(batch: Any) -> Any:
        found = phase.losses(batch)
        return found if float(phase.buffers["steps"]) < 8 else {"a": found["a"] * float("nan")}

    with pytest.raises(DivergenceError, match=r"Phase 'small' diverged in epoch 1, step 2: loss:a is nan"):
        run_phase(Phase(**{**vars(phase), "losses": losses}), FitOptions(), ID)


def test_parameters_that_are_no_numbers_are_noticed_at_the_end() -> None:
    with pytest.raises(DivergenceError, match="diverged in epoch"):
        run_phase(small(optimizer=Optimizer("sgd", 1e30)), FitOptions(), ID)


def test_clipping_bounds_the_step_and_the_norm_is_logged() -> None:
    free, held = small(1, optimizer=Optimizer("sgd", 1.0), log_norm=True), None
    one_batch = {"batches": lambda epoch: small().batches(epoch)[:1]}
    held = small(1, optimizer=Optimizer("sgd", 1.0), clip=0.01)
    start = values(held)
    norm = run_phase(Phase(**{**vars(free), **one_batch}), FitOptions(), ID)[0]["gradient_norm"]
    run_phase(Phase(**{**vars(held), **one_batch}), FitOptions(), ID)
    moved = [np.sum((values(held)[name] - start[name]) ** 2) for name in held.parameters]
    freely = [np.sum((values(free)[name] - start[name]) ** 2) for name in free.parameters]
    assert np.sqrt(np.sum(moved)) == pytest.approx(0.01, rel=1e-3)
    assert np.sqrt(np.sum(freely)) == pytest.approx(norm, rel=1e-3)


def test_weights_weigh() -> None:
    both, first, alone = (small(weighting=w) for w in (Uniform(), Fixed({"a": 1, "b": 0}), Uniform()))
    only = Phase(**{**vars(alone), "losses": lambda batch: {"a": alone.losses(batch)["a"]}})
    for phase in (both, first, only):
        run_phase(phase, FitOptions(), ID)
    assert same(first, only)
    assert not same(first, both)


def test_weights_must_cover_the_domains_and_be_possible() -> None:
    with pytest.raises(SettingsError, match="Unknown domain in the weights 'b'"):
        run_phase(small(weighting=Fixed({"a": 1.0})), FitOptions(), ID)
    with pytest.raises(SettingsError, match="'a' must be 0 or more"):
        Fixed({"a": -1.0})


class Turning(Weighting):
    """Remembers how often it was asked, and doubles the first domain every other time."""

    def weights(self, losses: Any, parameters: Any, state: Any) -> Any:
        count = state.get("count", np.zeros(1))
        return {"a": 1.0 + float(count[0] % 2), "b": 1.0}, {"count": count + 1}


def test_what_a_weighting_remembers_is_part_of_the_checkpoint(tmp_path: Path) -> None:
    halves, whole = (small(4, weighting=Turning()) for _ in range(2))
    run_phase(Phase(**{**vars(halves), "epochs": 3}), FitOptions(work_dir=tmp_path), ID)
    resumed = small(4, weighting=Turning())
    run_phase(resumed, FitOptions(work_dir=tmp_path), ID)
    run_phase(whole, FitOptions(), ID)
    assert same(resumed, whole)


@pytest.mark.parametrize("kind", ["adam", "adagrad", "sgd", "momentum"])
def test_rows_in_torch_are_rows_in_numba(kind: str) -> None:
    optimizer = Optimizer(kind, 0.05)
    ours, theirs = torch.randn(7, 3), None
    theirs = ours.clone()
    slots, others = tensors.slots_of(optimizer, ours), tensors.slots_of(optimizer, theirs)
    for step in range(6):
        gradient = torch.tensor([5, 1, 2 + step % 3]), torch.randn(3, 3)
        tensors.step(optimizer, ours, slots, gradient)
        tensors._step_anywhere(optimizer, theirs, others, *gradient)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="Unknown device 'gpu'"):
        FitOptions(device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert neural.device("auto") == neural.device("cpu") == torch.device("cpu")
    with pytest.raises(SettingsError, match="no CUDA device here"):
        neural.device("cuda")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'landbridge\[neural\]'"):
        neural.torch.zeros  # noqa: B018
