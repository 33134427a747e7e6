"""Ablation of loss balancing: every weighting of the domains under every sharing, as one benchmark.

Three controls are computed first, because they need the data: "fixed" weights the domains by their events
N_d,

    w_d = D N_d / Σ N                                                                                  (1)

so that every event counts alike; "grid" fits random weightings on the training part and keeps the one with
the best validation metric; "rates" does the same, with the same number of trials, for random learning rates
of the domains' own parameters. "published" is GradNorm as printed. All else is a benchmark in the folder
``bench`` (:mod:`landbridge.studies.benchmark.runner`), with the trials' metrics in ``grid`` and ``rates``
beside it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import MappingProxyType

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.executors import executor_of
from landbridge.core.files import make_folder, read_json, write_json
from landbridge.core.parallel import Executor
from landbridge.core.progress import Progress, Silent
from landbridge.core.settings import dotted, schema
from landbridge.core.types import Record, Values
from landbridge.models import registry
from landbridge.models.towers.adc import PUBLISHED, SHARING
from landbridge.studies.ablation import plan as plans
from landbridge.studies.ablation.plan import BENCH, AblationResult
from landbridge.studies.ablation.verdict import (
    CONTROLS,
    EQUAL,
    EVENTS,
    GRID,
    RATES,
    SEARCHED,
    label,
    tables,
    verdict,
)
from landbridge.studies.benchmark import jobs
from landbridge.studies.benchmark.runner import benchmark, exclusive_folder
from landbridge.studies.benchmark.spec import BenchmarkData, benchmark_spec
from landbridge.training.options import FitOptions
from landbridge.training.weighting.base import random_rates, random_weightings
from landbridge.training.weighting.gradnorm import COMPLEXITIES

BALANCE = (*CONTROLS, "gradnorm", "published", "uncertainty")
COMPARED = ("sharing", "balance.kind", "balance.complexity", "balance.weights", "balance.rates")
PRINTED = ("rule", "order", "decay")  # what makes gradnorm the published one
BY_DOMAIN = MappingProxyType(
    {EVENTS: ("fixed", "weights"), GRID: ("fixed", "weights"), RATES: ("rates",) * 2}
)
"""Control -> its ``balance.kind``, and the setting of ``balance`` that has its numbers by domain."""
METRIC = "ndcg@10"

DomainNumbers = Mapping[str, float]


@dataclass(frozen=True)
class Ablation:
    """What is compared on which data. ``data``: a table of [[data]] as in a benchmark's file.

    ``settings``: of the model, the same in all cells. ``balance``, ``complexity`` (readings of gradnorm) and
    ``sharing``: any subset, with "none" among the first, as all others are compared with it. ``grid``: how
    many random weightings are tried, and how many random learning rates. ``seeds``: 1 to so many.
    """

    data: Values
    model: str = "adc"
    settings: Values = field(default_factory=dict)
    balance: tuple[str, ...] = BALANCE
    complexity: tuple[str, ...] = COMPLEXITIES
    sharing: tuple[str, ...] = SHARING
    grid: int = 10
    seeds: int = 3

    def __post_init__(self) -> None:
        for key, valid in (("balance", BALANCE), ("complexity", COMPLEXITIES), ("sharing", SHARING)):
            object.__setattr__(self, key, plans.subset(key, getattr(self, key), valid))
        if EQUAL not in self.balance:
            raise SettingsError("balance needs none: all other ways are compared with equal weights.")
        if min(self.grid, self.seeds) < 1:
            raise SettingsError("grid and seeds must be 1 or more.")
        kind = registry.method(self.model)
        if not schema(kind).keys() >= set(COMPARED):
            raise SettingsError(f"{self.model} cannot be balanced; name a method that can: adc.")
        for key in dotted(kind, self.settings):
            if key in COMPARED:
                raise SettingsError(f"{key} is what is compared here: leave it out of the settings.")
        object.__setattr__(self, "settings", kind.from_settings(self.settings).changed())
        object.__setattr__(self, "data", self.source.model_dump(mode="json", exclude_none=True))

    @property
    def source(self) -> BenchmarkData:
        """The data as the benchmark has them."""
        return plans.source_of(self.data, self.model)

    def weightings(self, numbers: Mapping[str, DomainNumbers]) -> dict[str, Record]:
        """Way of weighing -> the settings that make it. ``numbers``: by domain, of some controls."""
        result: dict[str, Record] = {}
        for weighting in self.balance:
            if weighting == "gradnorm":
                result |= {
                    f"{weighting} {each}": {"balance.kind": weighting, "balance.complexity": each}
                    for each in self.complexity
                }
            elif weighting == "published":
                printed = {f"balance.{key}": getattr(PUBLISHED, key) for key in PRINTED}
                result[weighting] = {"balance.kind": "gradnorm", **printed}
            elif weighting in numbers:
                result[weighting] = _by_domain(weighting, numbers[weighting])
            else:
                result[weighting] = {"balance.kind": weighting}
        return result

    @property
    def evaluated_on(self) -> str:
        """The way that the verdict is about: the first that is no control, however it fared."""
        weightings = list(self.weightings({}))
        return next((weighting for weighting in weightings if weighting not in CONTROLS), weightings[-1])

    def tables(self, numbers: Mapping[str, Mapping[str, DomainNumbers]]) -> Record:
        """The tables of the benchmark. ``numbers``: sharing -> those of "fixed", "grid" and "rates"."""
        return {
            "seeds": list(range(1, self.seeds + 1)),
            "metrics": [METRIC, "hr@10"],
            "data": [self.data],
            "methods": [
                {"label": label(sharing, weighting), **self.entry(sharing, chosen)}
                for sharing in self.sharing
                for weighting, chosen in self.weightings(numbers[sharing]).items()
            ],
        }

    def entry(self, sharing: str, chosen: Values) -> Record:
        """A method of the benchmark, as its file names it."""
        return {"name": self.model, "settings": {**self.settings, "sharing": sharing, **chosen}}


@dataclass(frozen=True)
class BalanceTrial:
    """Weights or learning rates tried: fitted on the training part, evaluated on the validation rows.

    ``setting``: the one of ``balance`` that has the tried numbers by domain.
    """

    file: Path
    source: BenchmarkData
    entry: Values
    setting: str
    threads: int

    def __str__(self) -> str:
        return f"{self.setting} {self.file.stem}"

    def run(self) -> None:
        """Fit, evaluate, and write the numbers by domain, metric and seconds."""
        from landbridge.evaluation.evaluate import Validator

        split, work_dir = jobs.prepared_split(self.source), self.file.with_suffix("")
        make_folder(work_dir)
        started = time.perf_counter()
        method = registry.method(self.entry["name"]).from_settings(self.entry["settings"])
        fitted = method.fit(split.valid.history, FitOptions(1, self.threads, work_dir=work_dir))
        value = Validator(split.valid, METRIC, self.threads)(fitted)
        report = {self.setting: self.entry["settings"][f"balance.{self.setting}"], METRIC: value}
        cost = {"seconds": time.perf_counter() - started, "fingerprint": jobs.fingerprint(split)}
        # the file is written last: a trial counts as done when it exists
        shutil.rmtree(work_dir)
        write_json(self.file, report | cost)


def ablate(
    plan: Ablation, out: str | Path, jobs: int = 1, progress: Progress | None = None
) -> AblationResult:
    """Run what is not done yet in the folder ``out``, and write the verdict there.

    StoreError where the folder holds another ablation; else as
    :func:`~landbridge.studies.benchmark.runner.benchmark`.
    """
    out, executor = Path(out), executor_of(jobs)
    with exclusive_folder(out):
        plans.begin(plan, out)
        spec = benchmark_spec(plan.tables(_numbers(plan, out, executor, progress or Silent())))
        benchmark(spec, out / BENCH, executor, progress)
        report = verdict(spec, out / BENCH, plan.evaluated_on, _searched(plan, out), plan.grid)
        shown = [tables(spec, out / BENCH, sharing) for sharing in plan.sharing]
        return plans.end(out, {title: table for each in shown for title, table in each.items()}, report)


def _by_domain(control: str, numbers: DomainNumbers) -> Record:
    """The settings of a control with its numbers by domain."""
    kind, setting = BY_DOMAIN[control]
    return {"balance.kind": kind, f"balance.{setting}": dict(numbers)}


def _numbers(
    plan: Ablation, out: Path, executor: Executor, progress: Progress
) -> dict[str, dict[str, DomainNumbers]]:
    """Sharing -> control -> its numbers by domain: "fixed", Eq. (1), and the best of each search."""
    result: dict[str, dict[str, DomainNumbers]] = {sharing: {} for sharing in plan.sharing}
    if EVENTS in plan.balance:
        train = jobs.prepared_split(plan.source).valid.history
        scale = len(train.domain_names) / max(train.n_events, 1)
        # scaled to sum to the number of domains, like GradNorm's weights: the step length stays comparable
        counted = {name: scale * len(events) for name, events in train.domains.items()}  # Eq. (1)
        result = {sharing: {EVENTS: counted} for sharing in plan.sharing}
    for control in _searches(plan):
        _try(plan, control, out, executor, progress)
        for sharing in plan.sharing:
            result[sharing][control] = _best(plan, control, out, sharing)
    return result


def _searches(plan: Ablation) -> list[str]:
    return [control for control in SEARCHED if control in plan.balance]


def _drawn(control: str, names: Sequence[str], number: int) -> list[DomainNumbers]:
    """What a search tries."""
    if control == RATES:
        return list(random_rates(names, number))
    return [fixed.by_domain for fixed in random_weightings(names, number)]


def _try(plan: Ablation, control: str, out: Path, executor: Executor, progress: Progress) -> None:
    """Run the trials of a control that are not done."""
    names = jobs.prepared_split(plan.source).valid.history.domain_names
    trials = [
        BalanceTrial(
            file,
            plan.source,
            plan.entry(sharing, _by_domain(control, numbers)),
            BY_DOMAIN[control][1],
            executor.threads_each,
        )
        for sharing in plan.sharing
        for file, numbers in zip(
            _trial_files(plan, control, out, sharing), _drawn(control, names, plan.grid), strict=True
        )
    ]
    left = [trial for trial in trials if not trial.file.is_file()]
    with (
        closing(executor.map(_run, left)) as finished,
        progress.task(SEARCHED[control], len(left)) as bar,
    ):
        for number, _ in enumerate(finished, 1):
            bar.step(number, {})


def _run(trial: BalanceTrial) -> None:
    trial.run()


def _best(plan: Ablation, control: str, out: Path, sharing: str) -> DomainNumbers:
    """The numbers that were best on the validation rows, the first among equals."""
    now = jobs.fingerprint(jobs.prepared_split(plan.source))
    trials = [read_json(file) for file in _trial_files(plan, control, out, sharing)]
    if any(trial["fingerprint"] != now for trial in trials):
        raise DataError(f"The data have changed since the ablation in {out} began: use a new folder.")
    # max returns the first of equal trials, so the choice does not depend on their order of finishing
    best: DomainNumbers = max(trials, key=lambda trial: float(trial[METRIC]))[BY_DOMAIN[control][1]]
    return best


def _searched(plan: Ablation, out: Path) -> dict[str, dict[str, float]]:
    """Searched control -> sharing -> seconds of its trials: their number times the median."""
    return {
        control: {
            sharing: plan.grid
            * median(float(read_json(file)["seconds"]) for file in _trial_files(plan, control, out, sharing))
            for sharing in plan.sharing
        }
        for control in _searches(plan)
    }


def _trial_files(plan: Ablation, control: str, out: Path, sharing: str) -> list[Path]:
    return [out / control / f"{sharing}-{number}.json" for number in range(plan.grid)]
