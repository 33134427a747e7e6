"""Several ranks: the same network on all, as one process with twice the batch; lost ranks, resume."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import rank_fits  # noqa: E402  it needs torch

from landbridge.core.errors import SettingsError  # noqa: E402
from landbridge.core.system import processors  # noqa: E402
from landbridge.training.loop import run_phase  # noqa: E402
from landbridge.training.options import FitOptions  # noqa: E402
from landbridge.training.phase import Phase  # noqa: E402
from landbridge.training.ranks import ALONE, joined, launched  # noqa: E402

WAIT = 240  # seconds, far more than any of these takes: a rank must never wait for ever
METHODS = ("method:sasrec", "method:dwl", "method:adc", "method:uclr")
ENDED = "Another rank has ended or cannot be reached"


def finish(folder: Path, *names: str) -> list[tuple[int, str]]:
    """Status and output of each rank."""
    ranks = rank_fits.start(folder, *names)
    try:
        said = [rank.communicate(timeout=WAIT)[0] for rank in ranks]
        return [(rank.returncode, text) for rank, text in zip(ranks, said, strict=True)]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all fits that end well: two processes make them one after the other."""
    folder = tmp_path_factory.mktemp("ranks")
    phases = [f"{kind}:{weighting}" for weighting in rank_fits.WEIGHTINGS for kind in ("phase", "full")]
    ends = finish(folder, *phases, "masks", "diverged", "different", "killed:", *METHODS)
    assert [status for status, _ in ends] == [0, 0], ends
    return folder


def paired(phase: Phase[Any]) -> Phase[Any]:
    """The same with two batches as one: the mean loss of each domain, as one process would have it."""

    def batches(epoch: int) -> list[list[Any]]:
        single = list(phase.batches(epoch))
        return [single[start : start + 2] for start in range(0, len(single), 2)]

    def losses(pair: list[Any]) -> dict[str, Any]:
        both = [phase.losses(batch) for batch in pair]
        # over the batches, and not over those with the domain: that is the mean of the batches' gradients
        return {
            d: sum(own[d] for own in both if d in own) / len(both)
            for d in dict.fromkeys(k for o in both for k in o)
        }

    return replace(phase, batches=batches, losses=losses)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("weighting", rank_fits.WEIGHTINGS)
def test_ranks_hold_the_same_bits(fits: Path, weighting: str) -> None:
    one, other = rank_fits.made(fits, f"phase:{weighting}")
    assert same(one, other)


@pytest.mark.parametrize("weighting", rank_fits.WEIGHTINGS)
def test_a_step_is_that_of_the_mean_gradient(fits: Path, weighting: str) -> None:
    serial = paired(rank_fits.network(weighting, missing=rank_fits.FULL))
    log = run_phase(serial, FitOptions(threads=1), rank_fits.ID)
    made, expected = rank_fits.made(fits, f"full:{weighting}")[0], rank_fits.arrays(serial)
    for name in expected:
        np.testing.assert_allclose(made[name], expected[name], atol=1e-6)
    losses = [[record["loss:a"], record["loss:b"]] for record in log]
    np.testing.assert_allclose(made["log"], losses, rtol=1e-5)


def test_a_domain_that_one_rank_lacks_has_half_the_gradient(fits: Path) -> None:
    serial = paired(rank_fits.network("uniform"))
    run_phase(serial, FitOptions(threads=1), rank_fits.ID)
    made, expected = rank_fits.made(fits, "phase:uniform")[0], rank_fits.arrays(serial)
    for name in expected:
        np.testing.assert_allclose(made[name], expected[name], atol=1e-6)


def test_rows_without_an_event_stay(fits: Path) -> None:
    made = rank_fits.made(fits, "phase:uniform")[0]
    # 5 batches of 4 of 20 rows: each row once an epoch, also in the last round, of one rank alone
    assert made["seen"].tolist() == [rank_fits.EPOCHS] * 20


@pytest.mark.parametrize("name", METHODS)
def test_methods_fit(fits: Path, name: str) -> None:
    one, other = rank_fits.made(fits, name)
    assert same(one, other)
    assert all(np.isfinite(array).all() for array in one.values() if array.dtype.kind == "f")


def test_masks_differ(fits: Path) -> None:
    one, other = rank_fits.made(fits, "masks")
    assert not np.array_equal(one["mask"], other["mask"])


def test_a_rank_that_diverges_ends_all_in_the_same_step(fits: Path) -> None:
    one, other = rank_fits.made(fits, "diverged")
    assert str(one["said"]) == str(other["said"])
    assert "diverged in epoch 0, step 0: loss:a is nan" in str(one["said"])


def test_ranks_with_different_data_do_not_fit(fits: Path) -> None:
    one, other = rank_fits.made(fits, "different")
    assert str(one["said"]) == str(other["said"])
    assert "Ranks 0 and 1 have different data or settings" in str(one["said"])


def test_a_lost_rank_ends_the_fit_and_it_resumes(fits: Path, tmp_path: Path) -> None:
    (first, said), (second, _) = finish(tmp_path, "killed:5")  # in the second epoch of three rounds
    assert (first, second) == (1, -9)
    assert ENDED in said.splitlines()[-1]
    assert (tmp_path / "work" / "small").is_dir()
    ends = finish(tmp_path, "killed:")
    assert [status for status, _ in ends] == [0, 0], ends
    one, other = rank_fits.made(tmp_path, "killed:")
    assert same(one, other)
    assert same(one, rank_fits.made(fits, "killed:")[0])


def test_one_rank_is_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rank_fits.environment(0, 1, number=1).items():
        monkeypatch.setenv(name, value)
    with joined() as ranks:
        assert ranks is ALONE
    assert FitOptions().ranks is ALONE
    assert isinstance(pickle.loads(pickle.dumps(FitOptions())), FitOptions)


def test_an_incomplete_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == 1  # of another program
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(SettingsError, match="no MASTER_ADDR: start the program by torchrun"):
        launched()


def test_ranks_of_one_machine_share_its_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = processors()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert processors() == max(1, alone // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * (os.cpu_count() or 1)))
    assert processors() == 1
