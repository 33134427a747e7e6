"""Results of a weight ablation: gains in the sparsest domains and in the others, a heat map, a verdict.

Rows are regrouped into the sparsest quartile of the domains, the other domains, and all of them, and every
comparison is over the users of such a part (:func:`~landbridge.evaluation.significance.compare`). Holm's
correction covers all gains of the table; for the verdict it covers the few comparisons that are fixed before
the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import MissingExtraError
from landbridge.core.files import atomic_write, read_json
from landbridge.core.types import Record, Values
from landbridge.data.splitting.holdout import ACROSS
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import compare, holm
from landbridge.reports import pictures, plots
from landbridge.reports.looks import LIGHT
from landbridge.reports.values import joined, metric_on, percent
from landbridge.studies.ablation import failure_signatures
from landbridge.studies.benchmark.jobs import EvaluationJob
from landbridge.studies.benchmark.result_tables import SIGNIFICANT, main_tables
from landbridge.studies.benchmark.spec import Benchmark

if TYPE_CHECKING:
    import polars as pl

GENERIC, FIXED, BASE = "generic", "fixed", "base"
SPARSE, REST, ALL = "sparsest quartile", "other domains", "overall"
PLACES = {SPARSE: "in the sparsest quartile", REST: "in the other domains", ALL: "overall"}
BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
DROP = -1.0  # per cent
COMPARISONS = (
    (BASE, GENERIC, (SPARSE, REST)),
    ("metric hybrid", "metric frequency", (SPARSE, ALL)),
    ("metric hybrid", "metric entropy", (SPARSE, ALL)),
    ("spread hybrid", "spread frequency", (SPARSE, ALL)),
    ("spread hybrid", "spread entropy", (SPARSE, ALL)),
    ("period 2", "period 1", (SPARSE, ALL)),
    ("momentum 0.9", "momentum 0", (SPARSE, ALL)),
)
PICTURE = "gains"

Rows = list[Record]


@dataclass(frozen=True, eq=False)
class WeightBenchmark:
    """A finished benchmark of weights in the folder ``bench``.

    ``runs``: label of every cell -> label of the run that stands for it. ``by_events``: the domains, the
    sparsest first; ``sparsest``: the quartile of them that is a part of its own.
    """

    spec: Benchmark
    bench: Path
    runs: Mapping[str, str]
    by_events: tuple[str, ...]
    sparsest: tuple[str, ...]

    def table(self, metric: str) -> tuple[str, pl.DataFrame]:
        """Title and cell x part: the mean, and the gain against "generic" in per cent, with a star where it
        is significant. A cell that another one stands for has its values and names it."""
        import polars as pl

        labels = [entry.label for entry in self.spec.methods if entry.label != GENERIC]
        rows = [{"label": run} | row for run in labels for row in self._parts(run, GENERIC, metric)]
        same = {"data": self.spec.data[0].name, "protocol": ACROSS, "metric": metric, "by": "domain"}
        gains = pl.DataFrame(_corrected(rows), infer_schema_length=None).with_columns(
            **{key: pl.lit(text) for key, text in same.items()}
        )
        control = gains.filter(label=labels[0]).with_columns(label=pl.lit(GENERIC), mean="b")
        spec = self.spec.model_copy(update={"metrics": (metric,)})
        means = pl.concat([control, gains.with_columns(mean="a")])
        ((title, shown),) = main_tables(spec, means, gains).items()
        lines = {line["label"]: line for line in shown.rows(named=True)}
        names = {label: label if label == run else f"{label} = {run}" for label, run in self.runs.items()}
        return title, pl.DataFrame([lines[run] | {"label": names[label]} for label, run in self.runs.items()])

    def verdict(self) -> str:
        """What the sparsest quartile is, and a sentence per metric."""
        quartile = f"The sparsest quartile of the domains: {joined(list(self.sparsest), 8)}."
        return "\n".join([quartile, *(self._sentence(metric) for metric in self.spec.metrics)])

    def failures(self) -> list[str]:
        """The failure signatures of the base by the first metric, a sentence each
        (:mod:`landbridge.studies.ablation.failure_signatures`); none where nothing fails."""
        if self.runs[BASE] == self.runs[GENERIC]:
            return [failure_signatures.no_gain(f"the same weights as {GENERIC}", "+0.0 %")]
        metric = self.spec.metrics[0]
        parts = [row for row in self._parts(BASE, GENERIC, metric) if row["domain"] in (SPARSE, REST)]
        sparse = [row for row in _corrected(parts) if row["domain"] == SPARSE]
        found = [failure_signatures.no_gain(_word(row), _gain(row)) for row in sparse if _word(row) != BETTER]
        if lowered := {row["domain"]: _gain(row) for row in self._others(metric) if _is_drop(row)}:
            found.append(failure_signatures.harm(lowered))
        logs = (read_json(cell.folder / "log.json") for cell in self.cells(BASE).values())
        collapse = failure_signatures.collapse(self._p90_coverage(BASE), self._p90_coverage(GENERIC))
        signs = failure_signatures.oscillation(logs), collapse
        return [*found, *(sign for sign in signs if sign is not None)]

    def _p90_coverage(self, label: str) -> float:
        """The part of the catalogue that fills 90 % of all places, mean over the seeds."""
        records = [read_json(cell.folder / "cell.json") for cell in self.cells(label).values()]
        return fmean(row["p90_coverage"] for record in records for row in record["variety"])

    def _sentence(self, metric: str) -> str:
        pairs = [(a, b, parts) for a, b, parts in COMPARISONS if {a, b} <= set(self.runs)]
        rows = [
            {"of": (a, b), **row}
            for a, b, parts in pairs
            if self.runs[a] != self.runs[b]
            for row in self._parts(a, b, metric)
            if row["domain"] in parts
        ]
        rows_by_pair: dict[tuple[str, str], Rows] = {(a, b): [] for a, b, _ in pairs}
        for row in _corrected(rows):
            rows_by_pair[row["of"]].append(row)
        clauses = [clause(*of, own) for of, own in rows_by_pair.items()]
        if rows_by_pair[BASE, GENERIC]:
            clauses[0] += f", {self._drops(metric)}"
        return f"{metric_on(metric, ACROSS)}, Holm's correction: {'; '.join(clauses)}."

    def _drops(self, metric: str) -> str:
        """How many of the other domains the base lowers for sure; each is tested on its own."""
        others = self._others(metric)
        lowered = [row for row in others if _is_drop(row)]
        return f"a significant drop of more than {-DROP:g} % in {len(lowered)} of these {len(others)}"

    def _others(self, metric: str) -> Rows:
        """The base against "generic" in every domain that is not of the sparsest quartile."""
        result = compare(self.evaluation(BASE), self.evaluation(GENERIC), metric).rows
        return [row for row in result.rows(named=True) if row["domain"] not in self.sparsest]

    def _parts(self, a: str, b: str, metric: str) -> Rows:
        """The comparison of two cells in every part that has targets."""
        first, second = (group_by_sparsity(self.evaluation(label), self.sparsest) for label in (a, b))
        result = {row["domain"]: row for row in compare(first, second, metric).rows.rows(named=True)}
        return [result[part] for part in PLACES if part in result]

    def evaluation(self, label: str) -> Evaluation:
        """The list over all domains, of all seeds."""
        file = f"evaluation-{ACROSS}.parquet"
        result = {seed: Evaluation.read(cell.folder / file) for seed, cell in self.cells(label).items()}
        return over_seeds(result)

    def cells(self, label: str) -> dict[int, EvaluationJob]:
        """Seed -> cell of the run that stands for it."""
        (entry,) = (entry for entry in self.spec.methods if entry.label == self.runs[label])
        return {seed: EvaluationJob(self.bench, self.spec.data[0], entry, seed) for seed in self.spec.seeds}


def group_by_sparsity(evaluation: Evaluation, sparsest: tuple[str, ...]) -> Evaluation:
    """The same rows with the parts as domains: every row once in its own part, and once in "overall"."""
    import polars as pl

    rows = evaluation.rows.select("domain", "user", "item", "above", "ties", "candidates", "seed")
    part = pl.when(pl.col("domain").is_in(sparsest)).then(pl.lit(SPARSE)).otherwise(pl.lit(REST))
    unique = pl.concat_str("domain", "item", separator=" ")  # items of two domains may have one number
    result = pl.concat([rows.with_columns(item=unique, domain=each) for each in (part, pl.lit(ALL))])
    return Evaluation(result, evaluation.name, evaluation.protocol)


def clause(a: str, b: str, rows: Rows) -> str:
    """``period 2 against period 1: undecided in the sparsest quartile (+0.2 %), better overall (+0.4 %)``; no
    rows where both are one run."""
    if not rows:
        return f"{a} and {b} have the same weights"
    rows_by_pair = [f"{_word(row)} {PLACES[row['domain']]} ({_gain(row)})" for row in rows]
    return f"{a} against {b}: {', '.join(rows_by_pair)}"


def draw(weighed: WeightBenchmark, comparisons: pl.DataFrame, out: Path) -> None:
    """Write the heat map. ``comparisons``: the benchmark's."""
    write_picture(heat_map(weighed, comparisons), out)


def write_picture(picture: pictures.Picture, out: Path) -> None:
    """Write a picture as SVG where the pictures' libraries are installed."""
    with suppress(MissingExtraError):
        drawn = pictures.svg(picture, LIGHT)
        with atomic_write(out / f"{picture.name}.svg") as file:
            file.write_text(drawn)


def heat_map(weighed: WeightBenchmark, comparisons: pl.DataFrame) -> pictures.Picture:
    """Run x domain, the sparsest first: the gain in per cent of "generic", pale where it is not sure."""
    metric = weighed.spec.metrics[0]
    chosen = comparisons.filter(by="domain", metric=metric, protocol=ACROSS)
    rows = [row for row in chosen.rows(named=True) if row["gain_percent"] is not None]
    present = {row["domain"] for row in rows}
    xs = [name for name in weighed.by_events if name in present]
    ys = list(dict.fromkeys(row["label"] for row in rows))
    sizes = [abs(row["gain_percent"]) for row in rows]
    # colours end near the median, so that one huge gain does not make all others pale
    cap = next((cap for cap in pictures.CAPS if cap >= np.median(sizes or [0.0])), pictures.CAPS[-1])
    tiles = [
        plots.Tile(
            row["domain"],
            row["label"],
            row["gain_percent"],
            f"{row['gain_percent']:+.0f}".replace("-", "−"),
            _word(row) == UNDECIDED,
        )
        for row in rows
    ]
    title = f"Gain against {GENERIC} in per cent: {metric_on(metric, ACROSS)}"
    rows_by_pair = f"{title}, per cell (rows) and domain (columns, the sparsest first)."
    chart = partial(plots.heat_map, tiles, xs, ys, ("domain, the sparsest first", ""), (-cap, cap))
    return pictures.Picture(PICTURE, title, rows_by_pair, chart)


def _corrected(rows: Rows) -> Rows:
    """With ``p_holm`` over all of them."""
    p_holm = holm(np.array([row["p"] for row in rows], np.float64))
    return [row | {"p_holm": float(p)} for row, p in zip(rows, p_holm, strict=True)]


def _word(row: Values) -> str:
    if row["p_holm"] >= SIGNIFICANT or row["low"] <= 0 <= row["high"]:
        return UNDECIDED
    return BETTER if row["low"] > 0 else WORSE


def _is_drop(row: Values) -> bool:
    return _word(row) == WORSE and bool(row["gain_percent"] < DROP)


def _gain(row: Values) -> str:
    return percent(row["gain_percent"]) or f"{row['difference']:+.4f}"
