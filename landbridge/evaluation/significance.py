"""Two evaluations of the same held-out pairs, paired per user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.rng import generator
from landbridge.core.types import Float64, Record
from landbridge.data.splitting.holdout import FULL, protocol_name
from landbridge.evaluation.bootstrap import mean_interval
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.segments import user_table

if TYPE_CHECKING:
    import polars as pl

POWER = 1.96 + 0.84  # standard errors that are detected at 5 % two-sided in four cases of five
ALL_SIGNS = 13  # differences up to which all their signs are gone through
FEW = 200  # users below which a segment's results come with a note
_PAIR = ["domain", "user", "item"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """``a`` against ``b`` on one metric: one row per domain and segment.

    ``rows``: domain, segment, users, a, b (means), difference (a - b), low, high (its 95 % bootstrap
    interval over users), gain_percent (of b; null where b is 0), p (Wilcoxon signed-rank over users),
    effect_size (Cohen's d_z: mean difference over users / its standard deviation, null where it has none),
    detectable (the smallest difference detected at 5 % in four cases of five, null for a single user),
    p_holm (corrected for all rows of the table).
    """

    rows: pl.DataFrame
    a: str
    b: str
    metric: str
    protocol: str

    def table(self) -> pl.DataFrame:
        """The rows with the names of what was compared."""
        import polars as pl

        names = {"model": self.a, "baseline": self.b, "metric": self.metric, "protocol": self.protocol}
        return self.rows.select(*(pl.lit(value).alias(name) for name, value in names.items()), pl.all())

    def __str__(self) -> str:
        protocol = "" if self.protocol == FULL else f", {protocol_name(self.protocol)}"
        title = f"{self.metric}{protocol}: {self.a} against {self.b}"
        head = ("domain", "segment", "users", self.a, self.b, "difference [95 %]", "gain", "p (Holm)")
        return title + "\n" + _aligned([head, *(_line(row) for row in self.rows.iter_rows(named=True))])


def compare(
    a: Evaluation,
    b: Evaluation,
    metric: str = "ndcg@10",
    by: str = "domain",
    *,
    seed: int = 0,
    draws: int = 2000,
) -> Comparison:
    """Is ``a`` better than ``b``? Both must be about the same held-out pairs, else DataError.

    ``by``: domain, activity, other_domain_events, popularity, duplicate or event_share.
    """
    import polars as pl

    first, second = _same_pairs(a, b)
    sampled = a.sampled
    table_a = user_table(first, Metric.parse(metric), by, sampled=sampled)
    table_b = user_table(second, Metric.parse(metric), by, sampled=sampled)
    paired = table_a.with_columns(total_b=table_b["total"])
    records = [
        {"domain": domain, "segment": segment}
        | _difference(users, draws, generator(seed, "compare", str(domain), str(segment), metric))
        for (domain, segment), users in paired.group_by("domain", "segment", maintain_order=True)
    ]
    p_holm = holm(np.array([record["p"] for record in records]))
    rows = pl.DataFrame(records).with_columns(p_holm=pl.Series(p_holm))
    return Comparison(rows, a.name, b.name, metric, a.protocol)


def holm(p_R: Float64) -> Float64:
    """Holm's step-down correction of R p-values, in their order."""
    order = np.argsort(p_R, kind="stable")
    # the running maximum keeps corrected p-values in the order of the raw ones
    stepped = np.maximum.accumulate(p_R[order] * np.arange(len(p_R), 0, -1))
    corrected = np.empty(len(p_R))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def effect_size(difference_U: Float64) -> float | None:
    """Cohen's d_z of paired differences: mean / standard deviation; null where they do not differ."""
    mean, deviation = float(difference_U.mean()), _deviation(difference_U)
    if not deviation:
        return 0.0 if deviation == mean == 0 else None
    return mean / deviation


def detectable(difference_U: Float64) -> float | None:
    """The smallest mean difference that so many users show with 80 % power at 5 % two-sided."""
    deviation = _deviation(difference_U)
    return None if deviation is None else POWER * deviation / float(np.sqrt(len(difference_U)))


def power_note(users: int, smallest: float | None) -> str:
    """What cannot be seen in a segment of few users; empty where there are enough."""
    if users >= FEW:
        return ""
    return f"few users: differences below {smallest:.2g} go unseen" if smallest else "few users"


def _deviation(difference_U: Float64) -> float | None:
    return float(difference_U.std(ddof=1)) if len(difference_U) > 1 else None


def _same_pairs(a: Evaluation, b: Evaluation) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables in one order, with the first one's description of users and items."""
    order = [*_PAIR, *(["seed"] if "seed" in a.rows.columns else [])]
    identity = [*order, "candidates"]
    alike = a.protocol == b.protocol and a.rows.columns == b.rows.columns
    first, second = (a.rows.sort(order), b.rows.sort(order)) if alike else (a.rows, b.rows)
    if not alike or not first.select(identity).equals(second.select(identity)):
        raise DataError(
            f"{a.name!r} and {b.name!r} were not evaluated on the same held-out pairs and candidates "
            f"({len(first)} rows, {a.protocol}; {len(second)} rows, {b.protocol}): "
            "evaluate both on the same holdout."
        )
    return first, first.with_columns(second["above"], second["ties"])


def _difference(users: pl.DataFrame, draws: int, rng: np.random.Generator) -> Record:
    total_a, total_b, count = (users[name].to_numpy() for name in ("total", "total_b", "count"))
    mean_a, mean_b = float(total_a.sum() / count.sum()), float(total_b.sum() / count.sum())
    total_U = np.round(total_a - total_b, 12)  # rounding noise would untie equal differences
    low, high = mean_interval(total_U, count, draws, rng)
    difference_U = np.round(total_U / count, 12)
    return {
        "users": len(users),
        "a": mean_a,
        "b": mean_b,
        "difference": mean_a - mean_b,
        "low": low,
        "high": high,
        "gain_percent": 100 * (mean_a - mean_b) / mean_b if mean_b else None,
        "effect_size": effect_size(difference_U),
        "detectable": detectable(difference_U),
        "p": _wilcoxon(difference_U),
    }


def _wilcoxon(difference_U: Float64) -> float:
    from scipy.stats import wilcoxon

    # Wilcoxon's own rule: users without a difference say nothing about its sign
    nonzero = difference_U[difference_U != 0]
    if len(nonzero) <= ALL_SIGNS:
        return _signed_ranks(nonzero)
    return float(wilcoxon(nonzero).pvalue)


def _signed_ranks(nonzero_N: Float64) -> float:
    """Wilcoxon's test, two-sided, by going through all signs: exact under ties, too."""
    from scipy.stats import rankdata

    sums, rank_N = np.zeros(1), rankdata(np.abs(nonzero_N))
    for rank in rank_N:
        # all 2^n sums of positive ranks: n is at most ALL_SIGNS
        sums = np.concatenate([sums, sums + rank])
    positive = rank_N[nonzero_N > 0].sum()
    return min(1.0, 2 * float(min((sums <= positive).mean(), (sums >= positive).mean())))


def _line(row: Record) -> tuple[str, ...]:
    gain = "" if row["gain_percent"] is None else f"{row['gain_percent']:+.1f} %"
    difference = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
    values = (
        f"{row['users']:,}",
        f"{row['a']:.4f}",
        f"{row['b']:.4f}",
        difference,
        gain,
        f"{row['p_holm']:.2g}",
    )
    return row["domain"], row["segment"], *values


def _aligned(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    padded = (
        [cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(row)]
        for row in (list(zip(line, widths, strict=True)) for line in lines)
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
