"""MLflow and Weights & Biases get the values of every step, a run for every task."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from landbridge.core.errors import MissingExtraError, SettingsError
from landbridge.core.progress import Progress, Silent
from landbridge.core.tracker_runs import RunPerTask
from landbridge.core.trackers import tracked

STEPS = {1: {"valid: ndcg@10": 0.25, "loss of books": 3.5}, 2: {"valid: ndcg@10": 0.5, "loss of books": 2.0}}


@dataclass
class Kept:
    """A run that keeps what it is given."""

    title: str
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    whole: bool | None = None

    def write(self, step: int, facts: Mapping[str, float]) -> None:
        self.steps[step] = dict(facts)

    def close(self, whole: bool) -> None:
        self.whole = whole


def report(progress: Progress) -> None:
    """Two tasks: a fit with values, and one without."""
    with progress.task("cdimf", 2) as task:
        for done, facts in STEPS.items():
            task.step(done, facts)
    with progress.task("reading", 1) as task:
        task.step(1, {})


def test_a_task_with_values_is_a_run() -> None:
    runs: list[Kept] = []

    def start(title: str, first: int) -> Kept:
        runs.append(Kept(title))
        return runs[-1]

    report(RunPerTask(start, Silent()))
    assert runs == [Kept("cdimf", STEPS, whole=True)]


def test_a_task_that_fails_is_closed_as_such() -> None:
    run = Kept("cdimf")

    def fail() -> None:
        with RunPerTask(lambda title, first: run, Silent()).task("cdimf", 2) as task:
            task.step(1, STEPS[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (run.steps, run.whole) == ({1: STEPS[1]}, False)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a server or a database needs more packages
    place = (tmp_path / "kept").as_uri()
    report(tracked(f"mlflow={place}", Silent()))
    report(tracked(f"mlflow={place}", Silent()))  # the experiment is there now
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("landbridge")
    runs = client.search_runs([experiment.experiment_id])
    assert [(run.info.run_name, run.info.status) for run in runs] == [("cdimf", "FINISHED")] * 2
    for name in STEPS[1]:
        kept = client.get_metric_history(runs[0].info.run_id, name.replace("@", "_"))
        assert {each.step: each.value for each in kept} == {
            step: facts[name] for step, facts in STEPS.items()
        }


def test_a_place_that_mlflow_cannot_use_is_one_sentence() -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(SettingsError, match="MLflow cannot use 'gopher://nowhere'"):
        tracked("mlflow=gopher://nowhere", Silent())


@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_every_value_in_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    report(tracked(f"wandb={tmp_path}", Silent()))
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    # a process of its own writes, and is not waited for when a run ends
    while kept.read_bytes().count(b"loss of books") < len(STEPS) and time.monotonic() < deadline:
        time.sleep(0.05)
    content = kept.read_bytes()
    for name in STEPS[1]:
        assert content.count(name.encode()) >= len(STEPS)


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_a_missing_package_is_one_sentence(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'landbridge\[{name}\]'"):
        tracked(f"{name}={tmp_path}", Silent())
