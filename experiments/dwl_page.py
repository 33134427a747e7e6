"""The pages of experiments/dwl.py, from the finished cells of its benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from experiments.benches import Results, compared, finished, seconds, spread
from experiments.common import markdown, over_domains, page
from landbridge.data.splitting.holdout import ACROSS, FULL
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.segments import with_segment
from landbridge.evaluation.significance import Comparison, compare
from landbridge.studies.ablation.weight_tables import group_by_sparsity

METRICS = ("ndcg@10", "recall@10")
CLAIMS = (
    ("DWL", "SASRec"),
    ("DWL", "joined ALS"),
    ("DWL", "generic"),
    ("fixed", "generic"),
    ("DWL", "DWL, frequency"),
    ("DWL", "DWL, entropy"),
    ("DWL, from 1", "DWL, from 1, every epoch"),
    ("DWL", "DWL, literal"),
)
SYSTEMS = 4  # the first so many claims are about these
HOME = {"40 %": ("40-50 %", "50-60 %", "60-100 %"), "50 %": ("50-60 %", "60-100 %"), "60 %": ("60-100 %",)}
HALF = "50 %"


def dwl_page(name: str, runs: Sequence[Path], sparse: Sequence[str]) -> None:
    """docs/results/dwl-NAME.md."""
    results = Results.read(*runs)
    labels = list(results.evaluations)
    reported = " and ".join(f"`experiments/dwl/{run.name}.toml`" for run in runs)
    parts = [
        f"{reported}; settings from 2,000 validation users at most, without weights. One list over "
        "all domains, every user's latest event; mean ± sd over seeds. Sparsest quartile of domains: "
        f"{', '.join(sparse)}.",
    ]
    for metric in METRICS:
        parts.append(f"## {metric.upper()}\n\n{_parts(results, labels, metric, sparse)}")
    parts += [f"## By domain, {METRICS[0].upper()}\n\n" + _domains(results, labels)]
    parts += [
        "## Comparisons\n\nWith the seeds that both have: all users, those of the sparsest quartile, the "
        "others.\n\n" + compared(_evaluated(results, sparse, CLAIMS))
    ]
    own = _evaluated(results, sparse, CLAIMS[:SYSTEMS], protocol=FULL)
    parts += [
        f"## Each domain's own list, {METRICS[0].upper()}\n\nThe same targets, ranked among the items of "
        "their domain alone: here no domain can take another's places.\n\n"
        f"{_parts(results, labels, METRICS[0], sparse, FULL)}\n\n{compared(own)}"
    ]
    parts += [
        f"## Users of the domain, {METRICS[0].upper()}\n\nThose with such a share of their known "
        f"events in the target's domain.\n\n{_homes(results, labels, sparse)}\n\nFrom {HALF} on:\n\n"
        + compared(_evaluated(results, sparse, CLAIMS[:SYSTEMS], HOME[HALF]))
    ]
    parts += ["## What lists are like\n\n" + _variety(runs, labels)]
    parts += ["## Costs\n\n" + _costs(results, labels)]
    page(f"dwl-{name}", f"DWL on {name}", parts, f"dwl {name}")


def _cut(evaluation: Evaluation, domains: Sequence[str] | None, inside: bool = True) -> Evaluation:
    """The rows of some domains (or of all others), as one."""
    if domains is not None:
        own = pl.col("domain").is_in(list(domains))
        evaluation = replace(evaluation, rows=evaluation.rows.filter(own if inside else ~own))
    return over_domains(evaluation)


def _mean(evaluation: Evaluation, metric: str) -> float:
    return float(next(iter(evaluation.means(metric).values()))) if len(evaluation.rows) else float("nan")


def _parts(
    results: Results, labels: Sequence[str], metric: str, sparse: Sequence[str], protocol: str = ACROSS
) -> str:
    rows = []
    for label in labels:
        own = results.evaluations[label][protocol].values()
        reported: dict[str, Any] = {"model": label, "seeds": len(own)}
        reported["all"] = spread([_mean(_cut(each, None), metric) for each in own])
        reported["sparsest quartile"] = spread([_mean(_cut(each, sparse), metric) for each in own])
        reported["other domains"] = spread([_mean(_cut(each, sparse, inside=False), metric) for each in own])
        rows.append(reported)
    return markdown(rows)


def _homes(results: Results, labels: Sequence[str], sparse: Sequence[str]) -> str:
    rows = []
    for label in labels:
        own = results.evaluations[label][ACROSS].values()
        reported: dict[str, Any] = {"model": label}
        for part, inside in (("sparsest", True), ("others", False)):
            for share, segments in HOME.items():
                cuts = [_cut(_with_share(each, segments), sparse, inside) for each in own]
                users = f"{part}, ≥ {share} ({len(cuts[0].rows):,} users)"
                reported[users] = spread([_mean(each, METRICS[0]) for each in cuts])
        rows.append(reported)
    return markdown(rows)


def _with_share(evaluation: Evaluation, segments: Sequence[str]) -> Evaluation:
    """The rows of users with such shares of their events in the target's domain."""
    rows = with_segment(evaluation.rows, "event_share").filter(pl.col("segment").is_in(segments))
    return replace(evaluation, rows=rows.drop("segment").with_columns(pl.col("domain").cast(pl.String)))


def _domains(results: Results, labels: Sequence[str]) -> str:
    rows = []
    for label in labels:
        reported = results.spread(label, ACROSS, METRICS[0])
        rows.append(
            {"model": label, **{key.split("|")[0]: text.split(" ±")[0] for key, text in reported.items()}}
        )
    return markdown(rows)


def _evaluated(
    results: Results,
    sparse: Sequence[str],
    claims: Sequence[tuple[str, str]],
    segments: Sequence[str] | None = None,
    protocol: str = ACROSS,
) -> list[Comparison]:
    """The claims that have results: over all users, or those with such shares of their events there."""
    found = []
    for one, other in claims:
        if not {one, other} <= set(results.evaluations):
            continue
        both = set(results.evaluations[one][protocol]) & set(results.evaluations[other][protocol])
        pair = [results.evaluation(label, protocol, both) for label in (one, other)]
        if segments is not None:
            pair = [_with_share(each, segments) for each in pair]
        a, b = (group_by_sparsity(each, tuple(sparse)) for each in pair)
        found.append(compare(a, b, METRICS[0]))
    return found


def _variety(runs: Sequence[Path], labels: Sequence[str]) -> str:
    from landbridge.core.files import read_json

    rows: dict[str, list[dict[str, Any]]] = {}
    for path in finished(*runs):
        cell = read_json(path)
        for reported in cell["variety"]:
            rows.setdefault(cell["label"], []).append(reported)
    return markdown(
        [
            {
                "model": label,
                "interest entropy@50": spread([reported["entropy"] for reported in rows[label]]),
                "P90 coverage@10": spread([reported["p90_coverage"] for reported in rows[label]]),
                "coverage@10": spread([reported["coverage"] for reported in rows[label]]),
            }
            for label in labels
        ]
    )


def _costs(results: Results, labels: Sequence[str]) -> str:
    rows = []
    for label in labels:
        epochs = max(len(results.logs[label][0]), 1)
        peak = float(np.max([cost["peak_mib"] for cost in results.costs[label]]))
        fit = seconds(results, label)
        rows.append(
            {"model": label, "epochs": epochs, "seconds": fit, "s / epoch": fit / epochs, "peak MiB": peak}
        )
    return markdown(rows)
