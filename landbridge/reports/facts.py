"""Report tables other than quality: cost, the guard's decisions, data, settings, versions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import TYPE_CHECKING

from landbridge.core.types import Record, Values
from landbridge.data.splitting.holdout import uses_sampled_candidates
from landbridge.reports.runs import Runs
from landbridge.reports.tables import Cell, Table, table
from landbridge.reports.values import effect, interval, joined, metric_value, p_value, plain

if TYPE_CHECKING:
    import polars as pl


def costs(runs: Runs) -> Table:
    """What fitting and evaluating took, medians over the seeds."""
    import polars as pl

    values = runs.costs.group_by("data", "label", maintain_order=True).agg(
        pl.len(), *(pl.col(name).median() for name in ("fit_seconds", "evaluate_seconds", "peak_mib"))
    )
    rows = [
        [data, label, plain(count), *map(plain, numbers)] for data, label, count, *numbers in values.rows()
    ]
    columns = ["data", "method", "seeds", "fit, s", "evaluate, s", "peak memory, MiB"]
    return table(
        "Cost of a fit", columns, "llrrrr", rows, "Medians over the seeds, on the machine named below."
    )


def coverage(runs: Runs) -> Table:
    """Share of each catalogue that appears in the lists, and how unequally."""
    import polars as pl

    keys = ["data", "domain", "label", "protocol"]
    values = runs.coverage.group_by(keys, maintain_order=True).agg(pl.col("coverage", "gini").mean())
    rows = [
        [
            data,
            domain,
            label,
            f"sampled {protocol}" if uses_sampled_candidates(protocol) else protocol,
            f"{100 * share:.1f} %",
            f"{gini:.3f}",
        ]
        for data, domain, label, protocol, share, gini in values.rows()
    ]
    note = (
        "Coverage: items in the lists of ten, of all items with an event. Gini: 0 where all are shown alike."
    )
    return table(
        "Use of the catalogue",
        ["data", "domain", "method", "protocol", "coverage", "Gini"],
        "llllrr",
        rows,
        note,
    )


def shared_values(runs: Runs) -> Table:
    """Figures of the logs that make no line and no picture by activity: mean over the seeds."""
    import polars as pl

    single = single_values(runs.series).filter(~by_activity())
    values = single.group_by("data", "label", "quantity", "part", maintain_order=True).agg(
        pl.col("value").mean(), low=pl.col("value").min(), high=pl.col("value").max()
    )
    rows = [
        [
            data,
            label,
            _words(name),
            part,
            Cell(plain(value), f"{plain(low)} … {plain(high)}" if low < high else ""),
        ]
        for data, label, name, part, value, low, high in values.rows()
    ]
    return table(
        "Figures that make no line",
        ["data", "method", "quantity", "of", "mean"],
        "llllr",
        rows,
        "Below: the seeds' range.",
    )


def single_values(series: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``series`` that make no line: given once, or the same in every epoch."""
    import polars as pl

    whole = ("data", "label", "quantity")
    still = (pl.col("epoch").n_unique().over(whole) < 2) | (pl.col("value").n_unique().over(whole) < 2)
    return series.filter(pl.col("epoch").is_null() | still)


def by_activity() -> pl.Expr:
    """Whether a row of the series describes an activity group: its mean, spread or users."""
    import polars as pl

    once = pl.col("epoch").is_null() & pl.col("quantity").str.ends_with("_by_activity")
    return once & pl.col("part").str.contains(", (mean|sd|users)$")


def decisions(runs: Runs, data: str, label: str) -> Table:
    """What a guarded method serves in each domain and activity group, one row per seed."""
    chosen = runs.decisions.filter(data=data, label=label)
    keys = ["domain", "group", "seed"]
    rows = []
    for _, group in chosen.group_by(keys, maintain_order=True):
        first = group.row(0, named=True)
        served = " + ".join(f"{weight:.2f} {member}" for member, weight in group["member", "weight"].rows())
        numbers = (
            metric_value(first["estimate"]),
            metric_value(first["simple_estimate"]),
            metric_value(first["lower"]),
        )
        kept = "yes" if first["protected"] else ""
        where = first["domain"], first["group"], plain(first["seed"]), plain(first["pairs"])
        rows.append([*where, served, first["simple"] or "", *numbers, kept])
    columns = ["domain", "activity", "seed", "pairs", "served", "own best simple model"]
    columns += ["estimate", "its estimate", "lower bound", "protected"]
    note = (
        "Estimates are shrunken validation metrics; the lower bound is of their difference. Protected: a "
        "better estimate was refused because it was not sure enough."
    )
    return table(f"{data}: what {label} serves", columns, "llrrllrrrl", rows, note)


def transfer(runs: Runs, data: str) -> Table:
    """The measured gain of every domain from adding another one, beside the prediction."""
    rows = [
        [
            row["target"],
            row["source"],
            Cell(f"{row['gain']:+.4g}", interval(row["low"], row["high"], "+")),
            _signed(row),
        ]
        for row in runs.transfer.filter(data=data).iter_rows(named=True)
    ]
    return table(
        f"{data}: gain of a domain from adding another",
        ["domain", "added", "gain", "predicted"],
        "llrr",
        rows,
    )


def data_sets(runs: Runs) -> Table:
    """What each domain consists of."""
    names = ("users", "items", "events", "valid_rows", "test_rows")
    rows = [
        [each["name"], domain["name"], *(plain(domain.get(name)) for name in names), _density(domain)]
        for each in runs.data
        for domain in each["domains"]
    ]
    columns = ["data", "domain", "users", "items", "events", "validation rows", "test rows", "density"]
    return table("Data", columns, "llrrrrrr", rows)


def sources(runs: Runs) -> Table:
    """Where the data are from and how they were divided."""
    rows = []
    for each in runs.data:
        source = each.get("dataset") or each.get("source") or ""
        split = ", ".join(f"{key}={value}" for key, value in (each.get("split") or {}).items())
        where = source if isinstance(source, str) else ", ".join(source)
        rows.append(
            [each["name"], where, split, plain(each.get("users")), str(each.get("fingerprint", ""))[:12]]
        )
    columns = ["data", "from", "split", "users in all", "fingerprint"]
    return table("Sources", columns, "lllrl", rows, "Fingerprint: the beginning of the SHA-256 of all parts.")


def leaks(runs: Runs) -> Table:
    """What methods reach that were trained on shuffled labels: it must be chance."""
    names = ("data", "label", "domain", "metric", "pairs", "mean", "chance", "z", "p")
    rows = [
        [data, label, domain, metric.upper(), plain(pairs), *map(metric_value, values), effect(z), p_value(p)]
        for data, label, domain, metric, pairs, *values, z, p in runs.leaks.select(names).rows()
    ]
    columns = ["data", "method", "domain", "metric", "pairs", "mean", "chance", "z", "p"]
    return table("Trained on shuffled labels", columns, "llllrrrrr", rows)


def shared_users(runs: Runs) -> Table:
    """How many users each pair of domains has in common."""
    rows = []
    for each in runs.data:
        shared = each.get("shared_users") or {}
        pairs = permutations([domain["name"] for domain in each["domains"]], 2)
        values = [(a, b, shared[f"{a}|{b}"]) for a, b in pairs if f"{a}|{b}" in shared]
        rows += [[each["name"], a, b, plain(count)] for a, b, count in values]
    return table("Users in common", ["data", "domain", "and", "users"], "lllr", rows)


def methods(runs: Runs) -> Table:
    """What stands behind each label."""
    rows = [
        [each["label"], each.get("name", ""), _settings(each.get("settings") or {}), _choice(each)]
        for each in runs.spec["methods"]
    ]
    return table("Methods", ["label", "method", "settings given", "choice"], "llll", rows)


def settings(runs: Runs) -> Table:
    """What was really fitted, after any choice on validation data; seeds with the same settings together."""
    import polars as pl

    values = runs.settings.group_by("data", "label", "settings", maintain_order=True).agg(pl.col("seed"))
    rows = [
        [data, label, joined([*map(plain, seeds)], 9), text] for data, label, text, seeds in values.rows()
    ]
    return table("Settings of every fit", ["data", "method", "seeds", "settings"], "llll", rows)


def versions(runs: Runs) -> Table:
    """The environment, as the benchmark noted it."""
    rows = [[str(name), plain(value)] for name, value in runs.environment.items() if name != "command"]
    return table("Versions and machine", ["what", "value"], "ll", rows)


def _signed(row: Record) -> str:
    return "" if row["predicted"] is None else f"{row['predicted']:+.4g}"


def _density(domain: Values) -> str:
    return "" if domain.get("density") is None else f"{100 * domain['density']:.3f} %"


def _settings(settings: Values) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "defaults"


def _choice(method: Values) -> str:
    """How the settings and what is served were chosen."""
    parts: list[tuple[object, Callable[[object], str]]] = [
        (method.get("guard"), lambda _: "guarded"),
        (method.get("trials"), "{} trials on validation data".format),
        (method.get("seconds"), "{:g} s on validation data".format),
    ]
    return joined([say(value) for value, say in parts if value])


def _words(name: str) -> str:
    return name.replace("_", " ")
