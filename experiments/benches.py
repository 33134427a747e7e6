"""The finished cells of a benchmark's folder, and tables of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import markdown
from landbridge.core.executors import executor_of
from landbridge.core.files import read_json
from landbridge.core.progress import Terminal
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import Comparison
from landbridge.reports.write import report
from landbridge.studies.benchmark.runner import benchmark
from landbridge.studies.benchmark.spec import benchmark_spec


def run(tables: Mapping[str, Any], file: Path, out: Path, html: Path, jobs: int) -> None:
    """The benchmark of these tables in the folder ``out``; ``file``: its spec; ``html``: its report."""
    spec = benchmark_spec(tables)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(spec.toml())
    benchmark(spec, out, executor_of(jobs), Terminal())
    report(out, html)


def finished(*runs: Path) -> list[Path]:
    """What the finished cells of benchmarks' folders tell, one folder after the other."""
    return [path for folder in runs for path in sorted(folder.glob("cells/*/*/*/cell.json"))]


@dataclass(frozen=True, eq=False)
class Results:
    """Label -> seeds' evaluations by protocol, costs and logs."""

    evaluations: Mapping[str, Mapping[str, Mapping[int, Evaluation]]]
    costs: Mapping[str, list[dict[str, Any]]]
    logs: Mapping[str, list[list[dict[str, Any]]]]

    @classmethod
    def read(cls, *runs: Path) -> Results:
        """All finished cells of benchmarks' folders, by label."""
        evaluations: dict[str, dict[str, dict[int, Evaluation]]] = {}
        costs: dict[str, list[dict[str, Any]]] = {}
        logs: dict[str, list[list[dict[str, Any]]]] = {}
        for path in finished(*runs):
            cell = read_json(path)
            label = cell["label"]
            costs.setdefault(label, []).append(read_json(path.with_name("cost.json")))
            logs.setdefault(label, []).append(read_json(path.with_name("log.json")))
            for protocol in cell["protocols"]:
                reported = Evaluation.read(path.with_name(f"evaluation-{protocol}.parquet"))
                evaluations.setdefault(label, {}).setdefault(protocol, {})[cell["seed"]] = reported
        return cls(evaluations, costs, logs)

    def evaluation(self, label: str, protocol: str, seeds: Collection[int] | None = None) -> Evaluation:
        """All seeds (or some) as one."""
        own = self.evaluations[label][protocol]
        some = {seed: each for seed, each in own.items() if seeds is None or seed in seeds}
        return replace(over_seeds(some), name=label)

    def spread(self, label: str, protocol: str, metric: str, by: str = "domain") -> dict[str, str]:
        """Domain (and group) -> mean ± sd over seeds."""
        found: dict[str, list[float]] = {}
        for evaluation in self.evaluations[label][protocol].values():
            for row in evaluation.summary([metric], by, draws=1).iter_rows(named=True):
                found.setdefault(f"{row['domain']}|{row['segment']}", []).append(row["mean"])
        return {key: spread(values) for key, values in found.items()}


def table(results: Results, labels: Sequence[str], protocol: str, metric: str) -> str:
    """Method x domain of a metric."""
    rows = []
    for label in labels:
        reported = {key.split("|")[0]: text for key, text in results.spread(label, protocol, metric).items()}
        rows.append({"model": label, **reported})
    return markdown(rows)


def costs(results: Results, labels: Sequence[str]) -> str:
    """Seconds and memory of every method."""
    rows = []
    for label in labels:
        own = results.costs[label]
        reported = {
            "fit": seconds(results, label),
            "evaluate": float(np.mean([c["evaluate_seconds"] for c in own])),
        }
        rows.append({"model": label, **reported, "peak MiB": float(np.max([c["peak_mib"] for c in own]))})
    return markdown(rows)


def seconds(results: Results, label: str) -> float:
    """Of a fit, mean over seeds."""
    return float(np.mean([cost["fit_seconds"] for cost in results.costs[label]]))


def compared(comparisons: Sequence[Comparison]) -> str:
    """Comparisons as they print themselves."""
    return "```\n" + "\n\n".join(map(str, comparisons)) + "\n```"


def named(protocol: str) -> str:
    """The protocol in words."""
    return "full ranking" if protocol == "full" else f"sampled {protocol}"


def spread(values: Sequence[float]) -> str:
    """Mean ± sd."""
    sd = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{sd}".replace("0.", ".")
