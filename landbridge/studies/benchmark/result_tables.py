"""The tables of a benchmark, made from its finished cells alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.files import atomic_write, read_json
from landbridge.core.types import Record
from landbridge.data.splitting.holdout import protocol_name, uses_sampled_candidates
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.segments import adds_to_domains
from landbridge.evaluation.significance import compare, holm, power_note
from landbridge.studies.benchmark.jobs import EvaluationJob, LeakCheckJob
from landbridge.studies.benchmark.spec import Benchmark, BenchmarkData

if TYPE_CHECKING:
    import polars as pl

RESULTS = (
    "data", "label", "by", "domain", "segment", "metric", "protocol", "sampled",
    "mean", "low", "high", "users", "rows",
)  # fmt: skip
COMPARISONS = (
    "data", "label", "reference", "by", "domain", "segment", "metric", "protocol", "sampled", "users",
    "a", "b", "difference", "low", "high", "gain_percent", "effect_size", "p", "p_holm", "family",
    "power_note",
)  # fmt: skip
COSTS = ("data", "label", "seed", "fit_seconds", "evaluate_seconds", "peak_mib")
LEAKS = ("data", "label", "domain", "metric", "pairs", "mean", "chance", "z", "p", "verdict")
FAMILY = ("data", "metric", "protocol", "by")  # what Holm corrects for: all labels, domains and segments
SIGNIFICANT = 0.05

Seeds = dict[int, EvaluationJob]


@dataclass(frozen=True)
class ResultTables:
    """Writes the tables; what was made of the same cells before is not made again."""

    spec: Benchmark
    out: Path
    # tables are rewritten as cells finish; only groups with new seeds are computed again
    made: dict[tuple[object, ...], pl.DataFrame] = field(default_factory=dict)

    def write(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Write results.csv, comparisons.csv and costs.csv; give the first two."""
        results, comparisons = self.results(), self.comparisons()
        for name, frame in {"results": results, "comparisons": comparisons, "costs": self.costs()}.items():
            with atomic_write(self.out / f"{name}.csv") as file:
                frame.write_csv(file)
        return results, comparisons

    def results(self) -> pl.DataFrame:
        """Means over seeds with intervals over users, per data, label, segment, metric and protocol."""
        frames = []
        for source, label, seeds in self._groups():
            for protocol in _protocols(seeds):
                key = ("results", source.name, label, protocol, *seeds)
                frames.append(self._once(key, partial(self._results, seeds, protocol)))
        return _stacked(frames, RESULTS)

    def comparisons(self) -> pl.DataFrame:
        """Every label against the reference, over the seeds that both have finished."""
        groups = {(source.name, label): seeds for source, label, seeds in self._groups()}
        frames = []
        for (data, label), seeds in groups.items():
            reference = groups.get((data, self.spec.reference), {})
            # paired by seed: a seed that only one side has finished would bias the difference
            both = [seed for seed in seeds if seed in reference]
            if label == self.spec.reference or not both:
                continue
            for protocol in _protocols(seeds):
                a, b = ({seed: of[seed] for seed in both} for of in (seeds, reference))
                key = ("comparisons", data, label, protocol, *both)
                frames.append(self._once(key, partial(self._compared, a, b, protocol)))
        return _corrected(_stacked(frames, COMPARISONS))

    def costs(self) -> pl.DataFrame:
        """Seconds and memory of every finished cell."""
        import polars as pl

        records = [
            {"data": source.name, "label": label, "seed": seed, **read_json(cell.folder / "cost.json")}
            for source, label, seeds in self._groups()
            for seed, cell in seeds.items()
        ]
        return _stacked([pl.DataFrame(records)] if records else [], COSTS)

    def _groups(self) -> Iterator[tuple[BenchmarkData, str, Seeds]]:
        """The finished cells of every method on every data set, in the order of the spec."""
        for source in self.spec.data:
            for entry in self.spec.methods:
                cells = {seed: EvaluationJob(self.out, source, entry, seed) for seed in self.spec.seeds}
                if finished := {seed: cell for seed, cell in cells.items() if cell.done}:
                    yield source, entry.label, finished

    def _once(self, key: tuple[object, ...], make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _results(self, seeds: Seeds, protocol: str) -> pl.DataFrame:
        import polars as pl

        evaluation, names = _evaluation(seeds, protocol), _names(seeds, protocol)
        tables = [
            evaluation.summary(self.spec.metrics, by).with_columns(by=pl.lit(by))
            for by in self.spec.by
            if adds_to_domains(evaluation.rows, by)
        ]
        return pl.concat(tables).with_columns(**names).select(RESULTS)

    def _compared(self, a: Seeds, b: Seeds, protocol: str) -> pl.DataFrame:
        import polars as pl

        first, second, names = _evaluation(a, protocol), _evaluation(b, protocol), _names(a, protocol)
        tables = [
            compare(first, second, metric, by).rows.with_columns(
                by=pl.lit(by), metric=pl.lit(metric), **names
            )
            for by in self.spec.by
            if adds_to_domains(first.rows, by)
            for metric in self.spec.metrics
        ]
        table = pl.concat(tables)
        notes = [power_note(*row) for row in table.select("users", "detectable").rows()]
        family = pl.concat_str(FAMILY, separator=" / ")
        return table.with_columns(
            reference=pl.lit(self.spec.reference), family=family, power_note=pl.Series(notes, dtype=pl.String)
        ).select(COMPARISONS)


def write_leaks(spec: Benchmark, out: Path) -> list[Record]:
    """Write leak.csv from the leak checks that are done; give them."""
    import polars as pl

    checks, records = [], []
    for source in spec.data:
        for entry in spec.methods:
            check = LeakCheckJob(out, source, entry, spec.seeds[0])
            if check.done:
                checks.append(read_json(check.file))
                names = {"data": source.name, "label": entry.label, "verdict": checks[-1]["verdict"]}
                records += [names | row for row in checks[-1]["rows"]]
    with atomic_write(out / "leak.csv") as file:
        _stacked([pl.DataFrame(records)] if records else [], LEAKS).write_csv(file)
    return checks


def main_tables(spec: Benchmark, results: pl.DataFrame, comparisons: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Title -> label x domain: the mean of the first metric, and the gain against the reference in percent.

    A gain that is significant after correction bears a star.
    """
    import polars as pl

    metric = spec.metrics[0]
    shown = results.filter(pl.col("metric") == metric, pl.col("by") == "domain")
    gains = {
        (row["data"], row["protocol"], row["label"], row["domain"]): _gain(row)
        for row in comparisons.filter(pl.col("metric") == metric, pl.col("by") == "domain").rows(named=True)
    }
    tables = {}
    for (data, protocol), part in shown.group_by("data", "protocol", maintain_order=True):
        lines: dict[str, dict[str, str]] = {}
        for row in part.rows(named=True):
            line = lines.setdefault(row["label"], {"label": row["label"]})
            gain = gains.get((data, protocol, row["label"], row["domain"]), "")
            line[row["domain"]] = f"{row['mean']:.4f} {gain}".rstrip()
        title = f"{data}: {metric}, {protocol_name(str(protocol))}, against {spec.reference}"
        tables[title] = pl.DataFrame(list(lines.values()))
    return tables


def _gain(row: Record) -> str:
    star = "*" if row["p_holm"] < SIGNIFICANT else ""
    return star if row["gain_percent"] is None else f"{row['gain_percent']:+.1f} %{star}"


def _evaluation(seeds: Seeds, protocol: str) -> Evaluation:
    name = f"evaluation-{protocol}.parquet"
    return over_seeds({seed: Evaluation.read(cell.folder / name) for seed, cell in seeds.items()})


def _protocols(seeds: Seeds) -> list[str]:
    protocols: list[str] = read_json(next(iter(seeds.values())).folder / "cell.json")["protocols"]
    return protocols


def _names(seeds: Seeds, protocol: str) -> dict[str, pl.Expr]:
    import polars as pl

    cell = next(iter(seeds.values()))
    texts = {"data": cell.source.name, "label": cell.entry.label, "protocol": protocol}
    return {key: pl.lit(text) for key, text in texts.items()} | {
        "sampled": pl.lit(uses_sampled_candidates(protocol))
    }


def _corrected(table: pl.DataFrame) -> pl.DataFrame:
    """``p_holm`` over the family instead of over one label's rows."""
    import polars as pl

    if not len(table):
        return table
    families = table.partition_by(FAMILY, maintain_order=True)
    return pl.concat(
        part.with_columns(p_holm=pl.Series(holm(part["p"].to_numpy().astype(np.float64))))
        for part in families
    )


def _stacked(frames: list[pl.DataFrame], columns: tuple[str, ...]) -> pl.DataFrame:
    import polars as pl

    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return pl.concat([frame.select(columns) for frame in frames], how="vertical_relaxed")
