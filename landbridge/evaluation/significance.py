"""Two evaluations of the same held-out pairs, paired per user and seed.

Interval and p are those of the printed difference of means (:mod:`landbridge.evaluation.bootstrap`): users
are drawn with all their pairs, and seeds where there are several. With a margin m, p_kept is of the
hypothesis mean(a) <= (1 - m) mean(b): that a keeps less than 1 - m of b. Wilcoxon's test is about another
hypothesis, ranks of differences, and stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.rng import generator
from landbridge.core.text import html_table
from landbridge.core.types import Float64, Record
from landbridge.data.splitting.holdout import FULL, protocol_name
from landbridge.evaluation.bootstrap import LEVEL, drawn_means, interval, mean_of, one_sided, p_value
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.segments import summed, user_table

if TYPE_CHECKING:
    import polars as pl

POWER = 1.96 + 0.84  # standard errors that are detected at 5 % two-sided in four cases of five
ALL_SIGNS = 13  # differences up to which all their signs are gone through
FEW = 200  # users below which a segment's results come with a note
SUMS = ("total", "total_b", "count")
_PAIR = ["domain", "user", "item"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """``a`` against ``b`` on one metric: one row per domain and segment.

    ``rows``: domain, segment, users, a, b (means), difference (a - b), low, high (its 95 % interval),
    gain_percent (of b; null where b is 0), p (of a difference of 0), wilcoxon_p (signed ranks, over users),
    effect_size (Cohen's d_z: mean difference over users / its standard deviation, null where it has none),
    detectable (the smallest difference detected at 5 % in four cases of five, null for a single user),
    p_holm (corrected for all rows of the table); with a margin p_kept (Holm-corrected) and kept (p_kept
    below .05: significantly more than 1 - margin of b).
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

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        title = f"{self.metric}: {self.a} against {self.b}"
        columns = ("domain", "segment", "users", "a", "b", "difference", "low", "high", "p_holm")
        return html_table(title, self.rows.select(columns).to_dicts())

    def __str__(self) -> str:
        protocol = "" if self.protocol == FULL else f", {protocol_name(self.protocol)}"
        title = f"{self.metric}{protocol}: {self.a} against {self.b}"
        head = ["domain", "segment", "users", self.a, self.b, "difference [95 %]", "gain", "p (Holm)"]
        if "kept" in self.rows.columns:
            head.append("kept")
        return (
            title + "\n" + _aligned([tuple(head), *(_line(row) for row in self.rows.iter_rows(named=True))])
        )


def compare(
    a: Evaluation,
    b: Evaluation,
    metric: str = "ndcg@10",
    by: str = "domain",
    *,
    margin: float | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> Comparison:
    """Is ``a`` better than ``b``, or with ``margin``, say .01, does it keep more than 99 % of ``b``?

    Both must be about the same held-out pairs, else DataError. ``by``: domain, activity,
    other_domain_events, popularity, duplicate, later_in_other_domains or event_share.
    """
    import polars as pl

    if margin is not None and not 0 < margin < 1:
        raise SettingsError(f"margin must be above 0 and below 1, not {margin}.")
    paired = _paired(a, b, metric, by)
    records = []
    for (domain, segment), users in paired.group_by("domain", "segment", maintain_order=True):
        rng = generator(seed, "compare", str(domain), str(segment), metric)
        record = _difference(summed(users, SUMS), margin, draws, rng)
        records.append({"domain": domain, "segment": segment} | record)
    return Comparison(_corrected(pl.DataFrame(records)), a.name, b.name, metric, a.protocol)


def compare_over_domains(
    a: Evaluation, b: Evaluation, metric: str = "ndcg@10", *, seed: int = 0, draws: int = 2000
) -> Record:
    """The same for the mean over domains: users are drawn with their pairs of all domains."""
    paired = _paired(a, b, metric, "domain")
    return _difference(summed(paired, SUMS), None, draws, generator(seed, "compare", metric))


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


def _paired(a: Evaluation, b: Evaluation, metric: str, by: str) -> pl.DataFrame:
    """The table of users of ``a``, with the totals of ``b`` beside."""
    first, second = _same_pairs(a, b)
    sampled = a.sampled
    table_a, table_b = (
        user_table(rows, Metric.parse(metric), by, sampled=sampled) for rows in (first, second)
    )
    return table_a.with_columns(total_b=table_b["total"])


def _corrected(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with p-values corrected for all of them."""
    import polars as pl

    rows = rows.with_columns(p_holm=pl.Series(holm(rows["p"].to_numpy())))
    if "p_kept" not in rows.columns:
        return rows
    p_kept = pl.Series(holm(rows["p_kept"].to_numpy()))
    return rows.with_columns(p_kept=p_kept, kept=p_kept < LEVEL)


def _difference(sums_CDSU: Float64, margin: float | None, draws: int, rng: np.random.Generator) -> Record:
    """What is printed of the difference; ``sums_CDSU``: the columns ``SUMS``."""
    total_a_DSU, total_b_DSU, count_DSU = sums_CDSU
    mean_a, mean_b = (mean_of(total_DSU, count_DSU) for total_DSU in (total_a_DSU, total_b_DSU))
    total_DSU = np.round(total_a_DSU - total_b_DSU, 12)  # rounding noise would untie equal differences
    difference_U = _per_user(total_DSU, count_DSU)
    mean_X = drawn_means(total_DSU, count_DSU, draws, rng)
    low, high = interval(mean_X)
    least = _least_p(difference_U)
    if least >= LEVEL:  # so few users cannot show any difference
        low, high = min(low, 0.0), max(high, 0.0)
    record = {
        "users": len(difference_U),
        "a": mean_a,
        "b": mean_b,
        "difference": mean_a - mean_b,
        "low": low,
        "high": high,
        "gain_percent": 100 * (mean_a - mean_b) / mean_b if mean_b else None,
        "effect_size": effect_size(difference_U),
        "detectable": POWER * float(mean_X.std()) if len(difference_U) > 1 else None,
        "p": max(p_value(mean_X), least),
        "wilcoxon_p": _wilcoxon(difference_U),
    }
    if margin is not None:
        kept_X = drawn_means(total_a_DSU - (1 - margin) * total_b_DSU, count_DSU, draws, rng)
        record["p_kept"] = one_sided(kept_X)
    return record


def _per_user(total_DSU: Float64, count_DSU: Float64) -> Float64:
    """Every user's mean over their pairs, (U,)."""
    return np.asarray(np.round(total_DSU.sum(axis=(0, 1)) / count_DSU.sum(axis=(0, 1)), 12))


def _least_p(difference_U: Float64) -> float:
    """What users who all differ in one direction can show, by their signs alone."""
    return float(min(1.0, 2.0 ** (1 - np.count_nonzero(difference_U))))


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
    kept = () if "kept" not in row else ("yes" if row["kept"] else "not shown",)
    return row["domain"], row["segment"], *values, *kept


def _aligned(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    padded = (
        [cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(row)]
        for row in (list(zip(line, widths, strict=True)) for line in lines)
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
