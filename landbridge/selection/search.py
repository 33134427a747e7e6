"""The best settings of one method within a budget, judged on validation data and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.core.deprecation import renamed_argument
from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.progress import Silent
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.models.base import Fitted, Method
from landbridge.models.search_space import Space
from landbridge.selection import studies
from landbridge.selection.search_space import checked, distributions, start
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Budget:
    """``trials`` at most, and none begun after ``seconds`` of fitting and validating (None: no limit)."""

    trials: int = 20
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise SettingsError(f"A search needs 1 trial or more, not {self.trials}.")
        if self.seconds is not None and not self.seconds > 0:
            raise SettingsError(f"A search needs more than {self.seconds} seconds.")


@dataclass(frozen=True, eq=False)
class TuningResult:
    """What a search found: the best ``method``, with its epochs where it has any, and its figure.

    ``trials``: one row per trial: its settings, value (best epoch's figure), epochs (up to the best one),
    state (complete, pruned or diverged), seconds of fitting and validating. ``seconds`` are those of this
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
    """Search ``space`` (the method's own by default), beginning with the method's own settings.

    With ``work_dir``, a folder, a search that was killed goes on as if it had not been. StoreError where
    the folder holds another search; DivergenceError where no trial gave a figure.
    """
    from landbridge.evaluation.evaluate import Validator

    began = time.perf_counter()
    space = checked(type(method).space if space is None else space, type(method))
    shared = _Search(method, space, split.valid, Validator(split.valid, metric, options.threads), options)
    with studies.open_study(work_dir, shared.identity(metric)) as study:
        busy = _run(study, shared, budget)
        found = studies.finished_trials(study)[: _allowed(budget, space)]
    best = _best(found, method)
    seconds = time.perf_counter() - began
    return TuningResult(
        method.with_settings(best.params | best.user_attrs["stopped"]),
        _value(best),
        _table(found, space, method),
        seconds,
        seconds - busy,
    )


@dataclass(frozen=True, eq=False)
class _Search:
    """What every trial of a search shares."""

    method: Method
    space: Space
    valid: Holdout
    judge: Callable[[Fitted], float]
    options: FitOptions

    def identity(self, metric: str) -> dict[str, Any]:
        """What a search in a folder must agree with to be continued."""
        return {
            "method": self.method.name,
            "settings": self.method.flat(),
            "space": {name: [type(asked).__name__, asdict(asked)] for name, asked in self.space.items()},
            "data": self.valid.fingerprint,
            "metric": metric,
            "seed": self.options.seed,
            "patience": self.options.patience,
        }

    def fit(self, trial: Trial, watch: _Watch) -> float:
        """Fit with the trial's settings, judged after every epoch; once where there are no epochs.

        Gives the best figure (of the last phase), and notes with how many epochs it is reached.
        """
        method = self.method.with_settings(trial.params)
        options = replace(self.options, validate=watch, work_dir=None, progress=Silent())
        fitted = method.fit(self.valid.history, options)
        if not watch.figures:
            watch(fitted)
        judged = [record for record in fitted.log if "valid" in record] or [
            {"epoch": epoch, "valid": figure} for epoch, figure in enumerate(watch.figures)
        ]
        given, stopped = method.flat(), method.stopped(judged).flat()
        trial.set_user_attr("stopped", {key: stopped[key] for key in given if stopped[key] != given[key]})
        trial.set_user_attr("epochs", stopped.get("epochs"))
        last = judged[-1].get("phase")
        return max(float(record["valid"]) for record in judged if record.get("phase") == last)


@dataclass
class _Watch:
    """A trial's figures, epoch by epoch, and the seconds spent on telling them to Optuna."""

    trial: Trial
    judge: Callable[[Fitted], float]
    figures: list[float] = field(default_factory=list)
    telling: float = 0.0

    def __call__(self, fitted: Fitted) -> float:
        from optuna import TrialPruned

        figure = self.judge(fitted)
        began = time.perf_counter()
        self.trial.report(figure, len(self.figures))
        self.figures.append(figure)
        hopeless = self.trial.should_prune()
        self.telling += time.perf_counter() - began
        if hopeless:
            raise TrialPruned
        return figure


def _run(study: Study, shared: _Search, budget: Budget) -> float:
    """Trials until the budget is spent; gives the seconds of fitting and validating."""
    allowed, busy = _allowed(budget, shared.space), 0.0
    asked, first = distributions(shared.space), start(shared.space, shared.method.flat())
    with shared.options.progress.task(f"tuning {shared.method.name}", allowed) as task:
        while len(found := studies.finished_trials(study)) < allowed and not _spent(found, budget):
            trial = studies.suggest(study, shared.options.seed, asked, first)
            busy += _try(study, trial, shared)
            values = [_value(each) for each in studies.finished_trials(study) if each.intermediate_values]
            task.step(len(found) + 1, {"best": max(values, default=float("nan"))})
    return busy


def _try(study: Study, trial: Trial, shared: _Search) -> float:
    """Run one trial and tell how it ended; gives its seconds of fitting and validating."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    watch = _Watch(trial, shared.judge)
    began, state, value = time.perf_counter(), TrialState.PRUNED, None
    try:
        value = shared.fit(trial, watch)
        state = TrialState.COMPLETE
    except TrialPruned:
        pass
    except DivergenceError as error:  # an answer like any other: these settings are no good
        trial.set_user_attr("diverged", str(error))
    busy = time.perf_counter() - began - watch.telling
    trial.set_user_attr("seconds", busy)
    study.tell(trial, value, state)
    return busy


def _allowed(budget: Budget, space: Space) -> int:
    return budget.trials if space else 1


def _spent(found: list[FrozenTrial], budget: Budget) -> bool:
    if not found or budget.seconds is None:
        return False
    return budget.seconds <= sum(float(trial.user_attrs["seconds"]) for trial in found)


def _best(found: list[FrozenTrial], method: Method) -> FrozenTrial:
    """The first among equals, so that nothing is changed for nothing."""
    from optuna.trial import TrialState

    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    if not complete:
        raise DivergenceError(
            f"All {len(found)} trials of {method.name} diverged; begin with others or narrow the space."
        )
    return max(complete, key=_value)


def _value(trial: FrozenTrial) -> float:
    """What it gave, or its best figure where it did not come to its end."""
    from optuna.trial import TrialState

    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return trial.value
    return max(trial.intermediate_values.values())


def _epochs(trial: FrozenTrial, method: Method) -> int | None:
    """The number of epochs up to the best one; none without epochs or without a figure."""
    if not trial.intermediate_values or not method.has_epochs:
        return None
    figures = trial.intermediate_values
    reached = max(sorted(figures), key=figures.__getitem__) + 1
    return int(trial.user_attrs.get("epochs", reached))


def _table(found: list[FrozenTrial], space: Space, method: Method) -> pl.DataFrame:
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
        for number, trial in enumerate(found)
    ]
    return pl.DataFrame(records, schema_overrides={"value": pl.Float64, "epochs": pl.Int64})
