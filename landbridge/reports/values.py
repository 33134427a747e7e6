"""The tidy table of results that a report is made from, and the formats of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landbridge.data.splitting.holdout import protocol_name
from landbridge.reports.runs import DIFFERENCE, Runs

if TYPE_CHECKING:
    import polars as pl

ALPHA = 0.05
BETTER, WORSE, UNSURE = "better", "worse", ""
KEYS = ("data", "label", "by", "domain", "segment", "metric", "protocol")


def tidy_table(runs: Runs) -> pl.DataFrame:
    """Results beside their comparison with the reference, one row per value, in the spec's order.

    ``low`` and ``high`` bound the mean, ``difference_low`` and ``difference_high`` the difference.
    ``verdict``: better or worse where p_holm < 0.05 and the interval leaves zero out, else empty.
    """
    import polars as pl

    against = runs.comparisons.select(*KEYS, "reference", *DIFFERENCE)
    against = against.rename({"low": "difference_low", "high": "difference_high"})
    # both are required: the test is over users and the interval is a bootstrap, and they can disagree at
    # the edge
    sure = pl.col("p_holm") < ALPHA
    verdict = (
        pl.when(sure & (pl.col("difference_low") > 0))
        .then(pl.lit(BETTER))
        .when(sure & (pl.col("difference_high") < 0))
        .then(pl.lit(WORSE))
        .otherwise(pl.lit(UNSURE))
    )
    return runs.results.join(against, on=KEYS, how="left", maintain_order="left").with_columns(
        verdict=verdict
    )


def overall(values: pl.DataFrame) -> pl.DataFrame:
    """Per data set, metric, protocol and method the mean over the domains, and how many were won and lost."""
    import polars as pl

    keys = ["data", "metric", "protocol", "sampled", "label"]
    return (
        values.filter(by="domain")
        .group_by(keys, maintain_order=True)
        .agg(
            pl.col("mean").mean(),
            domains=pl.len(),
            better=(pl.col("verdict") == BETTER).sum(),
            worse=(pl.col("verdict") == WORSE).sum(),
        )
    )


def metric_on(metric: str, protocol: str) -> str:
    """``NDCG@10, full ranking`` or ``NDCG@10, sampled 1+999``: a sampled metric always says so."""
    return f"{metric.upper()}, {protocol_name(protocol)}"


def metric_value(value: float | None) -> str:
    """A metric's value, four places."""
    return "" if value is None else f"{value:.4f}"


def interval(low: float | None, high: float | None, sign: str = "") -> str:
    """``[0.0123, 0.0234]``; with ``sign="+"`` both ends are signed."""
    return "" if low is None or high is None else f"[{low:{sign}.4f}, {high:{sign}.4f}]"


def percent(value: float | None, places: int = 1) -> str:
    """``+4.5 %``."""
    return "" if value is None else f"{value:+.{places}f} %"


def p_value(value: float | None) -> str:
    """Two significant digits; what is smaller than 0.0001 only says so."""
    return "" if value is None else "<0.0001" if value < 1e-4 else f"{value:.2g}"


def effect(value: float | None) -> str:
    """An effect size or the like, signed, two places."""
    return "" if value is None else f"{value:+.2f}"


def plain(value: object) -> str:
    """Any number in plain notation: thousands with commas, four significant digits."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def joined(names: list[str], most: int = 4) -> str:
    """``a, b and c``; of more than ``most`` only the first ones and how many more there are."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
