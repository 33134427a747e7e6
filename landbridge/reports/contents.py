"""The tables of quality: means, differences from the reference, and all at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from landbridge.core.types import Record
from landbridge.reports.runs import Runs
from landbridge.reports.tables import Cell, Table, table
from landbridge.reports.values import (
    effect,
    interval,
    metric_on,
    metric_value,
    overall,
    p_value,
    percent,
    plain,
)

if TYPE_CHECKING:
    import polars as pl

SEGMENTS = {
    "domain": "By domain",
    "activity": "By activity: the user's known events in the domain",
    "other_domain_events": "By the user's events in the other domains",
    "popularity": "By popularity of the item",
    "duplicate": "By whether the user has the same product in another domain",
    "later_in_other_domains": "By whether later events of the user in other domains are known",
    "event_share": "By the share of the user's events that are in the domain",
}
LEGEND = (
    "Bold: the best of the row. Below a mean its 95 % interval over users. ▲ ▼: significantly better or "
    "worse than {reference} (Holm-corrected p < 0.05 and an interval without zero)."
)


def means(runs: Runs, values: pl.DataFrame, data: str, by: str, metric: str, protocol: str) -> Table:
    """One row per domain and segment, one column per method: mean, interval and significance."""
    import polars as pl

    chosen = values.filter(data=data, by=by, metric=metric, protocol=protocol)
    labels = [label for label in runs.labels if label in set(chosen["label"])]
    rows: list[list[str | Cell]] = []
    for (domain, segment), group in chosen.group_by("domain", "segment", maintain_order=True):
        named = {row["label"]: row for row in group.iter_rows(named=True)}
        best = _best(group)
        where: list[str | Cell] = [str(domain)] if by == "domain" else [str(domain), str(segment)]
        users = plain(group["users"].max())
        rows.append([*where, users, *(_mean(named.get(label), best) for label in labels)])
    if by == "domain" and len(rows) > 1:
        rows.append(_overall_row(overall(chosen.filter(pl.col("by") == "domain")), labels))
    heads = ["domain", "users"] if by == "domain" else ["domain", "segment", "users"]
    title = f"{data}: {metric_on(metric, protocol)}. {SEGMENTS.get(by, by)}"
    align = "l" * (len(heads) - 1) + "r" * (1 + len(labels))
    return table(title, [*heads, *labels], align, rows, LEGEND.format(reference=runs.reference))


def differences(runs: Runs, values: pl.DataFrame, data: str, by: str, metric: str, protocol: str) -> Table:
    """Every method against the reference: difference, interval, gain, corrected p and effect size."""
    import polars as pl

    chosen = values.filter(data=data, by=by, metric=metric, protocol=protocol)
    rows: list[list[str | Cell]] = []
    for row in chosen.filter(pl.col("difference").is_not_null()).iter_rows(named=True):
        where = [row["domain"]] if by == "domain" else [row["domain"], row["segment"]]
        difference = f"{row['difference']:+.4f}"
        bounds = interval(row["difference_low"], row["difference_high"], "+")
        tests = p_value(row["p"]), p_value(row["p_holm"]), effect(row["effect_size"]), row["power_note"] or ""
        cells_of_row: tuple[str | Cell, ...] = (
            Cell(difference, bounds, row["verdict"]),
            percent(row["gain_percent"]),
            *tests,
        )
        rows.append([*where, row["label"], plain(row["users"]), *cells_of_row])
    heads = ["domain"] if by == "domain" else ["domain", "segment"]
    title = f"{data}: {metric_on(metric, protocol)}, against {runs.reference}. {SEGMENTS.get(by, by)}"
    rest = ["method", "users", "difference [95 %]", "gain", "p", "p (Holm)", "effect size", "note"]
    note = f"Holm over the {len(rows)} rows of this table." if _one_family(chosen) else ""
    width = None if any(row[-1] for row in rows) else -1  # a column of notes only where there is one
    align = "l" * len(heads) + "lrrrrrrl"
    return table(title, [*heads, *rest][:width], align[:width], [row[:width] for row in rows], note)


def at_a_glance(runs: Runs, values: pl.DataFrame) -> Table:
    """Per data set and protocol each method's mean over the domains, and domains won and lost."""
    rows: list[list[str | Cell]] = []
    chosen = overall(values.filter(metric=runs.metric))
    for (data, metric, protocol), group in chosen.group_by("data", "metric", "protocol", maintain_order=True):
        rows.append([str(data), metric_on(str(metric), str(protocol)), *_overall_cells(group, runs.labels)])
    note = (
        f"Below each mean: domains in which the method is significantly better ▲ and worse ▼ than "
        f"{runs.reference}. The mean over the domains itself is not tested."
    )
    columns = ["data", "metric", *runs.labels]
    return table("Mean over the domains", columns, "ll" + "r" * len(runs.labels), rows, note)


def _best(means: pl.DataFrame) -> str:
    """The highest mean as it is printed: equal in print is equally good."""
    return metric_value(max(means["mean"]))


def _mean(row: Record | None, best: str) -> Cell:
    if row is None:
        return Cell("–")
    text = metric_value(row["mean"])
    return Cell(text, interval(row["low"], row["high"]), row["verdict"], text == best)


def _overall_row(cells_of_row: pl.DataFrame, labels: Sequence[str]) -> list[str | Cell]:
    return ["mean over domains", "", *_overall_cells(cells_of_row, labels)]


def _overall_cells(cells_of_row: pl.DataFrame, labels: Sequence[str]) -> list[Cell]:
    named = {row["label"]: row for row in cells_of_row.iter_rows(named=True)}
    # compared as printed: a difference that no reader sees must not be bold
    best = _best(cells_of_row)
    return [_overall_cell(named.get(label), best) for label in labels]


def _overall_cell(row: Record | None, best: str) -> Cell:
    if row is None:
        return Cell("–")
    counts = f"{row['better']} ▲ {row['worse']} ▼ of {row['domains']}"
    text = metric_value(row["mean"])
    return Cell(text, counts if row["better"] or row["worse"] else "", best=text == best)


def _one_family(chosen: pl.DataFrame) -> bool:
    return chosen["family"].drop_nulls().n_unique() == 1
