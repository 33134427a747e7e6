"""Results of a sweep over objectives: the metrics of every point and the Pareto front.

Every point is described by NDCG@10 in the sparsest quartile of the domains, in the other ones, overall, and
in the domain where it is lowest. The front is over the first two and the last of these
(:func:`landbridge.training.weighting.multi_objective.pareto`), "generic" among the points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from landbridge.core.files import atomic_write, read_json
from landbridge.core.types import Record
from landbridge.data.splitting.holdout import ACROSS
from landbridge.reports import pictures, plots
from landbridge.reports.values import joined, metric_on, metric_value, percent
from landbridge.studies.ablation.weight_tables import (
    ALL,
    GENERIC,
    REST,
    SPARSE,
    WeightBenchmark,
    group_by_sparsity,
    write_picture,
)
from landbridge.training.weighting.multi_objective import OBJECTIVES, pareto

if TYPE_CHECKING:
    import polars as pl

METRIC = "ndcg@10"
PLACES = {
    "sparsest": "in the sparsest quartile",
    "other": "in the other domains",
    "worst": "in the worst domain",
}
POINTS, PICTURE = "pareto.csv", "pareto"

Point = Mapping[str, float]
Row = Record


@dataclass(frozen=True, eq=False)
class ObjectiveSweep:
    """``weighed``: the finished benchmark of all points; ``points``: label -> objective -> λ."""

    weighed: WeightBenchmark
    points: Mapping[str, Point]

    def metrics(self) -> pl.DataFrame:
        """A row per point: label, λ by objective, the metrics, entropy and least share of the lists, and
        whether it is on the front. All are means over the seeds."""
        import polars as pl

        rows = pl.DataFrame([self._row(label) for label in self.points])
        return rows.with_columns(front=pl.Series(pareto(rows.select(*PLACES).to_numpy())))

    def table(self, points: pl.DataFrame) -> tuple[str, pl.DataFrame]:
        """Title and point x part: the mean and the gain against "generic", a star where it is significant."""
        import polars as pl

        title, shown = self.weighed.table(METRIC)
        lowest = [f"{metric_value(value)} {name}" for value, name in points["worst", "worst_domain"].rows()]
        marks = ["yes" if front else "" for front in points["front"]]
        return title, shown.with_columns(pl.Series("worst domain", lowest), pl.Series("front", marks))

    def verdict(self, points: pl.DataFrame) -> str:
        """Which points are on the front, what each of them gains and what it gives up against "generic"."""
        generic, *rows = points.rows(named=True)
        best = [row for row in rows if row["front"]]
        number = len(self.weighed.spec.seeds)
        too = f"{GENERIC} is on it, too" if generic["front"] else f"{GENERIC} is not"
        gains = f"Against {GENERIC}: {'; '.join(_clause(row, generic) for row in best)}."
        return (
            f"The sparsest quartile of the domains: {joined(list(self.weighed.sparsest), 8)}. "
            f"{metric_on(METRIC, ACROSS)}, mean of {number} seed{'s' if number > 1 else ''}: {len(best)} of "
            f"{len(rows)} points are on the front, where no other one is at least as good "
            f"{joined(list(PLACES.values()))} and better in one of them; {too}. "
            f"{gains if best else f'Every point is beaten by {GENERIC}.'}"
        )

    def _row(self, label: str) -> Row:
        evaluation = self.weighed.evaluation(label)
        parts, by_domain = (
            group_by_sparsity(evaluation, self.weighed.sparsest).means(METRIC),
            evaluation.means(METRIC),
        )
        worst = min(by_domain, key=by_domain.__getitem__)
        return {
            "label": label,
            **{name: float(self.points[label].get(name, 0.0)) for name in OBJECTIVES},
            "sparsest": parts[SPARSE],
            "other": parts[REST],
            "overall": parts[ALL],
            "worst": by_domain[worst],
            "worst_domain": worst,
            **self._variety(label),
        }

    def _variety(self, label: str) -> dict[str, float]:
        """How many interests a list serves, in nats, and what part of all places the domain shown least has
        (:mod:`landbridge.evaluation.diversity`)."""
        records = [read_json(cell.folder / "cell.json") for cell in self.weighed.cells(label).values()]
        rows = [row for record in records for row in record["variety"]]
        return {name: fmean(row[name] for row in rows) for name in ("entropy", "least_share")}


def write(points: pl.DataFrame, out: Path) -> None:
    """The points as a table."""
    with atomic_write(out / POINTS) as file:
        points.write_csv(file)


def draw(points: pl.DataFrame, of: Sequence[str], out: Path) -> None:
    """Write the picture where the pictures' libraries are installed."""
    write_picture(picture(points, of), out)


def picture(points: pl.DataFrame, of: Sequence[str]) -> pictures.Picture:
    """The other domains to the right, the sparsest quartile upwards; labels are the λ ``of`` these.

    The line joins what is on the front and not dominated in the two metrics of the plot alone.
    """
    # the front has more dimensions than the plot: a line through all its points would zigzag
    joins = pareto(points.select("other", "sparsest").to_numpy())
    rows = [
        {
            "x": row["other"],
            "y": row["sparsest"],
            "front": row["front"],
            "joined": bool(row["front"] and join),
            "control": row["label"] == GENERIC,
            "text": GENERIC if row["label"] == GENERIC else " / ".join(f"{row[name]:.3g}" for name in of),
        }
        for row, join in zip(points.rows(named=True), joins, strict=True)
    ]
    metric = metric_on(METRIC, ACROSS)
    best = [row["label"] for row in points.rows(named=True) if row["front"]]
    caption = (
        f"{metric} {PLACES['sparsest']} against that {PLACES['other']}. On the front: {', '.join(best)}."
    )
    titles = f"NDCG@10 {PLACES['other']}", f"NDCG@10 {PLACES['sparsest']}"
    note = f"λ of {' / '.join(name.replace('_', ' ') for name in of)}"
    return pictures.Picture(PICTURE, metric, caption, partial(plots.front, rows, titles, note))


def _clause(row: Row, generic: Row) -> str:
    """``sparsity: +8.4 % in the sparsest quartile, giving up 0.3 % in the other domains``."""
    change = {key: row[key] - generic[key] for key in PLACES}
    caption = {key: _signed(change[key], generic[key]) for key in PLACES}
    gains = [f"{caption[key]} {where}" for key, where in PLACES.items() if change[key] >= 0]
    losses = [f"{caption[key].lstrip('-')} {where}" for key, where in PLACES.items() if change[key] < 0]
    parts = [joined(gains), f"giving up {joined(losses)}" if losses else "giving up nothing"]
    return f"{row['label']}: {', '.join(part for part in parts if part)}"


def _signed(difference: float, base: float) -> str:
    return percent(100 * difference / base) if base else f"{difference:+.4f}"
