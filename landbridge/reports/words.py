"""Summary sentences of a benchmark, made from its numbers by fixed rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from landbridge.core.types import Record
from landbridge.reports.runs import Runs
from landbridge.reports.values import BETTER, WORSE, joined, metric_on, metric_value, overall, percent, plain

if TYPE_CHECKING:
    import polars as pl

LEVEL = 0.01  # means closer than this share are reported as level
NAMED = 6  # groups named one by one
Paragraph = tuple[str, ...]
Row = Record


class Strong(str):
    """Words of a paragraph that stand out."""


def summary(runs: Runs, values: pl.DataFrame) -> list[Paragraph]:
    """One paragraph on everything, what is missing if anything is, then one paragraph per data set."""
    on_each = [_On.of(runs, values, data) for data in runs.names]
    missing = [_missing(runs)] if runs.missing else []
    closing = (
        f"Better and worse than {runs.reference} mean significantly so: Holm-corrected p < 0.05 and a 95 % "
        "interval of the difference that leaves out zero. Where neither is said no difference could be "
        "shown, which does not mean that there is none.",
    )
    return [
        tuple(words for each in on_each for words in each.short()),
        *missing,
        *(each.long() for each in on_each if each.compared),
        closing,
    ]


def _missing(runs: Runs) -> Paragraph:
    every = len(runs.spec["data"]) * len(runs.labels) * len(runs.spec["seeds"])
    named = joined([f"{label} on {data}, seed {seed}" for data, label, seed in runs.missing], NAMED)
    return (
        Strong(f"Not finished: {len(runs.missing)} of {every} cells are missing"),
        f" ({named}). The values here are of the others and may still change.",
    )


@dataclass(frozen=True, eq=False)
class _On:
    """One data set on the first metric. ``chosen``: its values; ``others``: those on other metrics and
    protocols; ``means``: methods, the highest first; ``seconds``: of a fit, by label."""

    data: str
    metric_name: str
    reference: str
    chosen: pl.DataFrame
    others: pl.DataFrame
    means: list[Row]
    seconds: dict[str, float]

    @classmethod
    def of(cls, runs: Runs, values: pl.DataFrame, data: str) -> _On:
        import polars as pl

        protocol = runs.protocol(data)
        main = (pl.col("metric") == runs.metric) & (pl.col("protocol") == protocol)
        of_data = values.filter(data=data)
        chosen, others = of_data.filter(main), of_data.filter(~main)
        means = overall(chosen).sort("mean", descending=True, maintain_order=True).to_dicts()
        costs = runs.costs.filter(data=data).group_by("label", maintain_order=True)
        seconds = dict(costs.agg(pl.col("fit_seconds").median()).rows())
        return cls(data, metric_on(runs.metric, protocol), runs.reference, chosen, others, means, seconds)

    @property
    def compared(self) -> bool:
        """Whether the reference and another method are there."""
        return len(self.means) > 1 and any(row["label"] == self.reference for row in self.means)

    @property
    def best(self) -> Row:
        """The method with the highest mean but for the reference."""
        return next(row for row in self.means if row["label"] != self.reference)

    @property
    def base(self) -> float:
        """The reference's mean."""
        return next(float(row["mean"]) for row in self.means if row["label"] == self.reference)

    def short(self) -> Paragraph:
        """Who is highest, by how much, in how many domains surely better and worse."""
        if not self.compared:
            return "On ", Strong(self.data), f" nothing can be compared with {self.reference} yet. "
        best = self.best
        gain = f"{_gain(best['mean'], self.base)} against {self.reference} in the mean over the domains"
        gain += f" ({self.metric_name})"
        sure = f"better in {best['better']} of {_count(best['domains'], 'domain')}"
        sure += f", worse in {best['worse'] or 'none'}. "
        if best["mean"] <= self.base:
            tail = f" is surpassed by no method; {best['label']} comes next: {gain}, {sure}"
            return "On ", Strong(self.data), ", ", Strong(self.reference), tail
        return "On ", Strong(self.data), ", ", Strong(best["label"]), f" {_standing(best)}: {gain}, {sure}"

    def long(self) -> Paragraph:
        """The same with its values, where it loses, what the other methods do, and what it costs."""
        best = self.best
        start = f": {best['label']} reaches {metric_value(best['mean'])} in the mean over the domains, "
        start += f"{self.reference} {metric_value(self.base)}{self._level()}. "
        return Strong(self.data), start, *self._losses(), self._groups(), *self._rivals(), self._cost()

    def _level(self) -> str:
        """Who is too close to tell apart without a test."""
        near = (1 - LEVEL) * self.best["mean"]
        level = [row["label"] for row in self.means if row is not self.best and row["mean"] > near]
        level = [label for label in level if label != self.reference]
        return f"; {joined(level)} is within 1 % of that or above" if level else ""

    def _losses(self) -> Paragraph:
        lost = self._lost(self.best["label"], "domain")
        here = (Strong(f"It loses {joined(lost, NAMED)}. "),) if lost else ("It loses no domain. ",)
        rows = self.others.filter(by="domain", label=self.best["label"], verdict=WORSE)
        elsewhere = [
            f"{row['domain']} on {metric_on(row['metric'], row['protocol'])}" for row in rows.to_dicts()
        ]
        return *here, f"By other metrics it loses {joined(elsewhere, NAMED)}. " if elsewhere else ""

    def _groups(self) -> str:
        """How the groups by domain and activity do."""
        label = self.best["label"]
        groups = self.chosen.filter(by="activity", label=label)
        if groups.is_empty():
            return ""
        lost = self._lost(label, "activity")
        worse = f"worse in {len(lost)}: {joined(lost, NAMED)}. " if lost else "worse in none. "
        won = (groups["verdict"] == BETTER).sum()
        return f"Of {len(groups)} groups by domain and activity it is better in {won} and {worse}"

    def _rivals(self) -> Paragraph:
        """Domains in which another method is clearly higher, and which domains other methods lose."""
        higher = [
            f"{top['label']} in {top['domain']} ({metric_value(top['mean'])} against {metric_value(own)})"
            for top, own in self._champions()
            if top["label"] != self.reference and top["mean"] * (1 - LEVEL) > own
        ]
        also = f"Higher than it, though not tested against it: {joined(higher, NAMED)}. " if higher else ""
        rest = [row["label"] for row in self.means if row is not self.best and row["worse"]]
        losses = [f"{label}: {joined(self._lost(label, 'domain'))}" for label in rest]
        return also, f"Domains that other methods lose: {'; '.join(losses)}. " if losses else ""

    def _champions(self) -> list[tuple[Row, float]]:
        """Every domain's highest row, and the best method's mean there."""
        domains = self.chosen.filter(by="domain").sort("mean", descending=True, maintain_order=True)
        own = dict(domains.filter(label=self.best["label"]).select("domain", "mean").rows())
        tops = self.chosen.filter(by="domain").select("domain").unique(maintain_order=True)["domain"]
        rows = [domains.filter(domain=domain).row(0, named=True) for domain in tops if domain in own]
        return [(row, own[row["domain"]]) for row in rows]

    def _lost(self, label: str, by: str) -> list[str]:
        """The significant losses, the largest first."""
        rows = self.chosen.filter(by=by, label=label, verdict=WORSE).sort("gain_percent", maintain_order=True)
        columns = ["domain"] if by == "domain" else ["domain", "segment"]
        return [
            f"{' '.join(where)} ({percent(gain)})" for *where, gain in rows[[*columns, "gain_percent"]].rows()
        ]

    def _cost(self) -> str:
        own, reference = self.seconds.get(self.best["label"]), self.seconds.get(self.reference)
        if own is None or not reference:
            return ""
        times = f"{own / reference:.1f} times as long as" if own > reference else "no longer than"
        return f"A fit takes {plain(float(f'{own:.3g}'))} s, {times} {self.reference}."


def _standing(best: Row) -> str:
    """How far to trust the highest mean."""
    if not best["better"]:
        return "has the highest mean but is surely better in no domain"
    return "has the highest mean but loses domains" if best["worse"] else "does best"


def _gain(mean: float, reference: float) -> str:
    return percent(100 * (mean / reference - 1)) if reference else f"{mean - reference:+.4f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
