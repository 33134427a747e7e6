"""Verdict of a balancing ablation: one sentence computed from the tables of its benchmark.

The benchmark's labels combine a sharing and a weighting of the domains, such as "tower, gradnorm rate".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from landbridge.reports.values import metric_on
from landbridge.studies.benchmark.result_tables import SIGNIFICANT, ResultTables, main_tables
from landbridge.studies.benchmark.spec import Benchmark

if TYPE_CHECKING:
    import polars as pl

EQUAL, EVENTS, GRID = "none", "fixed", "grid"
CONTROLS = (EQUAL, EVENTS, GRID)


@dataclass(frozen=True)
class Outcome:
    """Over so many ``domains``: in how many a way is significantly ``better`` and ``worse`` than another, and
    how much higher the mean over the domains is, in per cent."""

    domains: int
    better: int
    worse: int
    gain: float

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Outcome:
        """From the rows of comparisons.csv, one per domain."""
        # significance from the corrected p-value, its direction from the interval
        sure = rows.filter(rows["p_holm"] < SIGNIFICANT)
        before, after = float(rows["b"].sum()), float(rows["a"].sum())
        gain = 100 * (after - before) / before if before else 0.0
        return cls(len(rows), int((sure["low"] > 0).sum()), int((sure["high"] < 0).sum()), gain)

    def __str__(self) -> str:
        counts = f"better in {self.better} of {self.domains} domains, worse in {self.worse}"
        return f"{self.verdict} ({counts}, {self.gain:+.1f} % on average)"

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.better and self.worse:
            return "mixed"
        return "wins" if self.better else "loses" if self.worse else "undecided"


@dataclass(frozen=True)
class CellResult:
    """A way of weighing under one sharing. ``on``: metric and ranking. ``cost``: the seconds of its fit as
    a share of those of the whole grid."""

    on: str
    equal: Outcome
    grid: Outcome | None = None
    cost: float = 0.0


def label(sharing: str, weighting: str) -> str:
    """The name of a cell."""
    return f"{sharing}, {weighting}"


def tables(spec: Benchmark, bench: Path, sharing: str) -> dict[str, pl.DataFrame]:
    """Title -> way x domain of one sharing: means, and gains against equal weights."""
    part = _against(spec, sharing, EQUAL)
    made = ResultTables(part, bench)
    return main_tables(part, made.results(), made.comparisons())


def verdict(spec: Benchmark, bench: Path, weighting: str, search: Mapping[str, float], grid: int) -> str:
    """The sentence on a way of weighing. ``search``: sharing -> seconds spent on ``grid`` weightings, or
    nothing where there was no grid; the sharings are those of the benchmark's labels."""
    if weighting == EQUAL:
        return "Only equal weights were requested: there is nothing to compare."
    sharings = dict.fromkeys(entry.label.split(", ")[0] for entry in spec.methods)
    results = {
        sharing: _evaluated(spec, bench, sharing, weighting, search.get(sharing)) for sharing in sharings
    }
    return sentence(weighting, grid, results)


def sentence(weighting: str, grid: int, results: Mapping[str, CellResult]) -> str:
    """``grid``: weightings tried; ``results``: by sharing, one or more."""
    clauses = []
    for sharing, each in results.items():
        clause = f"sharing={sharing}: {each.equal}"
        if each.grid is not None:
            cost = f"{100 * each.cost:.2g} % of its seconds"
            clause += f", and against the best of {grid} random weightings, at {cost}, {each.grid}"
        clauses.append(clause)
    on = next(iter(results.values())).on
    return f"{weighting} against equal weights ({on}, Holm's correction), {'; '.join(clauses)}."


def _evaluated(
    spec: Benchmark, bench: Path, sharing: str, weighting: str, search: float | None
) -> CellResult:
    rows = _rows(spec, bench, sharing, weighting, EQUAL)
    on, equal = metric_on(spec.metrics[0], rows["protocol"][0]), Outcome.of(rows)
    if search is None or weighting == GRID:
        return CellResult(on, equal)
    seconds = {each: _seconds(spec, bench, label(sharing, each)) for each in (weighting, GRID)}
    against_grid = Outcome.of(_rows(spec, bench, sharing, weighting, GRID))
    return CellResult(on, equal, against_grid, seconds[weighting] / (search + seconds[GRID]))


def _seconds(spec: Benchmark, bench: Path, name: str) -> float:
    """Of a fit, median over the seeds."""
    costs = ResultTables(spec, bench).costs()
    return float(median(costs.filter(costs["label"] == name)["fit_seconds"].to_list()))


def _rows(spec: Benchmark, bench: Path, sharing: str, weighting: str, other: str) -> pl.DataFrame:
    """A way against another one under the first protocol, one row per domain, corrected for all ways."""
    rows = ResultTables(_against(spec, sharing, other), bench).comparisons()
    return rows.filter(label=label(sharing, weighting), protocol=rows["protocol"][0])


def _against(spec: Benchmark, sharing: str, weighting: str) -> Benchmark:
    """The part of the benchmark with one sharing, compared by domain with one weighting."""
    methods = tuple(entry for entry in spec.methods if entry.label.startswith(label(sharing, "")))
    part = {"methods": methods, "reference": label(sharing, weighting)}
    return spec.model_copy(update={**part, "metrics": spec.metrics[:1], "by": ("domain",)})
