"""The epoch loop: best state, patience, checkpoints, and going on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import uneven

from landbridge.core.errors import StoreError
from landbridge.models import registry
from landbridge.training.epochs import run_epochs
from landbridge.training.options import FitOptions

FIGURES = [0.1, 0.5, 0.4, 0.3, 0.9]
HERE = Path(__file__).parents[2]


def run(options: FitOptions, epochs: int = 5, identity: Any = None, started: list[int] | None = None) -> Any:
    """A state that counts its epochs."""

    def start() -> Any:
        if started is not None:
            started.append(1)
        return {"n": np.zeros(1)}

    return run_epochs(
        "counting",
        epochs,
        start,
        lambda state, epoch: ({"n": state["n"] + 1}, {"doubled": 2.0 * epoch}),
        lambda state: int(state["n"][0]),
        options,
        identity or {"settings": 1},
    )


def figure(count: int) -> float:
    return FIGURES[count - 1]


def test_every_epoch_leaves_a_record() -> None:
    state, log = run(FitOptions())
    assert state["n"] == 5
    assert log == tuple({"epoch": epoch, "doubled": 2.0 * epoch} for epoch in range(5))


def test_patience_stops_and_gives_the_best_state() -> None:
    state, log = run(FitOptions(validate=figure, patience=2))
    assert [record["valid"] for record in log] == FIGURES[:4]
    assert state["n"] == 2


def test_the_best_state_is_kept_where_steps_write_into_theirs() -> None:
    def step(state: Any, epoch: int) -> Any:
        state["n"] += 1
        return state, {}

    state, _ = run_epochs(
        "counting",
        5,
        lambda: {"n": np.zeros(1)},
        step,
        lambda state: int(state["n"][0]),
        FitOptions(validate=figure, patience=2),
        {},
    )
    assert state["n"] == 2


def test_longer_patience_sees_the_later_best() -> None:
    state, log = run(FitOptions(validate=figure, patience=3))
    assert (state["n"], len(log)) == (5, 5)


def test_without_patience_validation_only_watches() -> None:
    state, log = run(FitOptions(validate=lambda count: -float(count)))
    assert (state["n"], len(log)) == (5, 5)


def test_a_tie_is_no_improvement() -> None:
    state, log = run(FitOptions(validate=lambda count: 1.0, patience=2))
    assert (state["n"], len(log)) == (1, 3)


def test_a_finished_fit_is_not_repeated(tmp_path: Path) -> None:
    started: list[int] = []
    options = FitOptions(work_dir=tmp_path)
    first = run(options, started=started)
    again = run(options, started=started)
    assert len(started) == 1
    assert first[0]["n"] == again[0]["n"]
    assert first[1] == again[1]


def test_the_best_state_survives_in_the_checkpoint(tmp_path: Path) -> None:
    run(FitOptions(validate=figure, patience=2, work_dir=tmp_path), epochs=3)
    state, log = run(FitOptions(validate=figure, patience=2, work_dir=tmp_path), epochs=5)
    assert (state["n"], len(log)) == (2, 4)


def test_a_checkpoint_of_another_fit_is_refused_in_one_sentence(tmp_path: Path) -> None:
    run(FitOptions(work_dir=tmp_path))
    with pytest.raises(StoreError, match="belongs to another fit") as caught:
        run(FitOptions(work_dir=tmp_path), identity={"settings": 2})
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("change", ["seed", "settings", "data"])
def test_seed_settings_and_data_make_a_fit(tmp_path: Path, change: str) -> None:
    method, data = registry.method("ials"), uneven()
    method(factors=4, epochs=2).fit(data, FitOptions(threads=1, work_dir=tmp_path))
    seed, reg = (1 if change == "seed" else 0), (0.5 if change == "settings" else 0.03)
    data = uneven(seed=1) if change == "data" else data
    with pytest.raises(StoreError, match="another fit"):
        method(factors=4, epochs=2, reg=reg).fit(data, FitOptions(seed=seed, threads=1, work_dir=tmp_path))


KILLED = """
import os, signal, sys
from pathlib import Path
from worlds import uneven
from landbridge.models import registry
from landbridge.training.options import FitOptions

seen = []
def validate(fitted):
    seen.append(1)
    if len(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(len(seen))

method = registry.method(sys.argv[1])(factors=4, epochs=7)
method.fit(uneven(), FitOptions(threads=2, validate=validate, work_dir=Path(sys.argv[2])))
"""


@pytest.mark.parametrize(
    "name", ["adc", "bprmf", "cdimf", "cmf", "conet", "ials", "lightgcn", "neumf", "pepnet"]
)
def test_a_killed_fit_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", KILLED, name, str(tmp_path)]
    gone = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert gone.returncode == -signal.SIGKILL
    method, calls = registry.method(name)(factors=4, epochs=7), []
    resumed = method.fit(
        uneven(),
        FitOptions(threads=1, validate=lambda fitted: calls.append(1) or 0.0, work_dir=tmp_path),
    )
    assert len(calls) == 4  # epochs 3 to 6: the first three were kept
    whole = method.fit(uneven(), FitOptions(threads=1))
    arrays, others = resumed.state()[0], whole.state()[0]
    assert arrays.keys() == others.keys()
    assert all(np.array_equal(arrays[key], others[key]) for key in arrays)
