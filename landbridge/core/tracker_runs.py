"""Progress reporting to MLflow and to Weights & Biases: every task that reports values becomes a run.

Both get what a run's log and TensorBoard get: the values of every step, under the names of the log.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from landbridge.core.errors import MissingExtraError, SettingsError
from landbridge.core.progress import Progress, Task

PROJECT = "landbridge"  # the experiment of MLflow and the project of Weights & Biases


class Run(Protocol):
    """A curve of a tracker that is being written."""

    def write(self, step: int, facts: Mapping[str, float]) -> None:
        """Write the values of one step."""

    def close(self, whole: bool) -> None:
        """No further step comes; ``whole``: the task ended without an error."""


@dataclass(frozen=True)
class RunPerTask:
    """Passes reports on to ``inner``; ``start`` opens a run for the title of a task and its first step with
    values."""

    start: Callable[[str, int], Run]
    inner: Progress

    def note(self, sentence: str) -> None:
        """Passed on; it is no value."""
        self.inner.note(sentence)

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        """A task whose values go to a run; a task without values makes none."""
        with self.inner.task(title, total, seconds) as inner:
            task = _TrackedTask(self.start, title, inner)
            try:
                yield task
            except BaseException:
                task.close(whole=False)
                raise
            task.close(whole=True)


@dataclass
class _TrackedTask:
    start: Callable[[str, int], Run]
    title: str
    inner: Task
    run: Run | None = None

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        self.inner.step(done, facts)
        if facts:
            self.run = self.run or self.start(self.title, done)
            self.run.write(done, facts)

    def close(self, whole: bool) -> None:
        if self.run is not None:
            self.run.close(whole)


def mlflow(place: str, inner: Progress) -> Progress:
    """Runs of the experiment "landbridge" of the tracking server or database at the URI ``place``.

    MissingExtraError without the extra ``mlflow``, SettingsError for a place that MLflow cannot use.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError:
        raise _missing("MLflow", "mlflow") from None
    try:
        client = MlflowClient(tracking_uri=place)
        found = client.get_experiment_by_name(PROJECT)
        experiment = client.create_experiment(PROJECT) if found is None else found.experiment_id
    except MlflowException as error:
        raise SettingsError(f"MLflow cannot use {place!r}: {' '.join(str(error).split())}") from error
    return RunPerTask(
        lambda title, first: _MlflowRun(client, client.create_run(experiment, run_name=title).info.run_id),
        inner,
    )


def wandb(place: str, inner: Progress) -> Progress:
    """Runs of the project "landbridge" below the folder ``place``. They stay there: `wandb sync` sends them.

    MissingExtraError without the extra ``wandb``.
    """
    try:
        import wandb as module
    except ModuleNotFoundError:
        raise _missing("Weights & Biases", "wandb") from None
    # nothing but the values: no console, no statistics of the machine, no state of a repository
    quiet = module.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        silent=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )
    return RunPerTask(
        lambda title, first: _WandbRun(
            module.init(
                project=PROJECT, name=title, dir=place, mode="offline", reinit="create_new", settings=quiet
            )
        ),
        inner,
    )


@dataclass(frozen=True)
class _MlflowRun:
    client: Any
    run_id: str

    def write(self, step: int, facts: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # MLflow refuses other characters in names
        metrics = [
            Metric(re.sub(r"[^\w\-. /:]", "_", name), value, now, step) for name, value in facts.items()
        ]
        self.client.log_batch(self.run_id, metrics=metrics)

    def close(self, whole: bool) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if whole else "FAILED")


@dataclass(frozen=True)
class _WandbRun:
    run: Any

    def write(self, step: int, facts: Mapping[str, float]) -> None:
        self.run.log(dict(facts), step=step)

    def close(self, whole: bool) -> None:
        self.run.finish(exit_code=0 if whole else 1)


def _missing(program: str, extra: str) -> MissingExtraError:
    return MissingExtraError(f"{program} needs its package: pip install 'landbridge[{extra}]'.")
