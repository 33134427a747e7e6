"""Hyper-parameter search: the best settings of one method within a budget, chosen on validation data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.progress import Silent
from landbridge.core.types import Record, Values
from landbridge.data.splitting.holdout import VALIDATION_PAIRS, Holdout, Split
from landbridge.models.base import Fitted, Method
from landbridge.models.search_space import Space
from landbridge.selection import optuna_study
from landbridge.selection.search_space import distributions, points, starts, validate_space
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial


VALIDATIONS, CLOSER = 6, 20  # validations of a trial with epochs, and of a slow method's: it can end at each
SLOW = 20  # relative cost from which a method is slow


@dataclass(frozen=True)
class Budget:
    """At most ``trials``, for ``seconds`` of fitting and validation (None: no limit).

    After that no trial starts, and one under way ends at its next validation with what it has reached.
    """

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
    call, ``overhead_seconds`` the part of them that was neither fitting nor validating. ``fitted``: the model
    that reached the value, where this call fitted it.
    """

    method: Method
    value: float
    trials: pl.DataFrame
    seconds: float
    overhead_seconds: float
    fitted: Fitted | None = None


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

    Trials are compared on ``Holdout.to_validate``. ``work_dir``: a folder; a killed search continues from it
    with the same result. Raises StoreError if the folder holds another search, and DivergenceError if every
    trial diverged.
    """
    from landbridge.evaluation.evaluate import Validator

    began = time.perf_counter()
    space = validate_space(method.space_on(split.train) if space is None else space, type(method))
    validate = Validator(split.valid.to_validate(options.seed), metric, options.threads)
    shared = _Search(method, space, split.valid, validate, options)
    with optuna_study.open_study(work_dir, shared.identity(metric)) as study:
        busy, kept = _run(study, shared, budget)
        trials = optuna_study.finished_trials(study)[: _allowed(budget, space)]
    best = _best(trials, method)
    seconds = time.perf_counter() - began
    chosen = method.with_settings(best.params | best.user_attrs["stopped"])
    fitted = kept.fitted if kept.number == best.number else None
    table = _table(trials, space, method)
    return TuningResult(chosen, _value(best), table, seconds, seconds - busy, fitted)


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
            "pairs": VALIDATION_PAIRS,
            "seed": self.options.seed,
            "patience": self.options.patience,
        }

    def fit(self, trial: Trial, watch: _Watch) -> tuple[float, Fitted | None]:
        """Fit with the trial's settings; validate some of the epochs, or once if there are none.

        Returns the best value (of the last phase) and the model that was best. The number of epochs that
        reaches it is kept with the trial.
        """
        method = self.method.with_settings(trial.params)
        options = replace(
            self.options, validate=watch, validate_every=watch.every, work_dir=None, progress=Silent()
        )
        log: Sequence[Values] = ()
        with suppress(_OutOfTimeError):
            fitted = method.fit(self.valid.history, options)
            log = fitted.log
            if not watch.values:
                watch(fitted)
        validated = [record for record in log if "valid" in record] or watch.records()
        given, stopped = method.flat(), method.stopped(validated).flat()
        trial.set_user_attr("stopped", {key: stopped[key] for key in given if stopped[key] != given[key]})
        trial.set_user_attr("epochs", stopped.get("epochs"))
        last = validated[-1].get("phase")
        value = max(float(record["valid"]) for record in validated if record.get("phase") == last)
        return value, watch.best


class _OutOfTimeError(Exception):
    """The seconds of the search are over while a trial is being fitted."""


@dataclass
class _Watch:
    """Validates a trial and reports to Optuna, whose own seconds are counted apart.

    ``every``: epochs between validations. ``until``: when the time is over, by ``time.perf_counter``.
    """

    trial: Trial
    validate: Callable[[Fitted], float]
    every: int
    until: float
    values: list[float] = field(default_factory=list)
    best: Fitted | None = None
    reporting_seconds: float = 0.0

    def __call__(self, fitted: Fitted) -> float:
        from optuna import TrialPruned

        value = self.validate(fitted)
        if value > max(self.values, default=-math.inf):
            self.best = fitted
        began = time.perf_counter()
        self.trial.report(value, len(self.values) * self.every)
        self.values.append(value)
        should_prune = self.trial.should_prune()
        self.reporting_seconds += time.perf_counter() - began
        if should_prune:
            raise TrialPruned
        if time.perf_counter() > self.until:
            raise _OutOfTimeError
        return value

    @property
    def best_epochs(self) -> int | None:
        """The number of epochs up to the best validation; None before the first."""
        return (self.values.index(max(self.values)) + 1) * self.every if self.values else None

    def records(self) -> list[Record]:
        """The validations as records of a log: after which epoch, and the value."""
        return [
            {"epoch": (place + 1) * self.every - 1, "valid": value} for place, value in enumerate(self.values)
        ]


@dataclass(frozen=True, eq=False)
class _Kept:
    """The best trial of this call so far: its number, value and model."""

    number: int = -1
    value: float = -math.inf
    fitted: Fitted | None = None


def _run(study: Study, shared: _Search, budget: Budget) -> tuple[float, _Kept]:
    """Run trials until the budget is spent. Returns the seconds of fitting and validation, and the best."""
    allowed, busy, kept = _allowed(budget, shared.space), 0.0, _Kept()
    space, first = distributions(shared.space), starts(shared.space, shared.method)
    seconds = None if budget.seconds is None else _left(optuna_study.finished_trials(study), budget)
    with shared.options.progress.task(f"tuning {shared.method.name}", allowed, seconds) as task:
        while len(trials := optuna_study.finished_trials(study)) < allowed and _left(trials, budget) > 0:
            trial = optuna_study.suggest(study, shared.options.seed, space, first)
            until = time.perf_counter() + _left(trials, budget)
            seconds, result = _try(study, trial, shared, until)
            busy, kept = busy + seconds, max(kept, result, key=lambda each: each.value)
            values = [
                _value(each) for each in optuna_study.finished_trials(study) if each.intermediate_values
            ]
            task.step(len(trials) + 1, {"best": max(values, default=float("nan"))})
    return busy, kept


def _try(study: Study, trial: Trial, shared: _Search, until: float) -> tuple[float, _Kept]:
    """Run one trial and report its outcome to Optuna. Returns its seconds of fitting and validation."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    epochs = int(shared.method.with_settings(trial.params).flat().get("epochs", 0))
    validations = CLOSER if shared.method.relative_cost >= SLOW else VALIDATIONS
    # without epochs there is nothing that could end early: the one validation is that of the whole fit
    watch = _Watch(trial, shared.validate, max(1, -(-epochs // validations)), until if epochs else math.inf)
    began, state, result = time.perf_counter(), TrialState.PRUNED, _Kept()
    try:
        result = _Kept(trial.number, *shared.fit(trial, watch))
        state = TrialState.COMPLETE
    except TrialPruned:
        trial.set_user_attr("epochs", watch.best_epochs)
    except DivergenceError as error:  # a valid outcome of a trial: these settings are bad
        trial.set_user_attr("diverged", str(error))
        trial.set_user_attr("epochs", watch.best_epochs)
    busy = time.perf_counter() - began - watch.reporting_seconds
    trial.set_user_attr("seconds", busy)
    study.tell(trial, result.value if state == TrialState.COMPLETE else None, state)
    return busy, result


def _allowed(budget: Budget, space: Space) -> int:
    # beyond that a trial would be the same as an earlier one
    return int(min(budget.trials, points(space)))


def _left(trials: list[FrozenTrial], budget: Budget) -> float:
    """Seconds that are left; the first trial always has some."""
    if budget.seconds is None:
        return math.inf
    spent = sum(float(trial.user_attrs["seconds"]) for trial in trials)
    return budget.seconds - spent


def _best(trials: list[FrozenTrial], method: Method) -> FrozenTrial:
    """The complete trial of highest value, the first of equals, so that ties keep the given settings."""
    from optuna.trial import TrialState

    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise DivergenceError(
            f"Every trial of {method.name} diverged, {len(trials)} in all. Change the settings or narrow "
            "the space."
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
    return trial.user_attrs["epochs"] if method.has_epochs else None


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
