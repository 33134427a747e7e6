"""The plots of a report: their data, their alternative text, and rendering to SVG and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from landbridge.core.errors import LandbridgeError
from landbridge.core.types import Record, Values
from landbridge.evaluation.segments import LABELS
from landbridge.reports import facts, plots
from landbridge.reports.looks import LIGHT, Look
from landbridge.reports.runs import Runs
from landbridge.reports.tables import MARKS
from landbridge.reports.values import UNSURE, joined, metric_on, overall, percent, plain

if TYPE_CHECKING:
    import polars as pl

CAPS = (5.0, 10.0, 25.0, 50.0, 100.0)  # per cent at which a gain's colour is full
FASTEST = 1e-3  # seconds; a logarithmic axis has no zero
SIZES = ("users", "items", "events")
VALID = "valid"  # name of the validation metric in a log
WORDS = {
    "loss_of": "loss",
    "gradient_of": "gradient at the states",
    "sample_weight": "weight of a sample",
    "sparsity": "sparsity score",
}


@dataclass(frozen=True)
class Picture:
    """``name``: of its file; ``alt``: what it shows, for those who do not see it; ``chart``: draws it."""

    name: str
    title: str
    alt: str
    chart: Callable[[Look], plots.Drawing]


def svg(picture: Picture, look: Look) -> str:
    """The picture as one SVG element on a transparent ground."""
    return _rendered(picture, look, "svg").decode()


def png(picture: Picture) -> bytes:
    """The picture on white, at twice its size."""
    return _rendered(picture, LIGHT, "png")


def gains(runs: Runs, values: pl.DataFrame, data: str, by: str = "activity") -> list[Picture]:
    """Per method the gain over the reference in each domain and segment."""
    import polars as pl

    chosen = values.filter(data=data, by=by, metric=runs.metric, protocol=runs.protocol(data)).filter(
        pl.col("gain_percent").is_not_null() & (pl.col("label") != runs.reference)
    )
    cap = _cap(chosen["gain_percent"].abs().to_list())
    present = set(chosen["segment"])
    xs = [segment for segment in LABELS.get(by, sorted(present)) if segment in present]
    ys = chosen["domain"].unique(maintain_order=True).to_list()
    return [
        Picture(
            _slug("gain", by, data, str(label)),
            f"{label} against {runs.reference}, gain in %",
            _gains_text(group, f"{label} over {runs.reference} in {runs.metric.upper()}", by),
            partial(plots.heat_map, _gain_tiles(group), xs, ys, (_X_TITLES.get(by, by), ""), (-cap, cap)),
        )
        for (label,), group in chosen.group_by("label", maintain_order=True)
    ]


def forest(runs: Runs, values: pl.DataFrame, data: str) -> list[Picture]:
    """All methods' differences from the reference per domain, in per cent of it, with intervals."""
    import polars as pl

    chosen = values.filter(data=data, by="domain", metric=runs.metric, protocol=runs.protocol(data)).filter(
        pl.col("gain_percent").is_not_null() & (pl.col("label") != runs.reference)
    )
    if chosen.is_empty():
        return []
    scale = 100 / (pl.col("mean") - pl.col("difference"))  # per cent of the reference's mean
    rows = chosen.select(
        "label",
        "domain",
        value="gain_percent",
        low=pl.col("difference_low") * scale,
        high=pl.col("difference_high") * scale,
        sure=pl.col("verdict") != UNSURE,
    ).to_dicts()
    domains = chosen["domain"].unique(maintain_order=True).to_list()
    title = f"difference from {runs.reference}, %"
    text = f"Differences of every method from {runs.reference} per domain of {data}, with 95 % intervals."
    chart = partial(plots.intervals, rows, runs.labels, domains, title)
    return [Picture(_slug("difference", data), "Difference per domain with 95 % interval", text, chart)]


def pareto(runs: Runs, values: pl.DataFrame, data: str) -> list[Picture]:
    """Mean quality over the domains against the median time of a fit."""
    import polars as pl

    chosen = overall(values.filter(data=data, metric=runs.metric, protocol=runs.protocol(data)))
    times = runs.costs.filter(data=data).group_by("label").agg(cost=pl.col("fit_seconds").median())
    joined = chosen.join(times, on="label", maintain_order="left").filter(pl.col("cost").is_not_null())
    rows = [
        # the axis is logarithmic, so a cost of 0 has no place on it
        {"label": label, "quality": quality, "cost": max(cost, FASTEST)}
        for label, quality, cost in joined.select("label", "mean", "cost").rows()
    ]
    if len(rows) < 2:
        return []
    for row in rows:
        row["frontier"] = not any(_dominates(other, row) for other in rows)
    best = ", ".join(row["label"] for row in rows if row["frontier"])
    metric = metric_on(runs.metric, runs.protocol(data))
    text = f"Quality against seconds of a fit on {data}. None is both better and quicker than: {best}."
    titles = "seconds of a fit", f"mean {metric}"
    chart = partial(plots.quality_against_cost, rows, runs.labels, titles)
    return [Picture(_slug("cost", data), f"{data}: quality against time", text, chart)]


def convergence(runs: Runs, data: str) -> list[Picture]:
    """The validation metric by epoch, all methods in one plot."""
    chosen = _series(runs).filter(data=data, quantity=VALID)
    if chosen.is_empty():
        return []
    rows = chosen.select("label", "seed", "epoch", "value").to_dicts()
    text = f"Validation metric by epoch on {data}, one line per method and seed."
    chart = partial(plots.lines, rows, runs.labels, "validation metric")
    return [Picture(_slug("validation", data), f"{data}: validation by epoch", text, chart)]


def own_series(runs: Runs, data: str) -> list[Picture]:
    """Every other series of the logs, one plot per method and quantity."""
    import polars as pl

    chosen = _series(runs).filter(pl.col("data") == data, pl.col("quantity") != VALID)
    pictures = []
    for (label, quantity), group in chosen.group_by("label", "quantity", maintain_order=True):
        parts = group["part"].unique(maintain_order=True).to_list()
        name = WORDS.get(str(quantity), str(quantity).replace("_", " "))
        rows = group.select("seed", "epoch", "value", label="part").to_dicts()
        text = f"{name} of {label} by epoch on {data}, one line per seed" + _parts(parts)
        chart = partial(plots.lines, rows, parts, name)
        pictures.append(Picture(_slug("own", data, str(label), name), f"{label}: {name}", text, chart))
    return pictures


def by_activity(runs: Runs, data: str) -> list[Picture]:
    """Values that logs hold once per activity group, one plot per method and quantity."""
    import polars as pl

    chosen = runs.series.filter(pl.col("data") == data, facts.by_activity())
    pictures = []
    for (label, quantity), group in chosen.group_by("label", "quantity", maintain_order=True):
        name, rows = str(quantity).replace("_", " "), _grouped(group)
        values = [f"{row['group']}: {plain(row['mean'])} ± {plain(row['sd'])}" for row in rows]
        text = f"{name} of {label} on {data}, mean ± standard deviation. {joined(values, len(values))}."
        across = "known events; below: users" if any("users" in row for row in rows) else "known events"
        titles = across, name.removesuffix(" by activity")
        chart = partial(plots.spreads, rows, titles)
        pictures.append(Picture(_slug("own", data, str(label), name), f"{label}: {name}", text, chart))
    return pictures


def imbalance(runs: Runs, data: str) -> list[Picture]:
    """How unequal users' activity in each domain is, and how unequal the domains are, as shares."""
    domains: list[Record] = next((each["domains"] for each in runs.data if each["name"] == data), [])
    # folders written before the groups were counted lack them
    groups = {each["name"]: each["activity"] for each in domains if each.get("activity")}
    return [
        *(_activity_shares(data, groups, what) for what in ("users", "events") if groups),
        *([_domain_shares(data, domains)] if len(domains) > 1 else []),
    ]


def served(runs: Runs, data: str, label: str) -> list[Picture]:
    """Each member's weight in what a guard serves per domain and activity group, mean over the seeds."""
    import polars as pl

    chosen = runs.decisions.filter(data=data, label=label)
    seeds = chosen["seed"].n_unique()
    keys = ["domain", "group"]
    ys = chosen["domain"].unique(maintain_order=True).to_list()
    xs = [group for group in LABELS["activity"] if group in set(chosen["group"])]
    pictures = []
    for member in chosen["member"].unique(maintain_order=True).sort():
        own = chosen.with_columns(weight=pl.when(member=member).then("weight").otherwise(0.0))
        # a seed whose decision lacks the member counts as weight 0
        mean = own.group_by(keys, maintain_order=True).agg(pl.col("weight").sum() / seeds)
        tiles = [plots.Tile(x, y, w, f"{w:.2f}" if w else "·") for y, x, w in mean.rows()]
        text = f"Weight of {member} in what {label} serves on {data}, per domain and activity group."
        chart = partial(plots.heat_map, tiles, xs, ys, (_X_TITLES["activity"], ""), (0.0, 1.0))
        pictures.append(Picture(_slug("served", data, label, member), f"Weight of {member}", text, chart))
    return pictures


def transfer(runs: Runs, data: str) -> list[Picture]:
    """The measured transfer matrix, and how it goes with the prediction."""
    import polars as pl

    chosen = runs.transfer.filter(data=data)
    if chosen.is_empty():
        return []
    names = pl.concat([chosen["target"], chosen["source"]]).unique(maintain_order=True).to_list()
    cap = _cap(chosen["gain"].abs().to_list())
    tiles = [
        plots.Tile(
            row["source"], row["target"], row["gain"], _whole(row["gain"]), row["low"] <= 0 <= row["high"]
        )
        for row in chosen.iter_rows(named=True)
    ]
    text = f"Gain in per cent of each domain of {data} (rows) from adding another one (columns)."
    chart = partial(plots.heat_map, tiles, names, names, ("added", "domain"), (-cap, cap))
    measured = Picture(_slug("transfer", data), "Measured gain in per cent", text, chart)
    rows = chosen.select(x="predicted", y="gain", low="low", high="high").drop_nulls().to_dicts()
    if not rows:
        return [measured]
    titles = "predicted before training (no unit)", "measured gain, %"
    text = f"Measured against predicted gains of the pairs of domains of {data}."
    against = Picture(
        _slug("predicted", data), "Measured against predicted", text, partial(plots.scatter, rows, titles)
    )
    return [measured, against]


_X_TITLES = {
    "activity": "the user's known events in the domain",
    "other_domain_events": "the user's events in other domains",
    "popularity": "popularity of the item",
    "duplicate": "has the same product in another domain",
    "later_in_other_domains": "later events of the user in other domains are known",
    "event_share": "share of the user's events that are in the domain",
}


def _activity_shares(data: str, groups: Mapping[str, Values], what: str) -> Picture:
    """Per domain the share of its users, or of its events, in each activity group."""
    shares = {
        name: _of_sum({group: each[what] for group, each in own.items()}) for name, own in groups.items()
    }
    present = {group for own in shares.values() for group in own}
    xs = [group for group in LABELS["activity"] if group in present]
    text = f"{what.capitalize()} in each domain of {data} by the user's number of events there, in per cent."
    title = f"{data}: {what} by activity, %"
    return _share_map(
        _slug("share", data, what), title, text, shares, (xs, "the user's events in the domain")
    )


def _domain_shares(data: str, domains: Sequence[Values]) -> Picture:
    """Each domain's share of the users, items and events."""
    sums = {what: _of_sum({each["name"]: each[what] for each in domains}) for what in SIZES}
    shares = {each["name"]: {what: sums[what][each["name"]] for what in SIZES} for each in domains}
    text = f"Users, items and events of each domain of {data}, in per cent of the sums over its domains."
    title = f"{data}: size of the domains, %"
    return _share_map(_slug("share", data, "domains"), title, text, shares, (SIZES, ""))


def _share_map(
    name: str,
    title: str,
    text: str,
    shares: Mapping[str, Mapping[str, float]],
    columns: tuple[Sequence[str], str],
) -> Picture:
    """A heat map of shares by domain and column; ``columns``: their names in order, and their title."""
    xs, x_title = columns
    tiles = [
        plots.Tile(x, domain, share, f"{100 * share:.0f}")
        for domain, own in shares.items()
        for x, share in own.items()
    ]
    rows = [
        f"{domain}: {', '.join(f'{x} {100 * own[x]:.0f}' for x in xs if x in own)}"
        for domain, own in shares.items()
    ]
    chart = partial(plots.heat_map, tiles, xs, list(shares), (x_title, ""), (0.0, 1.0))
    return Picture(name, title, f"{text} {'; '.join(rows)}.", chart)


def _of_sum(counts: Mapping[str, float]) -> dict[str, float]:
    """Each count as a share of their sum."""
    total = max(sum(counts.values()), 1)
    return {name: count / total for name, count in counts.items()}


def _gain_tiles(group: pl.DataFrame) -> list[plots.Tile]:
    return [
        plots.Tile(
            row["segment"],
            row["domain"],
            row["gain_percent"],
            _whole(row["gain_percent"]) + MARKS.get(row["verdict"], ""),
            row["verdict"] == UNSURE,
        )
        for row in group.iter_rows(named=True)
    ]


def _whole(value: float) -> str:
    """``+4``, ``−30``; what rounds to nothing has no sign."""
    # else a small loss would read "−0"
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def _gains_text(group: pl.DataFrame, what: str, by: str) -> str:
    low, high = group.sort("gain_percent").row(0, named=True), group.sort("gain_percent").row(-1, named=True)
    counts = {verdict: (group["verdict"] == verdict).sum() for verdict in MARKS}
    return (
        f"Gain of {what} per domain and {by}: from {percent(low['gain_percent'], 0)} ({low['domain']}, "
        f"{low['segment']}) to {percent(high['gain_percent'], 0)} ({high['domain']}, {high['segment']}); "
        f"{counts['better']} of {len(group)} groups significantly better, {counts['worse']} worse."
    )


def _cap(sizes: list[float]) -> float:
    """The smallest of ``CAPS`` that at least three in five of the sizes stay below."""
    # not the largest: one huge gain would make all other colours pale
    within = sorted(sizes)[int(0.6 * (len(sizes) - 1))] if sizes else 0.0
    return next((cap for cap in CAPS if cap >= within), CAPS[-1])


def _dominates(one: Record, other: Record) -> bool:
    as_good = one["quality"] >= other["quality"] and one["cost"] <= other["cost"]
    return as_good and (one["quality"], one["cost"]) != (other["quality"], other["cost"])


def _series(runs: Runs) -> pl.DataFrame:
    """Series with one value per epoch, drawn as lines."""
    return runs.series.join(
        facts.single_values(runs.series), on=runs.series.columns, how="anti", nulls_equal=True
    )


def _grouped(text: pl.DataFrame) -> list[Record]:
    """Mean, sd and users of every group, over the seeds; the order is that of the seed with most groups."""
    import polars as pl

    grouped: dict[str, dict[str, list[float]]] = {}
    ordered = text.sort(pl.len().over("seed"), descending=True, maintain_order=True)
    for part, value in ordered["part", "value"].rows():
        group, _, what = part.rpartition(", ")
        grouped.setdefault(group, {}).setdefault(what, []).append(value)
    means = {group: {what: fmean(values) for what, values in each.items()} for group, each in grouped.items()}
    return [{"group": group, "sd": 0.0, **each} for group, each in means.items() if "mean" in each]


def _parts(parts: list[str]) -> str:
    return f" for {', '.join(parts)}." if parts != [""] else "."


def _slug(*parts: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def _rendered(picture: Picture, look: Look, kind: str) -> bytes:
    plots.need_altair()
    chart = picture.chart(look).configure(
        **look.config() | ({"background": "white"} if kind == "png" else {})
    )
    buffer = io.BytesIO() if kind == "png" else io.StringIO()
    try:
        chart.save(buffer, format=kind, engine="vl-convert", **({"scale_factor": 2} if kind == "png" else {}))
    except ValueError as error:
        raise LandbridgeError(f"The picture {picture.name!r} could not be drawn: {error}.") from error
    drawn = buffer.getvalue()
    return drawn if isinstance(drawn, bytes) else drawn.encode()
