"""Ablation of sparsity weights: DWL with one part changed at a time, as one benchmark.

Every cell is compared with "generic", which has no weights. "fixed" gives weight 2 to the sparsest quartile
of the domains, "base" is DWL with the given settings, and every other cell is the base with another metric,
map, bounds, period, μ, signal, or α, β and γ; "spread" compares metrics whose weights are spread alike
(:mod:`landbridge.studies.ablation.equal_spread`). Cells with the same weights in every epoch are one run
(:mod:`landbridge.studies.ablation.weight_trajectories`). Targets are ranked in one list over all domains,
because weights decide which domains get the places of such a list. Results:
:mod:`landbridge.studies.ablation.weight_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.executors import executor_of
from landbridge.core.progress import Progress
from landbridge.core.types import Record, Values
from landbridge.models.sequential.dwl import DWL
from landbridge.studies.ablation import plan as plans
from landbridge.studies.ablation.equal_spread import kappas_of_equal_spread
from landbridge.studies.ablation.plan import BENCH, AblationResult
from landbridge.studies.ablation.weight_tables import BASE, FIXED, GENERIC, WeightBenchmark, draw
from landbridge.studies.ablation.weight_trajectories import WeightInputs, runs_with_equal_weights
from landbridge.studies.benchmark import jobs
from landbridge.studies.benchmark.runner import benchmark, exclusive_folder
from landbridge.studies.benchmark.spec import BenchmarkData, benchmark_spec
from landbridge.training.weighting.schedule import SIGNALS
from landbridge.training.weighting.sparsity import MAPS, METRICS

VARIED = ("metric", "spread", "map", "bounds", "period", "momentum", "signal", "grid")
BOUNDS = ((0.1, 3.0), (0.2, 5.0), (0.5, 10.0))
PERIODS = (1, 2, 4)
MOMENTA = (0.0, 0.5, 0.9, 0.99)
GRID = {
    "schedule.sparsity.alpha": (0.5, 1.0, 1.5),
    "schedule.sparsity.beta": (0.3, 0.6, 0.9),
    "schedule.sparsity.gamma": (0.1, 0.2, 0.3),
}
RATIOS = ("alpha", "beta", "gamma")
FIXED_WEIGHT = 2.0
NO_FAILURE = f"{BASE} against {GENERIC} shows none of the four failure signatures."
SELECTION_METRIC = ("ndcg@10", "recall@10")

Settings = Record


@dataclass(frozen=True)
class WeightAblation:
    """What is compared on which data. ``data``: a table of [[data]] as in a benchmark's file, by default
    with the split "latest", and always with one list over all domains.

    ``settings``: the base's. ``vary``: any of ``VARIED``; all but "signal" unless requested.
    ``window_days``: of the signal "window". ``seeds``: 1 to so many.
    """

    data: Values
    settings: Values = field(default_factory=dict)
    vary: tuple[str, ...] = tuple(name for name in VARIED if name != "signal")
    window_days: float = 30.0
    seeds: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "vary", plans.subset("vary", self.vary, VARIED))
        if self.seeds < 1:
            raise SettingsError("seeds must be 1 or more.")
        for key in ("domain_weighting", "weights"):
            if key in DWL.migrated(self.settings):
                raise SettingsError(f"{key} is what the controls change: leave it out of the settings.")
        # dotted names, so that a cell can take back what the base sets
        object.__setattr__(self, "settings", DWL.from_settings(self.settings).changed())
        for cell in self.cells(("any",)).values():
            DWL.from_settings(cell)
        object.__setattr__(self, "data", plans.across(self.data, DWL.name))

    @property
    def source(self) -> BenchmarkData:
        """The data as the benchmark has them."""
        return plans.source_of(self.data, DWL.name)

    def cells(
        self, sparsest: tuple[str, ...], kappas: Mapping[str, float] | None = None
    ) -> dict[str, Settings]:
        """Label -> settings of DWL, controls and base first. ``sparsest``: what "fixed" weighs more;
        ``kappas``: metric -> κ of equal spread, that of the base where the data are not known yet."""
        changes: dict[str, Settings] = {
            GENERIC: _signal("static") | {"domain_weighting": "none"},
            FIXED: _signal("static")
            | {"domain_weighting": "fixed", "weights": dict.fromkeys(sparsest, FIXED_WEIGHT)},
            BASE: {},
        }
        for factor in self.vary:
            levels = self._levels(factor, kappas)
            changes |= {f"{factor} {level}": change for level, change in levels.items()}
        return {label: self._changed(change) for label, change in changes.items()}

    def tables(self, chosen: Mapping[str, Settings]) -> Record:
        """The tables of the benchmark of these cells."""
        return {
            "seeds": list(range(1, self.seeds + 1)),
            "metrics": list(SELECTION_METRIC),
            "by": ["domain", "event_share"],
            "reference": GENERIC,
            "data": [self.data],
            "methods": [
                {"label": label, "name": DWL.name, "settings": settings} for label, settings in chosen.items()
            ],
        }

    def _changed(self, change: Settings) -> Settings:
        """The base's settings with others; what is None goes back to the default."""
        return {key: value for key, value in {**self.settings, **change}.items() if value is not None}

    def _levels(self, factor: str, kappas: Mapping[str, float] | None) -> dict[str, Settings]:
        """Level -> what it changes in the base."""
        if factor == "metric":
            return {name: _ratios(name) for name in METRICS}
        if factor == "spread":
            own = DWL.from_settings(self.settings).schedule.weight_map.kappa
            return {
                name: _ratios(name)
                | {"schedule.weight_map.kind": "exponential", "schedule.weight_map.kappa": kappa}
                for name, kappa in (dict.fromkeys(METRICS, own) if kappas is None else kappas).items()
            }
        if factor == "map":
            return {name: {"schedule.weight_map.kind": name} for name in MAPS}
        if factor == "bounds":
            return {
                f"{low:g} to {high:g}": {
                    "schedule.weight_map.min_weight": low,
                    "schedule.weight_map.max_weight": high,
                }
                for low, high in BOUNDS
            }
        if factor == "period":  # from the computed weights a static signal would not move them at all
            return {
                f"{period}": {"schedule.update_every": period, "schedule.initial_weights": "ones"}
                for period in PERIODS
            }
        if factor == "momentum":
            return {
                f"{momentum:g}": {"schedule.momentum": momentum, "schedule.initial_weights": "ones"}
                for momentum in MOMENTA
            }
        if factor == "signal":
            days = {"window": self.window_days}
            return {signal: _signal(signal, days.get(signal)) for signal in SIGNALS}
        points = product(*GRID.values())
        return {
            " ".join(f"{each:g}" for each in point): dict(zip(GRID, point, strict=True)) for point in points
        }


def ablate_weights(
    plan: WeightAblation, out: str | Path, jobs: int = 1, progress: Progress | None = None
) -> AblationResult:
    """Run what is not done yet in the folder ``out``, and write the verdict there, and a heat map of the
    gains where the extra ``report`` is installed.

    DataError where there is one domain only; StoreError where the folder holds another ablation; else as
    :func:`~landbridge.studies.benchmark.runner.benchmark`.
    """
    out, executor = Path(out), executor_of(jobs)
    with exclusive_folder(out):
        weighed = _planned(plan, out)
        outcome = benchmark(weighed.spec, weighed.bench, executor, progress)
        draw(weighed, outcome.comparisons, out)
        tables = dict(weighed.table(metric) for metric in SELECTION_METRIC)
        return plans.end(out, tables, "\n".join([weighed.verdict(), *(weighed.failures() or [NO_FAILURE])]))


def _planned(plan: WeightAblation, out: Path) -> WeightBenchmark:
    """Which cells are runs, by what is known at test time: what they are fitted on."""
    ground = WeightInputs.of(jobs.prepared_split(plan.source).test.history)
    if len(ground.by_events) < 2:
        raise DataError("There is one domain with events: weights need two or more to differ.")
    plans.begin(plan, out)
    schedule = DWL.from_settings(plan.settings).schedule
    settings = plan.cells(ground.sparsest, kappas_of_equal_spread(schedule, ground.counts))
    runs = runs_with_equal_weights(
        {label: DWL.from_settings(cell) for label, cell in settings.items()}, ground
    )
    spec = benchmark_spec(plan.tables({run: settings[run] for run in dict.fromkeys(runs.values())}))
    return WeightBenchmark(spec, out / BENCH, runs, ground.by_events, ground.sparsest)


def _ratios(metric: str) -> Settings:
    """The α, β and γ of a metric."""
    ratios = METRICS[metric].flat()
    return {f"schedule.sparsity.{key}": ratios[key] for key in RATIOS}


def _signal(name: str, days: float | None = None) -> Settings:
    return {"schedule.signal": name, "schedule.window_days": days}
