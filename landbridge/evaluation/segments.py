"""Segments: groups of held-out pairs by user or item, and every user's metric in each group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.deprecation import renamed
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Float64, Int64
from landbridge.data.activity import ACTIVITY
from landbridge.evaluation.metrics import Metric

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

TAIL = 5  # an item of the tail has at most so many events
TENTHS = {"40-50 %": 4, "50-60 %": 5, "60-100 %": 6}  # tenths of a user's events: their primary domain
LATER = "later_in_other_domains"
LABELS = {
    "domain": ("all",),
    "activity": tuple(ACTIVITY),
    "other_domain_events": ("0", "1+"),
    "popularity": ("head", "torso", "tail"),
    "duplicate": ("no duplicate", "duplicate"),
    LATER: ("no later events known", "later events elsewhere are known"),
    "event_share": ("0-10 %", "10-40 %", *TENTHS),
}
USUAL = tuple(
    name for name in LABELS if name != "event_share"
)  # by default; shares say little with few domains
FORMER = {
    "elsewhere": "other_domain_events",
    "twin": "duplicate",
    "share": "event_share",
}  # deprecated in 0.2


def head_items(counts_I: Int64) -> npt.NDArray[np.bool_]:
    """The most popular items that together hold half of all events, equally popular ones alike, (I,)."""
    order = np.argsort(-counts_I, kind="stable")
    before = np.cumsum(counts_I[order]) - counts_I[order]
    # by count and not by position: equally popular items are all in the head, or none is
    fewest = counts_I[order][before < counts_I.sum() / 2].min(initial=np.iinfo(np.int64).max)
    return np.asarray((counts_I >= fewest) & (counts_I > 0))


def adds_to_domains(rows: pl.DataFrame, by: str) -> bool:
    """Whether these segments say more than the domains: those by what is known of the future do so only
    for a split that keeps it."""
    return by != LATER or bool(rows[LATER].any())


def segment_name(by: str) -> str:
    """A segment's name today; SettingsError for an unknown one."""
    if by in FORMER:
        warnings.warn(renamed(f"Segment {by!r}", repr(FORMER[by])), DeprecationWarning, stacklevel=3)
        by = FORMER[by]
    if by not in LABELS:
        raise SettingsError(unknown("segment", by, LABELS))
    return by


def with_segment(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    """The rows with a column ``segment``; it and ``domain`` become enumerations in their natural order."""
    import polars as pl

    by = segment_name(by)
    # as text first: rows that were divided before have an enumeration already
    domains = pl.Enum(rows["domain"].cast(pl.String).unique(maintain_order=True))
    return rows.with_columns(pl.col("domain").cast(domains), segment=_label(by).cast(pl.Enum(LABELS[by])))


def _label(by: str) -> pl.Expr:
    import polars as pl

    if by == "activity":
        events, label = pl.col("activity"), pl.lit("0")
        for name, fewest in ACTIVITY.items():
            label = pl.when(events >= fewest).then(pl.lit(name)).otherwise(label)
        return label
    if by == "other_domain_events":
        return pl.when(pl.col("other_domain_events") > 0).then(pl.lit("1+")).otherwise(pl.lit("0"))
    if by == "popularity":
        tail = pl.when(pl.col("popularity") <= TAIL).then(pl.lit("tail")).otherwise(pl.lit("torso"))
        return pl.when(pl.col("head")).then(pl.lit("head")).otherwise(tail)
    if by == "duplicate":
        return pl.when(pl.col("is_duplicate")).then(pl.lit("duplicate")).otherwise(pl.lit("no duplicate"))
    if by == LATER:
        no, yes = LABELS[LATER]
        return pl.when(pl.col(LATER)).then(pl.lit(yes)).otherwise(pl.lit(no))
    if by == "event_share":
        return _event_share()
    return pl.lit("all")


def _event_share() -> pl.Expr:
    """Of a user's events those in this domain, in whole numbers, so that edges are exact."""
    import polars as pl

    tenfold, events = 10 * pl.col("activity"), pl.col("activity") + pl.col("other_domain_events")
    label = pl.when(tenfold > events).then(pl.lit("10-40 %")).otherwise(pl.lit("0-10 %"))
    for name, tenths in TENTHS.items():
        reached = (tenfold >= tenths * events) & (events > 0)
        label = pl.when(reached).then(pl.lit(name)).otherwise(label)
    return label


def user_table(rows: pl.DataFrame, metric: Metric, by: str, *, sampled: bool) -> pl.DataFrame:
    """Columns domain, segment, user, seed, total, count, rows, sorted; a mean is Σ total / Σ count.

    Whole catalogue: a user's targets of a segment are one list, count is 1. Sampled: each pair is a
    list of its own, count is the number of pairs. Rows without seeds are of seed 0.
    """
    import polars as pl

    if "seed" not in rows.columns:
        rows = rows.with_columns(seed=pl.lit(0, pl.Int64))
    keys = ["domain", "segment", "user", "seed"]
    unit = [*keys, "item"] if sampled else keys
    rows = with_segment(rows, by).sort([*keys, "item"])
    # rows are sorted by the unit, so a run is one unit
    unit_T = rows.select(pl.struct(unit).rle_id()).to_series().to_numpy()
    columns = (rows[name].to_numpy() for name in ("above", "ties", "candidates"))
    values = metric.per_unit(unit_T, *columns)
    units = rows.group_by(unit, maintain_order=True).len("rows").with_columns(value=pl.Series(values))
    return units.group_by(keys, maintain_order=True).agg(
        total=pl.col("value").sum(), count=pl.len(), rows=pl.col("rows").sum()
    )


def summed(table: pl.DataFrame, columns: Sequence[str]) -> Float64:
    """Columns of rows of :func:`user_table` by domain, seed and user, (C, D, S, U), else 0."""
    keys = (table[name].to_physical() for name in ("domain", "seed", "user"))
    place = tuple(key.rank("dense").to_numpy().astype(np.int64) - 1 for key in keys)
    sums_CDSU = np.zeros([len(columns), *(int(place_N.max()) + 1 for place_N in place)])
    for sums_DSU, name in zip(sums_CDSU, columns, strict=True):
        sums_DSU[place] = table[name].to_numpy()
    return sums_CDSU
