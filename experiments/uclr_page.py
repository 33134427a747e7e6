"""The pages of experiments/uclr.py, from the finished cells of its benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benches import Results, compared, costs, named, seconds, spread, table
from experiments.common import markdown, over_domains, page
from landbridge.core.files import read_json
from landbridge.evaluation.significance import compare

RUNGS = ("PGE", "PGE+AE", "PGE+CL-AE", "PGE+UCL-AE", "UCLR")
METRIC = "ndcg@10"
QUIET = "1-2"  # training events in the domain
AGAINST = {
    "activity": ("BPRMF", "LightGCN"),
    "domain": ("popularity", "BPRMF", "LightGCN", "separate ALS", "joined ALS", "CDIMF"),
}
# Yang et al. 2024, Table 4, HR@10 in percent: PGE, +AE, +CL-AE, +UCL-AE, UCLR per domain
PUBLISHED = {
    "Amazon Books": (34.98, 36.52, 37.41, 40.97, 42.19),
    "Amazon Movies": (59.32, 63.18, 63.74, 65.34, 66.00),
    "Amazon Electronics": (38.22, 43.99, 45.17, 45.20, 46.36),
    "Douban Books": (43.79, 44.54, 44.76, 47.80, 48.85),
    "Douban Movies": (68.26, 69.82, 71.37, 73.12, 73.28),
    "Douban Music": (43.39, 43.27, 43.41, 47.88, 48.08),
}


def uclr_page(name: str, run: Path) -> None:
    """docs/results/uclr-NAME.md."""
    results = Results.read(run)
    labels = [label for label in _order(results) if label in results.evaluations]
    protocols = list(next(iter(results.evaluations.values())))
    parts = [
        f"`experiments/uclr/{name}.toml`, settings from 2,000 validation users at most by NDCG@10, "
        f"{'full ranking' if name.endswith('-full') else 'sampled 1+99'}; mean ± sd over "
        f"{len(next(iter(results.evaluations['UCLR'].values())))} seeds. Full ranking, and one target among "
        "99 sampled items (the paper's protocol). The temperatures' objective is rgcl where nothing is said.",
    ]
    for protocol in protocols:
        for metric in ("ndcg@10", "hr@10", "mrr@10") if protocol != "full" else ("ndcg@10", "hr@10"):
            parts.append(
                f"## {metric.upper()}, {named(protocol)}\n\n" + table(results, labels, protocol, metric)
            )
    for metric in ("ndcg@20", "hr@20", "mrr@20"):
        parts.append(
            f"## {metric.upper()}, {named(protocols[-1])}\n\n" + table(results, labels, protocols[-1], metric)
        )
    parts += [
        f"## Users with {QUIET} events in the domain\n\n" + _quiet(results, labels, protocols[-1]),
        "## Rung by rung\n\n" + _ladder(results, protocols),
        "## Against the single-domain methods\n\n" + _against(results, protocols),
        "## Temperatures by activity\n\n" + _temperatures(results),
        "## Seconds of a fit, mean over seeds\n\n" + costs(results, labels),
        f"Published ladder, HR@10 in percent, beside ours ({named(protocols[-1])}):\n\n"
        + _published(results, protocols[-1]),
    ]
    page(f"uclr-{name}", f"UCLR on {name}", parts, f"uclr {name}")


def rungs_page(name: str, run: Path) -> None:
    """docs/results/uclr-NAME.md: some rungs, each against the first."""
    results = Results.read(run)
    labels = [label for label in RUNGS if label in results.evaluations]
    cell = read_json(next(run.glob("cells/*/uclr-*/*/cell.json")))
    adapted = ", ".join(f"{epochs} in {name}" for name, epochs in cell["settings"]["domain_epochs"].items())
    parts = [
        f"`experiments/uclr/{name}.toml`: settings from 2,000 validation users of this data set, three "
        f"seeds. Epochs of LoRA that validation wants: {adapted}."
    ]
    for protocol in next(iter(results.evaluations.values())):
        evaluated = [results.evaluation(label, protocol) for label in labels]
        reported = [compare(each, evaluated[0], metric=METRIC) for each in evaluated[1:]]
        parts.append(f"## {METRIC.upper()}, {named(protocol)}\n\n{table(results, labels, protocol, METRIC)}")
        parts.append(compared(reported))
    page(f"uclr-{name}", f"UCLR on {name}", parts, f"uclr {name}")


def sensitivity_page(run: Path) -> None:
    """docs/results/uclr-sensitivity.md."""
    results = Results.read(run)
    labels = list(results.evaluations)
    rows = []
    for label in labels:
        reported: dict[str, Any] = {"setting": label}
        for protocol in results.evaluations[label]:
            reported[f"{METRIC}, {named(protocol)}"] = spread(_overall(results, label, protocol))
        rows.append(
            {**reported, "adapted numbers": _trainable(results, label), "seconds": seconds(results, label)}
        )
    page(
        "uclr-sensitivity",
        "What UCLR's settings do, on Ciao",
        [
            "One setting at a time about `experiments/uclr/ciao.toml`; mean over domains, ± sd over two "
            "seeds. `mask`, `alpha` and `objective` vary UCL-AE, `rank` and `scope` the whole of UCLR.",
            markdown(rows),
        ],
        "uclr sensitivity",
    )


def _trainable(results: Results, label: str) -> int:
    """How many numbers the domains' adaptations have to learn, all together."""
    log = results.logs[label][0]
    return sum(
        {key: value for record in log for key, value in record.items() if key.endswith(" trainable")}.values()
    )


def _order(results: Results) -> list[str]:
    first = ["popularity", "BPRMF", "LightGCN", "separate ALS", "joined ALS", "CDIMF", *RUNGS]
    return [*first, *(label for label in results.evaluations if label not in first)]


def _overall(results: Results, label: str, protocol: str) -> list[float]:
    return [
        float(np.mean(list(evaluation.means(METRIC).values())))
        for evaluation in results.evaluations[label][protocol].values()
    ]


def _quiet(results: Results, labels: Sequence[str], protocol: str) -> str:
    parts = []
    for each in ("full", protocol):
        rows = []
        for label in labels:
            reported = results.spread(label, each, METRIC, "activity")
            own = {key.split("|")[0]: text for key, text in reported.items() if key.endswith(f"|{QUIET}")}
            rows.append({"model": label, **own})
        reported = markdown(rows) if len(rows[0]) > 1 else "There are no such users."
        parts.append(f"{METRIC.upper()}, {named(each)}:\n\n" + reported)
    return "\n\n".join(parts)


def _ladder(results: Results, protocols: Sequence[str]) -> str:
    parts = []
    for protocol in protocols:
        evaluated = {label: results.evaluation(label, protocol) for label in RUNGS}
        reported = [
            compare(evaluated[rung], evaluated[below], metric=METRIC) for below, rung in pairwise(RUNGS)
        ]
        reported += [
            compare(
                over_domains(evaluated[rung]), over_domains(evaluated[below]), metric=METRIC, by="activity"
            )
            for below, rung in pairwise(RUNGS)
        ]
        parts.append(f"{named(protocol)}:\n\n{compared(reported)}")
    return "\n\n".join(parts)


def _against(results: Results, protocols: Sequence[str]) -> str:
    """UCLR as settled, and on the best pretraining by the protocol that settled it."""
    best = max(
        (label for label in results.evaluations if label.startswith("UCLR")),
        key=lambda label: np.mean(_overall(results, label, protocols[-1])),
    )
    parts = []
    for protocol in protocols:
        reported = []
        for label in dict.fromkeys(("UCLR", best)):
            ours = results.evaluation(label, protocol)
            for by, others in AGAINST.items():
                reported += [
                    compare(ours, results.evaluation(other, protocol), METRIC, by) for other in others
                ]
        parts.append(f"{named(protocol)}:\n\n{compared(reported)}")
    return "\n\n".join(parts)


def _temperatures(results: Results) -> str:
    rows = []
    for label, logs in results.logs.items():
        tables = [
            record["temperature_by_activity"]
            for log in logs
            for record in log
            if "temperature_by_activity" in record
        ]
        if tables:
            groups = tables[0]
            reported = {
                group: _group([table[group] for table in tables if group in table]) for group in groups
            }
            rows.append({"events in all domains": label, **reported})
    return "Mean ± sd over users, mean over seeds.\n\n" + markdown(rows)


def _group(reported: Sequence[Mapping[str, float]]) -> str:
    return " ± ".join(f"{np.mean([each[key] for each in reported]):.3f}" for key in ("mean", "sd"))


def _published(results: Results, protocol: str) -> str:
    rows: list[dict[str, Any]] = [
        {"domain": domain, **dict(zip(RUNGS, figures, strict=True))} for domain, figures in PUBLISHED.items()
    ]
    ours = {rung: results.evaluation(rung, protocol).means("hr@10") for rung in RUNGS}
    rows += [
        {"domain": f"ours: {domain}", **{rung: 100 * ours[rung][domain] for rung in RUNGS}}
        for domain in ours["PGE"]
    ]
    return markdown(rows)
