"""Which kind of user or item a held-out pair is about, and the figures of each user in each segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Int64
from landbridge.data.activity import ACTIVITY
from landbridge.evaluation.metrics import Metric

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

TAIL = 5  # an item of the tail has at most so many events
TENTHS = {"40-50 %": 4, "50-60 %": 5, "60-100 %": 6}  # of a person's events, from which she is at home
LABELS = {
    "domain": ("all",),
    "activity": tuple(ACTIVITY),
    "elsewhere": ("0", "1+"),
    "popularity": ("head", "torso", "tail"),
    "twin": ("no twin", "twin"),
    "share": ("0-10 %", "10-40 %", *TENTHS),
}
USUAL = tuple(name for name in LABELS if name != "share")  # told unasked; shares say little of few domains


def head_items(counts_I: Int64) -> npt.NDArray[np.bool_]:
    """The most popular items that together hold half of all events, equally popular ones alike, (I,)."""
    order = np.argsort(-counts_I, kind="stable")
    before = np.cumsum(counts_I[order]) - counts_I[order]
    fewest = counts_I[order][before < counts_I.sum() / 2].min(initial=np.iinfo(np.int64).max)
    return np.asarray((counts_I >= fewest) & (counts_I > 0))


def with_segment(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    """The rows with a column ``segment``; it and ``domain`` become enumerations in their natural order."""
    import polars as pl

    if by not in LABELS:
        raise SettingsError(unknown("segment", by, LABELS))
    domains = pl.Enum(rows["domain"].unique(maintain_order=True))
    return rows.with_columns(pl.col("domain").cast(domains), segment=_label(by).cast(pl.Enum(LABELS[by])))


def _label(by: str) -> pl.Expr:
    import polars as pl

    if by == "activity":
        events, label = pl.col("activity"), pl.lit("0")
        for name, fewest in ACTIVITY.items():
            label = pl.when(events >= fewest).then(pl.lit(name)).otherwise(label)
        return label
    if by == "elsewhere":
        return pl.when(pl.col("elsewhere") > 0).then(pl.lit("1+")).otherwise(pl.lit("0"))
    if by == "popularity":
        tail = pl.when(pl.col("popularity") <= TAIL).then(pl.lit("tail")).otherwise(pl.lit("torso"))
        return pl.when(pl.col("head")).then(pl.lit("head")).otherwise(tail)
    if by == "twin":
        return pl.when(pl.col("twin")).then(pl.lit("twin")).otherwise(pl.lit("no twin"))
    if by == "share":
        return _share()
    return pl.lit("all")


def _share() -> pl.Expr:
    """Of a person's known events those in this domain, in whole numbers, so that edges are exact."""
    import polars as pl

    tenfold, events = 10 * pl.col("activity"), pl.col("activity") + pl.col("elsewhere")
    label = pl.when(tenfold > events).then(pl.lit("10-40 %")).otherwise(pl.lit("0-10 %"))
    for name, tenths in TENTHS.items():
        home = (tenfold >= tenths * events) & (events > 0)
        label = pl.when(home).then(pl.lit(name)).otherwise(label)
    return label


def user_table(rows: pl.DataFrame, metric: Metric, by: str, *, sampled: bool) -> pl.DataFrame:
    """Columns domain, segment, user, total, count, rows, sorted; a mean is Σ total / Σ count.

    Whole catalogue: a user's targets of a segment are one list, count is 1. Sampled: each pair is a
    list of its own, count is the number of pairs. Every seed of ``rows`` makes lists of its own.
    """
    import polars as pl

    keys = ["domain", "segment", "user"]
    lists = [*keys, "seed"] if "seed" in rows.columns else keys
    unit = [*lists, "item"] if sampled else lists
    rows = with_segment(rows, by).sort([*lists, "item"])
    unit_T = rows.select(pl.struct(unit).rle_id()).to_series().to_numpy()
    values = metric.per_unit(unit_T, rows["above"].to_numpy(), rows["ties"].to_numpy())
    units = rows.group_by(unit, maintain_order=True).len("rows").with_columns(value=pl.Series(values))
    return units.group_by(keys, maintain_order=True).agg(
        total=pl.col("value").sum(), count=pl.len(), rows=pl.col("rows").sum()
    )
