"""Verdict of a balancing ablation: one sentence computed from the tables of its benchmark.

The benchmark's labels combine a sharing and a weighting of the domains, such as "tower, gradnorm rate".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from landbridge.reports.values import metric_on
from landbridge.studies.benchmark.result_tables import SIGNIFICANT, ResultTables, main_tables
from landbridge.studies.benchmark.spec import Benchmark

if TYPE_CHECKING:
    import polars as pl

EQUAL, EVENTS, GRID, RATES = "none", "fixed", "grid", "rates"
CONTROLS = (EQUAL, EVENTS, GRID, RATES)
SEARCHED = MappingProxyType({GRID: "random weightings", RATES: "random learning rates per domain"})
"""Controls that are the best of some trials -> what is tried."""

Seconds = Mapping[str, float]  # by sharing


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


class AgainstSearch(NamedTuple):
    """Against the best of a searched control. ``cost``: the seconds of a fit as a share of the search's."""

    outcome: Outcome
    cost: float


@dataclass(frozen=True)
class CellResult:
    """A way of weighing under one sharing. ``on``: metric and ranking. ``searched``: by control."""

    on: str
    equal: Outcome
    searched: Mapping[str, AgainstSearch] = field(default_factory=dict)


def label(sharing: str, weighting: str) -> str:
    """The name of a cell."""
    return f"{sharing}, {weighting}"


def tables(spec: Benchmark, bench: Path, sharing: str) -> dict[str, pl.DataFrame]:
    """Title -> way x domain of one sharing: means, and gains against equal weights."""
    part = _against(spec, sharing, EQUAL)
    made = ResultTables(part, bench)
    return main_tables(part, made.results(), made.comparisons())


def verdict(spec: Benchmark, bench: Path, weighting: str, search: Mapping[str, Seconds], grid: int) -> str:
    """The sentence on a way of weighing. ``search``: searched control -> sharing -> seconds spent on its
    ``grid`` trials; the sharings are those of the benchmark's labels."""
    if weighting == EQUAL:
        return "Only equal weights were requested: there is nothing to compare."
    sharings = dict.fromkeys(entry.label.split(", ")[0] for entry in spec.methods)
    results = {sharing: _evaluated(spec, bench, sharing, weighting, search) for sharing in sharings}
    return sentence(weighting, grid, results)


def sentence(weighting: str, grid: int, results: Mapping[str, CellResult]) -> str:
    """``grid``: trials of every searched control; ``results``: by sharing, one or more."""
    clauses = []
    for sharing, each in results.items():
        clause = f"sharing={sharing}: {each.equal}"
        for control, (outcome, share) in each.searched.items():
            cost = f"{100 * share:.2g} % of its seconds"
            clause += f", and against the best of {grid} {SEARCHED[control]}, at {cost}, {outcome}"
        clauses.append(clause)
    on = next(iter(results.values())).on
    return f"{weighting} against equal weights ({on}, Holm's correction), {'; '.join(clauses)}."


def _evaluated(
    spec: Benchmark, bench: Path, sharing: str, weighting: str, search: Mapping[str, Seconds]
) -> CellResult:
    rows = _rows(spec, bench, sharing, weighting, EQUAL)
    own = _seconds(spec, bench, label(sharing, weighting))
    searched: dict[str, AgainstSearch] = {}
    for control, spent in search.items():
        if control != weighting:
            outcome = Outcome.of(_rows(spec, bench, sharing, weighting, control))
            whole = spent[sharing] + _seconds(spec, bench, label(sharing, control))
            searched[control] = AgainstSearch(outcome, own / whole)
    return CellResult(metric_on(spec.metrics[0], rows["protocol"][0]), Outcome.of(rows), searched)


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
