"""Ablation of multiple objectives: DWL at every point of a grid of their λ, as one benchmark.

A point is the λ of the objectives of :mod:`landbridge.training.weighting.multi_objective`, which sum to 1.
The control "generic" has no weights. Targets are ranked in one list over all domains, because weights decide
which domains get the places of such a list. Results: :mod:`landbridge.studies.ablation.pareto`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.executors import executor_of
from landbridge.core.progress import Progress
from landbridge.core.types import Record, Values
from landbridge.models.sequential.dwl import DWL
from landbridge.studies.ablation import plan as plans
from landbridge.studies.ablation.pareto import METRIC, ObjectiveSweep, Point, draw, write
from landbridge.studies.ablation.plan import BENCH, AblationResult
from landbridge.studies.ablation.weight_tables import GENERIC, WeightBenchmark
from landbridge.studies.ablation.weight_trajectories import WeightInputs
from landbridge.studies.benchmark import jobs
from landbridge.studies.benchmark.runner import benchmark, exclusive_folder
from landbridge.studies.benchmark.spec import BenchmarkData, benchmark_spec
from landbridge.training.weighting.multi_objective import OBJECTIVES, simplex_grid


@dataclass(frozen=True)
class ObjectiveAblation:
    """What is compared on which data. ``data``: a table of [[data]] as in a benchmark's file, by default
    with the split "latest", and always with one list over all domains.

    ``settings``: of DWL, the same in all cells. ``of``: any of the objectives; ``steps``: their λ are
    multiples of 1 / ``steps``. ``seeds``: 1 to so many.
    """

    data: Values
    settings: Values = field(default_factory=dict)
    of: tuple[str, ...] = OBJECTIVES
    steps: int = 4
    seeds: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", plans.subset("of", self.of, OBJECTIVES))
        if min(self.steps, self.seeds) < 1:
            raise SettingsError("steps and seeds must be 1 or more.")
        for key in ("domain_weighting", "weights", "objectives"):
            if key in DWL.migrated(self.settings):
                raise SettingsError(f"{key} is what the points change: leave it out of the settings.")
        for cell in self.cells().values():
            DWL.from_settings(cell)
        object.__setattr__(self, "data", plans.across(self.data, DWL.name))

    @property
    def source(self) -> BenchmarkData:
        """The data as the benchmark has them."""
        return plans.source_of(self.data, DWL.name)

    def points(self) -> dict[str, Point]:
        """Label -> objective -> λ, "generic" first, which has none."""
        grid_PM = simplex_grid(len(self.of), self.steps).tolist()
        points = [dict(zip(self.of, row, strict=True)) for row in grid_PM]
        return {GENERIC: {}} | {_label(point): point for point in reversed(points)}

    def cells(self) -> dict[str, Record]:
        """Label -> settings of DWL."""
        several = {
            label: {"domain_weighting": "several", "objectives": point}
            for label, point in self.points().items()
            if point
        }
        return {
            label: {**self.settings, **own}
            for label, own in ({GENERIC: {"domain_weighting": "none"}} | several).items()
        }

    def tables(self) -> Record:
        """The tables of the benchmark."""
        methods = [{"label": label, "name": DWL.name, "settings": own} for label, own in self.cells().items()]
        return {
            "seeds": list(range(1, self.seeds + 1)),
            "metrics": [METRIC],
            "by": ["domain", "event_share"],
            "reference": GENERIC,
            "data": [self.data],
            "methods": methods,
        }


def ablate_objectives(
    plan: ObjectiveAblation, out: str | Path, jobs: int = 1, progress: Progress | None = None
) -> AblationResult:
    """Run what is not done yet in the folder ``out``, and write the points and the verdict there, and a
    picture where the extra ``report`` is installed.

    DataError where there is one domain only or a part of them has no targets; StoreError where the folder
    holds another ablation; else as :func:`~landbridge.studies.benchmark.runner.benchmark`.
    """
    out, executor = Path(out), executor_of(jobs)
    with exclusive_folder(out):
        swept = _planned(plan, out)
        benchmark(swept.weighed.spec, swept.weighed.bench, executor, progress)
        points = swept.metrics()
        write(points, out)
        draw(points, plan.of, out)
        return plans.end(out, dict([swept.table(points)]), swept.verdict(points))


def _planned(plan: ObjectiveAblation, out: Path) -> ObjectiveSweep:
    test = jobs.prepared_split(plan.source).test
    ground = WeightInputs.of(test.history)
    if len(ground.by_events) < 2:
        raise DataError("There is one domain with events: weights need two or more to differ.")
    evaluated = {name for name, targets in test.targets.items() if len(targets)}
    for part in (set(ground.sparsest), set(test.history.domain_names) - set(ground.sparsest)):
        if not part & evaluated:
            raise DataError(f"No user has a held-out event in {', '.join(sorted(part))}: try another split.")
    plans.begin(plan, out)
    points = plan.points()
    runs = {label: label for label in points}
    spec = benchmark_spec(plan.tables())
    return ObjectiveSweep(WeightBenchmark(spec, out / BENCH, runs, ground.by_events, ground.sparsest), points)


def _label(point: Point) -> str:
    """``0.5 sparsity + 0.5 exposure``; an objective alone is its name."""
    shares = [(share, name) for name, share in point.items() if share]
    return shares[0][1] if len(shares) == 1 else " + ".join(f"{share:.3g} {name}" for share, name in shares)
