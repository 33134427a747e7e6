"""The page of ``experiments.default``, made of the rows that are kept beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from experiments.common import SEEDS, markdown, page
from experiments.rows import Study, studies
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.significance import compare_over_domains, holm
from landbridge.selection.auto import DEFAULT

NAME, METRIC, AUTO = "default", "ndcg@10", "auto"
VERSION_0_1 = {  # NDCG@10 of its auto, a mean over pairs and three seeds, from its own pages of results
    "food-kitchen, last per domain": 0.0160,
    "movielens-1m, last per domain": 0.2935,
    "ciao, last per domain": 0.0454,
    "sport-cloth, 1 + 999": 0.2288,
}


def main() -> None:
    """Write the page of every published study."""
    done = [replace(study, rows=with_metric(study.rows)) for study in studies(NAME)]
    rivals = ", ".join(done[0].facts["rivals"])
    parts = [
        f"{METRIC.upper()} on test. Every candidate is tuned on validation data in the default budget of "
        f"`landbridge fit` (at most as many trials each as its section says, within {DEFAULT.seconds:g} s, "
        f"two cores; the rivals {rivals}, which are no candidates, with the same trials and seconds each), "
        f"then fitted with {len(SEEDS)} seeds; `auto` is the blend that the default serves. Intervals (95 %) "
        "and p by a bootstrap over users, with all their domains, and seeds; Holm over each table. In "
        "general the split is leak-free: one event per user, the latest, is held out, so nothing later is "
        "known of that user. `last per domain` holds out the last event of every user and domain, so that a "
        "joint model knows later events elsewhere. `python -m experiments.default_page` makes this page of "
        "the rows in `rows/default`.",
        markdown(_overview(done)),
        *(_section(study) for study in done),
    ]
    page(NAME, "The default beside its candidates", parts)


def with_metric(rows: pl.DataFrame, metric: str = METRIC) -> pl.DataFrame:
    """Rows of pairs with the metric of each as ``value``."""
    value = Metric.parse(metric).per_pair(rows["above"].to_numpy(), rows["ties"].to_numpy())
    return rows.with_columns(value=pl.Series(value))


def _overview(done: list[Study]) -> list[dict[str, Any]]:
    records = []
    for study in done:
        values, facts = study.rows, study.facts
        means = means_over_domains(values, [])
        best = _best(values)
        over_pairs = float(values.filter(pl.col("model") == AUTO)["value"].mean())
        records.append(
            {
                "data": facts["name"],
                "popularity": means["popularity"],
                "best single": f"{best} {means[best]:.4f}",
                AUTO: means[AUTO],
                "gain": f"{100 * (means[AUTO] / means[best] - 1):+.1f} %",
                "over pairs": over_pairs,
                "auto of 0.1, over pairs": VERSION_0_1.get(facts["name"], ""),
                "search and choice, s": round(sum(facts["seconds"].values())),
            }
        )
    return records


def means_over_domains(values: pl.DataFrame, by: list[str]) -> dict[Any, float]:
    """Model (and group) -> the mean over domains of the means over pairs."""
    per_domain = values.group_by(["model", *by, "domain"], maintain_order=True).agg(pl.col("value").mean())
    whole = per_domain.group_by(["model", *by], maintain_order=True).agg(pl.col("value").mean())
    return {
        row[0] if not by else row[:-1]: row[-1] for row in whole.select("model", *by, "value").iter_rows()
    }


def _best(values: pl.DataFrame) -> str:
    means = means_over_domains(values, [])
    return [label for label in from_worst(means) if label != AUTO][-1]


def from_worst(means: Mapping[str, float]) -> list[str]:
    # rounded: what is equal but for the last bits stays in the order of the names
    return sorted(means, key=lambda label: (round(means[label], 9), label))


def _section(study: Study) -> str:
    values, facts = study.rows, study.facts
    domains = values["domain"].unique(maintain_order=True).to_list()
    means = means_over_domains(values, [])
    per_domain = {
        (model, domain): value
        for model, domain, value in values.group_by("model", "domain").agg(pl.col("value").mean()).iter_rows()
    }
    table = [
        {"model": label, "mean": means[label], **{domain: per_domain[label, domain] for domain in domains}}
        for label in from_worst(means)
    ]
    fits = sorted(facts["fit seconds"].items(), key=lambda item: item[1])
    return "\n\n".join(
        [
            f"## {facts['name']}",
            markdown(table),
            "### auto against the best single method of each domain, and of all",
            markdown(_compared(values, domains)),
            "### By activity of the user in the domain",
            markdown(_by_activity(values)),
            "Settings: " + "; ".join(f"{label} {text}" for label, text in facts["settings"].items()) + ".",
            f"Search {facts['seconds']['search']:.0f} s, at most {facts['trials']} trials of each candidate, "
            f"choice of the blend {facts['seconds']['decisions']:.0f} s; "
            "one fit on the test history (beside another seed's) "
            + ", ".join(f"{label} {s:.1f} s" for label, s in fits)
            + ".",
        ]
    )


def _compared(values: pl.DataFrame, domains: list[str]) -> list[dict[str, Any]]:
    records, p_values = [], []
    for domain in [*domains, "mean over domains"]:
        some = values if domain not in domains else values.filter(pl.col("domain") == domain)
        best = _best(some)
        row = compare_over_domains(evaluation_of(some, AUTO), evaluation_of(some, best), METRIC)
        p_values.append(row["p"])
        records.append(
            {
                "domain": domain,
                "pairs": some.filter((pl.col("model") == AUTO) & (pl.col("seed") == SEEDS[0])).height,
                "best single": best,
                "its value": row["b"],
                AUTO: row["a"],
                **difference_of(row),
            }
        )
    return with_p(records, p_values)


def comparisons(values: pl.DataFrame, pairs: Iterable[tuple[str, str]], metric: str) -> list[dict[str, Any]]:
    """A row for each pair of models: what the first has more than the second, corrected over the table."""
    records, p_values = [], []
    for label, against in pairs:
        row = compare_over_domains(evaluation_of(values, label), evaluation_of(values, against), metric)
        p_values.append(row["p"])
        records.append({"model": label, "against": against, **difference_of(row)})
    return with_p(records, p_values)


def difference_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The columns of a comparison: the difference with its interval, and the gain."""
    return {
        "difference [95 %]": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
        "gain": f"{row['gain_percent']:+.1f} %",
    }


def with_p(records: list[dict[str, Any]], p_values: list[float]) -> list[dict[str, Any]]:
    """The rows of a table with their p, corrected over the table."""
    corrected = holm(np.array(p_values))
    return [record | {"p (Holm)": f"{p:.2g}"} for record, p in zip(records, corrected, strict=True)]


def evaluation_of(values: pl.DataFrame, label: str) -> Evaluation:
    """One model's pairs of all seeds; every pair counts by itself."""
    rows = values.filter(pl.col("model") == label).drop("model", "value")
    return Evaluation(rows, label, "pairs")


def _by_activity(values: pl.DataFrame) -> list[dict[str, Any]]:
    """A row per activity group: pairs, and the mean over domains of every model."""
    labels = list(ACTIVITY)
    group = activity_group(values["activity"].to_numpy())
    values = values.with_columns(group=pl.Series([labels[place] for place in group]))
    means, whole = means_over_domains(values, ["group"]), means_over_domains(values, [])
    counts = dict(
        values.filter((pl.col("model") == AUTO) & (pl.col("seed") == SEEDS[0]))
        .group_by("group")
        .len()
        .iter_rows()
    )
    return [
        {"events": label, "pairs": counts[label]}
        | {model: means[model, label] for model in from_worst(whole)}
        for label in labels
        if label in counts
    ]


if __name__ == "__main__":
    main()
