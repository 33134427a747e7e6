"""The page of ``experiments.rivals``, made of the rows that are kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from experiments.common import SEEDS, markdown, page
from experiments.default_page import difference_of, evaluation_of, from_worst, means_over_domains, with_p
from experiments.rows import Study, studies
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.significance import compare_over_domains

NAME, METRIC, AUTO, POPULARITY = "rivals", "ndcg@10", "auto", "popularity"
FULL, SAMPLED = PROTOCOLS = ("full", "1-99")
METRICS = {"HR": "hr@10", "NDCG": "ndcg@10", "MRR": "mrr@10"}
SIMPLE = ("popularity", "linear")  # families of models without training by steps
FEW = "1-2"  # events of a user in the domain, as in UCLR's Table 3


def main() -> None:
    """Write the page of every published study."""
    done: dict[str, dict[str, Study]] = {}
    for study in studies(NAME):
        done.setdefault(study.facts["name"], {})[study.facts["protocol"]] = study
    if not done:
        return
    facts = next(iter(done.values()))[FULL].facts
    parts = [
        f"All methods of the registry, tuned on validation data by {METRIC.upper()} with at most "
        f"{facts['trials']} trials and {facts['seconds']:g} s each (`auto`: these seconds for all of its "
        f"candidates together), fitted with {len(SEEDS)} seeds and tested once. @10, means over domains of "
        "the means over held-out pairs, in full ranking and against drawn items. Intervals (95 %) and p by a "
        "bootstrap over users, with all their domains, and seeds, against the best simple model "
        f"({' or '.join(SIMPLE)}; best on validation data), Holm over each table. Fit and score: seconds of "
        "one fit and of the full ranking of all held-out pairs, means over seeds, beside other work; peak: "
        "memory of the process, data and libraries included; numbers: those that the model has learned. "
        "`python -m experiments.rivals_page` makes this page of the rows in `rows/rivals`.",
        *(_section(name, by_protocol) for name, by_protocol in done.items()),
    ]
    page(NAME, "Every method beside its rivals", parts)


def _section(name: str, done: Mapping[str, Study]) -> str:
    facts = done[FULL].facts
    ranked = with_metrics(done[FULL].rows)
    order = [*reversed(from_worst(_means(ranked, METRIC)))]
    failed = [f"- {label}: {reason}" for label, reason in facts["failed"].items()]
    return "\n\n".join(
        [
            f"## {name}",
            markdown(_overview(order, ranked, with_metrics(done[SAMPLED].rows), facts)),
            *_compared(order, ranked, facts),
            f"### {METRIC.upper()} by domain, and of users with {FEW} events there",
            markdown(_by_domain(order, ranked)),
            "Settings: "
            + "; ".join(f"{label}: {facts['models'][label]['settings']}" for label in order)
            + ".",
            *(["Not fitted:", "\n".join(failed)] if failed else []),
        ]
    )


def with_metrics(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of pairs with a column for each metric."""
    above, ties = rows["above"].to_numpy(), rows["ties"].to_numpy()
    return rows.with_columns(
        pl.Series(name, Metric.parse(name).per_pair(above, ties)) for name in METRICS.values()
    )


def _means(values: pl.DataFrame, metric: str) -> dict[Any, float]:
    return means_over_domains(values.with_columns(value=pl.col(metric)), [])


def _overview(
    order: list[str], full: pl.DataFrame, sampled: pl.DataFrame, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    means = {
        f"{head}{suffix}": _means(values, metric)
        for suffix, values in (("", full), (" 1+99", sampled))
        for head, metric in METRICS.items()
    }
    return [
        {"method": label, "family": own["family"]}
        | {head: by_label[label] for head, by_label in means.items()}
        | {
            "trials": own["trials"],
            "search, s": round(own["search"]),
            "fit, s": f"{own['fit']:.2g}",
            "score, s": f"{own['score']:.2g}",
            "peak, MiB": round(own["peak"]),
            "numbers": f"{own['numbers']:,}",
        }
        for label in order
        for own in [facts["models"][label]]
    ]


def best_simple(models: Mapping[str, Any]) -> str:
    """The simple model with the best value on validation data."""
    simple = {label: own["valid"] for label, own in models.items() if own["family"] in SIMPLE}
    return max(simple, key=lambda label: (simple[label], label))


def _compared(order: list[str], values: pl.DataFrame, facts: Mapping[str, Any]) -> list[str]:
    """Every method against the best simple model; nothing where that stands alone."""
    simple = best_simple(facts["models"])
    plain = values.drop(METRICS.values()).with_columns(value=pl.lit(0.0))
    base, records, p_values = evaluation_of(plain, simple), [], []
    for label in order:
        if label != simple:
            row = compare_over_domains(evaluation_of(plain, label), base, METRIC)
            p_values.append(row["p"])
            records.append(
                {
                    "method": label,
                    "its value": row["a"],
                    simple: row["b"],
                    **difference_of(row),
                }
            )
    heading = f"### {METRIC.upper()} against the best simple model"
    return [heading, markdown(with_p(records, p_values))] if records else []


def _by_domain(order: list[str], values: pl.DataFrame) -> list[dict[str, Any]]:
    """A row per method: the metric in every domain, and the mean over domains of users with few events."""
    place = values.group_by("model", "domain").agg(pl.col(METRIC).mean())
    per_domain = {(model, domain): value for model, domain, value in place.iter_rows()}
    few = values.filter(pl.Series(activity_group(values["activity"].to_numpy()) == list(ACTIVITY).index(FEW)))
    means = _means(few, METRIC)
    domains = values["domain"].unique(maintain_order=True).to_list()
    return [
        {"method": label}
        | {domain: per_domain[label, domain] for domain in domains}
        | {f"{FEW} events": means.get(label, "")}
        for label in order
    ]


if __name__ == "__main__":
    main()
