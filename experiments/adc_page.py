"""The pages of experiments/adc.py, from the finished cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benches import Results, compared, costs, named, spread, table
from experiments.common import markdown, over_domains, page, settings_text
from landbridge.core.files import read_json
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import compare
from landbridge.models.base import Method
from landbridge.models.towers.adc import Balance
from landbridge.studies.ablation.verdict import EQUAL
from landbridge.studies.ablation.verdict import label as labelled

METRIC = "ndcg@10"
PROTOCOLS = ("full", "1+99")
# Hu et al. 2018, Table 2, NDCG@10 of leave-one-out with 99 negatives
SYSTEMS = ("BPRMF", "CMF", "MLP++", "CoNet", "SCoNet")
CONET = {
    "Mobile": (0.4891, 0.5740, 0.6683, 0.6754, 0.6887),
    "Amazon Books-Movies": (0.3016, 0.2378, 0.3175, 0.3261, 0.3424),
}


@dataclass(frozen=True, eq=False)
class Findings:
    """``run``: the folder of the data set. ``verdicts`` and ``settled`` by sharing. ``single_domain``: the
    densest domain alone, an evaluation per seed."""

    run: Path
    sharing: tuple[str, ...]
    verdicts: Mapping[str, str]
    settled: Mapping[str, Method]
    single_domain: Sequence[Evaluation]
    curves: bool


def adc_page(name: str, found: Findings) -> None:
    """docs/results/adc-NAME.md."""
    contest = Results.read(found.run / "contest")
    parts = [
        "Settings from 2,000 validation users at most, by NDCG@10 over the whole catalogue and with equal "
        "weights: "
        + "; ".join(f"{key}: {settings_text(_plain(each))}" for key, each in found.settled.items())
        + ".",
        *(_ablation(found, sharing) for sharing in found.sharing),
        *_contest(contest),
        "## The largest domain, alone\n\n" + _against_single_domain(contest, found.single_domain),
    ]
    if found.curves:
        parts.append("## α and η\n\n" + _curves(Results.read(found.run / "curves")))
    page(f"adc-{name}", f"ADC on {name}", parts, f"adc {name}")


def _plain(method: Method) -> Method:
    """Without the weights of 1 with which it was tried."""
    return replace(method, balance=Balance("none"))


def _ablation(found: Findings, sharing: str) -> str:
    results = Results.read(found.run / sharing / "bench")
    equal = labelled(sharing, EQUAL)
    labels = [equal, *(each for each in results.evaluations if each != equal)]
    parts = [f"## Sharing {sharing}", f"> {found.verdicts[sharing]}"]
    parts += [f"{_title(protocol)}:\n\n{_gains(results, labels, protocol)}" for protocol in PROTOCOLS]
    parts.append("Over epochs, mean over seeds (of what is measured, at the last layer that is shared):")
    parts.append(_gradients(results, labels))
    if searched := sorted((found.run / sharing / "grid").glob("*.json")):
        parts.append(_search(results, f"{sharing}, gradnorm rate", f"{sharing}, grid", searched))
    return "\n\n".join(parts)


def _title(protocol: str) -> str:
    return f"{METRIC.upper()}, {named(protocol)}"


def _gains(results: Results, labels: Sequence[str], protocol: str) -> str:
    """Mean ± sd per domain; a star where it differs from the first, after Holm's correction."""
    first = results.evaluation(labels[0], protocol)
    rows = []
    for each in labels:
        reported = {key.split("|")[0]: text for key, text in results.spread(each, protocol, METRIC).items()}
        means = results.evaluation(each, protocol).means(METRIC)
        if each != labels[0]:
            for row in compare(results.evaluation(each, protocol), first, METRIC).rows.iter_rows(named=True):
                reported[row["domain"]] += _star(row)
        rows.append(
            {"weighing": each.split(", ")[1], **reported, "mean": float(np.mean(list(means.values())))}
        )
    return markdown(rows) + "\n\n\\* better, † worse than equal weights, p below .05 after Holm's correction."


def _star(row: Mapping[str, Any]) -> str:
    if row["p_holm"] >= 0.05 or row["low"] <= 0 <= row["high"]:
        return ""
    return " \\*" if row["difference"] > 0 else " †"


def _gradients(results: Results, labels: Sequence[str]) -> str:
    rows = []
    for label in labels:
        logs = results.logs[label]
        if "off_target" not in logs[0][0]:
            continue
        last = logs[0][-1]
        weights = ", ".join(f"{key} {value:.2f}" for key, value in last["weight"].items())
        rows.append(
            {
                "weighing": label.split(", ")[1],
                "off target, first epoch": _mean(logs, 0, "off_target"),
                "last epoch": _mean(logs, -1, "off_target"),
                "least cosine, last epoch": float(np.min(list(last["shared_cosine"].values()))),
                "weights, seed 1": weights,
            }
        )
    return markdown(rows)


def _mean(logs: Sequence[Sequence[Mapping[str, Any]]], place: int, key: str) -> float:
    return float(np.mean([log[place][key] for log in logs]))


def _search(results: Results, way: str, grid: str, trials: Sequence[Path]) -> str:
    spent = sum(float(read_json(path)["seconds"]) for path in trials)
    seconds = {each: np.mean([cost["fit_seconds"] for cost in results.costs[each]]) for each in (way, grid)}
    return (
        f"Seconds: {len(trials)} random weightings {spent:.0f} and the fit of the best "
        f"{seconds[grid]:.1f}; a balanced fit {seconds[way]:.1f}."
    )


def _contest(results: Results) -> list[str]:
    labels = list(results.evaluations)
    ours = [label for label in labels if label.startswith("ADC")]
    others = [label for label in labels if label not in ours]
    parts = ["## Beside other systems\n\nSharing tower, settings of each from the same validation users."]
    for protocol in PROTOCOLS:
        for metric in (METRIC, "hr@10"):
            head = f"{metric.upper()}, {named(protocol)}"
            parts.append(f"{head}:\n\n{table(results, [*ours, *others], protocol, metric)}")
    for protocol in PROTOCOLS:
        adc = results.evaluation("ADC", protocol)
        reported = [
            compare(adc, results.evaluation(each, protocol), METRIC) for each in labels if each != "ADC"
        ]
        parts.append(f"ADC against each, {named(protocol)}:\n\n{compared(reported)}")
    parts += ["## CoNet's ordering\n\n" + _conet(results), "## Costs\n\n" + costs(results, labels)]
    return parts


def _conet(results: Results) -> str:
    parts = []
    for protocol in PROTOCOLS:
        evaluated = {label: over_domains(results.evaluation(label, protocol)) for label in SYSTEMS[2:]}
        reported = [
            compare(evaluated[b], evaluated[a], METRIC) for a, b in (("MLP++", "CoNet"), ("CoNet", "SCoNet"))
        ]
        parts.append(f"All domains as one, {named(protocol)}:\n\n{compared(reported)}")
    ours = {
        f"ours, {domain}": [
            results.evaluation(label, PROTOCOLS[1]).means(METRIC)[domain] for label in SYSTEMS
        ]
        for domain in results.evaluation("ADC", "full").means(METRIC)
    }
    rows: list[dict[str, Any]] = [
        {"pair": pair, **dict(zip(SYSTEMS, figures, strict=True))}
        for pair, figures in {**CONET, **ours}.items()
    ]
    parts.append("Published and ours, NDCG@10 among 99 sampled items:\n\n" + markdown(rows))
    return "\n\n".join(parts)


def _against_single_domain(results: Results, single_domain: Sequence[Evaluation]) -> str:
    domain = next(iter(single_domain[0].means(METRIC)))
    alone = replace(over_seeds(dict(enumerate(single_domain, 1))), name="alone")
    reported = []
    for label in ("ADC", "ADC, equal weights"):
        joint = results.evaluation(label, "full")
        reported.append(compare(replace(joint, rows=joint.rows.filter(domain=domain)), alone, METRIC))
    return compared(reported)


def _curves(results: Results) -> str:
    rows = []
    for label in results.evaluations:
        reported: dict[str, Any] = {"setting": label}
        for protocol in PROTOCOLS:
            values = [
                float(np.mean(list(evaluation.means(METRIC).values())))
                for evaluation in results.evaluations[label][protocol].values()
            ]
            reported[_title(protocol)] = spread(values)
        rows.append({**reported, "off target, last epoch": _mean(results.logs[label], -1, "off_target")})
    return "Mean over domains, ± sd over two seeds; the defaults are α = .5 and η = .025.\n\n" + markdown(
        rows
    )
