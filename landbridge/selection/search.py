"""Hyper-parameter search: the best settings of one method within a budget, chosen on validation data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.progress import Silent
from landbridge.core.types import Record
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.models.base import Fitted, Method
from landbridge.models.search_space import Space
from landbridge.selection import optuna_study
from landbridge.selection.search_space import distributions, start, validate_space
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Budget:
    """At most ``trials``; no trial starts after ``seconds`` of fitting and validation (None: no limit)."""

    trials: int = 20
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise SettingsError(f"A search needs 1 trial or more, not {self.trials}.")
        if self.seconds is not None and not self.seconds > 0:
            raise SettingsError(f"A search needs more than {self.seconds} seconds.")


@dataclass(frozen=True, eq=False)
class TuningResult:
    """The result of a search: the best ``method``, with its number of epochs, and its validation value.

    ``trials``: one row per trial: its settings, value (of the best epoch), epochs (up to the best one),
    state (complete, pruned or diverged), seconds of fitting and validation. ``seconds`` are those of this
    call, ``overhead_seconds`` the part of them that was neither fitting nor validating.
    """

    method: Method
    value: float
    trials: pl.DataFrame
    seconds: float
    overhead_seconds: float


@renamed_argument("storage", "work_dir")
def tune(
    method: Method,
    split: Split,
    budget: Budget,
    options: FitOptions,
    metric: str = "ndcg@10",
    space: Space | None = None,
    work_dir: Path | None = None,
) -> TuningResult:
    """Search ``space`` (the method's own by default), starting with the method's own settings.

    ``work_dir``: a folder; a killed search continues from it with the same result. Raises StoreError if the
    folder holds another search, and DivergenceError if every trial diverged.
    """
    from landbridge.evaluation.evaluate import Validator

    began = time.perf_counter()
    space = validate_space(type(method).space if space is None else space, type(method))
    shared = _Search(method, space, split.valid, Validator(split.valid, metric, options.threads), options)
    with optuna_study.open_study(work_dir, shared.identity(metric)) as study:
        busy = _run(study, shared, budget)
        # a folder may hold more trials, of a call with a larger budget
        trials = optuna_study.finished_trials(study)[: _allowed(budget, space)]
    best = _best(trials, method)
    seconds = time.perf_counter() - began
    return TuningResult(
        method.with_settings(best.params | best.user_attrs["stopped"]),
        _value(best),
        _table(trials, space, method),
        seconds,
        seconds - busy,
    )


@dataclass(frozen=True, eq=False)
class _Search:
    """The values that all trials of a search share."""

    method: Method
    space: Space
    valid: Holdout
    validate: Callable[[Fitted], float]
    options: FitOptions

    def identity(self, metric: str) -> Record:
        """A search in a folder is continued only if this is equal."""
        return {
            "method": self.method.name,
            "settings": self.method.flat(),
            "space": {name: [type(values).__name__, asdict(values)] for name, values in self.space.items()},
            "data": self.valid.fingerprint,
            "metric": metric,
            "seed": self.options.seed,
            "patience": self.options.patience,
        }

    def fit(self, trial: Trial, watch: _Watch) -> float:
        """Fit with the trial's settings and validate after every epoch, or once if there are no epochs.

        Returns the best value (of the last phase) and records the number of epochs that reach it.
        """
        method = self.method.with_settings(trial.params)
        options = replace(self.options, validate=watch, work_dir=None, progress=Silent())
        fitted = method.fit(self.valid.history, options)
        if not watch.values:
            watch(fitted)
        validated = [record for record in fitted.log if "valid" in record] or [
            {"epoch": epoch, "valid": value} for epoch, value in enumerate(watch.values)
        ]
        given, stopped = method.flat(), method.stopped(validated).flat()
        trial.set_user_attr("stopped", {key: stopped[key] for key in given if stopped[key] != given[key]})
        trial.set_user_attr("epochs", stopped.get("epochs"))
        # only the last phase has the model that is returned
        last = validated[-1].get("phase")
        return max(float(record["valid"]) for record in validated if record.get("phase") == last)


@dataclass
class _Watch:
    """Validates a trial epoch by epoch and reports to Optuna, whose own seconds are counted apart."""

    trial: Trial
    validate: Callable[[Fitted], float]
    values: list[float] = field(default_factory=list)
    reporting_seconds: float = 0.0

    def __call__(self, fitted: Fitted) -> float:
        from optuna import TrialPruned

        value = self.validate(fitted)
        began = time.perf_counter()
        self.trial.report(value, len(self.values))
        self.values.append(value)
        should_prune = self.trial.should_prune()
        self.reporting_seconds += time.perf_counter() - began
        if should_prune:
            raise TrialPruned
        return value


def _run(study: Study, shared: _Search, budget: Budget) -> float:
    """Run trials until the budget is spent. Returns the seconds of fitting and validation."""
    allowed, busy = _allowed(budget, shared.space), 0.0
    space, first = distributions(shared.space), start(shared.space, shared.method.flat())
    with shared.options.progress.task(f"tuning {shared.method.name}", allowed) as task:
        while len(trials := optuna_study.finished_trials(study)) < allowed and not _spent(trials, budget):
            trial = optuna_study.suggest(study, shared.options.seed, space, first)
            busy += _try(study, trial, shared)
            values = [
                _value(each) for each in optuna_study.finished_trials(study) if each.intermediate_values
            ]
            task.step(len(trials) + 1, {"best": max(values, default=float("nan"))})
    return busy


def _try(study: Study, trial: Trial, shared: _Search) -> float:
    """Run one trial and report its outcome to Optuna. Returns its seconds of fitting and validation."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    watch = _Watch(trial, shared.validate)
    began, state, value = time.perf_counter(), TrialState.PRUNED, None
    try:
        value = shared.fit(trial, watch)
        state = TrialState.COMPLETE
    except TrialPruned:
        pass
    except DivergenceError as error:  # a valid outcome of a trial: these settings are bad
        trial.set_user_attr("diverged", str(error))
    busy = time.perf_counter() - began - watch.reporting_seconds
    trial.set_user_attr("seconds", busy)
    study.tell(trial, value, state)
    return busy


def _allowed(budget: Budget, space: Space) -> int:
    # without a space every trial would be the same
    return budget.trials if space else 1


def _spent(trials: list[FrozenTrial], budget: Budget) -> bool:
    if not trials or budget.seconds is None:
        return False
    # seconds of finished trials, not of the clock: a resumed search ends after the same trial
    return budget.seconds <= sum(float(trial.user_attrs["seconds"]) for trial in trials)


def _best(trials: list[FrozenTrial], method: Method) -> FrozenTrial:
    """The complete trial of highest value, the first of equals, so that ties keep the given settings."""
    from optuna.trial import TrialState

    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise DivergenceError(
            f"All {len(trials)} trials of {method.name} diverged. Change the settings or narrow the space."
        )
    return max(complete, key=_value)


def _value(trial: FrozenTrial) -> float:
    """The value of a trial; of a pruned one its best validation so far."""
    from optuna.trial import TrialState

    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return trial.value
    return max(trial.intermediate_values.values())


def _epochs(trial: FrozenTrial, method: Method) -> int | None:
    """The number of epochs up to the best one; None without epochs or without a validation."""
    if not trial.intermediate_values or not method.has_epochs:
        return None
    reported = trial.intermediate_values
    reached = max(sorted(reported), key=reported.__getitem__) + 1
    return int(trial.user_attrs.get("epochs", reached))


def _table(trials: list[FrozenTrial], space: Space, method: Method) -> pl.DataFrame:
    import polars as pl

    records = [
        {
            "trial": number,
            **{name: trial.params[name] for name in space},
            "value": _value(trial) if trial.intermediate_values else None,
            "epochs": _epochs(trial, method),
            "state": "diverged" if "diverged" in trial.user_attrs else trial.state.name.lower(),
            "seconds": trial.user_attrs["seconds"],
        }
        for number, trial in enumerate(trials)
    ]
    return pl.DataFrame(records, schema_overrides={"value": pl.Float64, "epochs": pl.Int64})
