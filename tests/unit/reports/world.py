"""A made-up benchmark folder in exactly the format that ``landbridge benchmark`` writes."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from landbridge.core.files import write_json
from landbridge.core.rng import generator
from landbridge.evaluation.segments import LABELS
from landbridge.evaluation.significance import holm

SPEC = """# gains of -1 % are < 5 %
seeds = [1, 2, 3]
metrics = ["ndcg@10", "hr@10"]
by = ["domain", "activity", "duplicate"]
reference = "separate ALS"

[[data]]
name = "shops"
dataset = "shops"
split = {kind = "last", seed = 0}
candidates = [0, 999]

[[data]]
name = "a-b"
source = ["a.csv", "b.csv"]
split = {kind = "random", seed = 0}
candidates = [999]

[[methods]]
label = "separate ALS"
name = "ials"
settings = {sharing = "separate"}

[[methods]]
label = "popularity"
name = "popularity"

[[methods]]
label = "CDIMF"
name = "cdimf"
settings = {factors = 32}
trials = 20

[[methods]]
label = "CDIMF, guarded"
name = "cdimf"
guard = true
"""
DOMAINS = {
    "shops": ["DVDs", "Ciao Cafe", "Beauty", "Books", "Food & Drink", "Internet"],
    "a-b": ["a|1", "b_2"],
}
PROTOCOLS = {"shops": ["full", "1+999"], "a-b": ["1+999"]}
LABELLED = ["separate ALS", "popularity", "CDIMF", "CDIMF, guarded"]
LIFT = {"separate ALS": 0.0, "popularity": -0.12, "CDIMF": 0.16, "CDIMF, guarded": 0.2}
HURT = {("CDIMF", "Beauty"): -0.3, ("popularity", "Internet"): 0.5}  # gains of whole domains
GROUPS = ("domain", "activity", "duplicate")
USERS = {"all": 4000, "0": 1500, "1-2": 1000, "3-5": 700, "6-10": 400, "11-30": 300, "31+": 60}
REFERENCE = "separate ALS"


def write(folder: Path, missing: tuple[tuple[str, str, int], ...] = ()) -> Path:
    """The benchmark of ``SPEC``, without the cells ``missing`` (their figures stay)."""
    folder.mkdir(parents=True)
    (folder / "spec.toml").write_text(SPEC)
    write_json(folder / "environment.json", _environment())
    for name, domains in DOMAINS.items():
        write_json(folder / "data" / f"{name}.json", _data(name, domains))
    for data, label, seed in product(DOMAINS, LABELLED, (1, 2, 3)):
        if (data, label, seed) not in missing:
            _cell(folder, data, label, seed)
    _figures(folder)
    return folder


def write_transfer(folder: Path) -> None:
    """Measured and predicted gains of every pair of domains of the first data set."""
    rng = generator(0, "world", "transfer")
    pairs = [(source, target) for source, target in product(DOMAINS["shops"], repeat=2) if source != target]
    gain = rng.normal(4, 8, len(pairs))
    table = pl.DataFrame(
        {
            "data": "shops",
            "source": [source for source, _ in pairs],
            "target": [target for _, target in pairs],
            "gain": gain,
            "low": gain - 5,
            "high": gain + 5,
            "predicted": 0.005 * gain + rng.normal(0, 0.02, len(pairs)),
        }
    )
    table.write_csv(folder / "transfer.csv")


def _environment() -> dict[str, Any]:
    versions = {
        "landbridge": "0.1.0",
        "python": "3.11.9",
        "numpy": "2.1.0",
        "polars": "1.20.0",
        "numba": "0.61.0",
    }
    return versions | {
        "platform": "Linux x86_64",
        "cores": 8,
        "command": "landbridge benchmark shops.toml --out runs/bench",
    }


def _data(name: str, domains: list[str]) -> dict[str, Any]:
    told = [
        {
            "name": domain,
            "users": 6000 - 500 * place,
            "items": 1200 + 300 * place,
            "events": 50_000 - 6000 * place,
            "density": 0.0071 - 0.001 * place,
            "valid_rows": 4000,
            "test_rows": 4000,
            "activity": {
                "1-2": {"users": 3 * (6000 - 500 * place) // 4, "events": 6000 - 500 * place},
                "31+": {"users": (6000 - 500 * place) // 4, "events": 44_000 - 5500 * place},
            },
        }
        for place, domain in enumerate(domains)
    ]
    described = {"name": name, "dataset": name, "fingerprint": "f" * 16, "split": {"kind": "last", "seed": 0}}
    pairs = {f"{a}|{b}": 1234 for a, b in pairwise(domains)}
    return described | {"domains": told, "shared_users": pairs, "users": 9000}


def _cell(folder: Path, data: str, label: str, seed: int) -> None:
    slug = "".join(letter if letter.isalnum() else "-" for letter in label.lower())
    path = folder / "cells" / data / f"{slug}-{'0' * 16}" / str(seed)
    guard = label.endswith("guarded")
    decision = _decision(data, seed) if guard else None
    write_json(path / "log.json", decision if guard else _log(label, seed))
    coverage = [
        {"domain": domain, "items": 400, "catalogue": 1200, "coverage": 0.31 + 0.01 * seed, "gini": 0.8}
        | {"protocol": p}
        for p, domain in product(PROTOCOLS[data], DOMAINS[data])
    ]
    write_json(
        path / "cost.json", {"fit_seconds": 1.0, "evaluate_seconds": 1.0, "peak_mib": 1.0, "finished": ""}
    )
    about = {"data": data, "label": label, "method": "cdimf", "settings": {}, "guard": guard, "seed": seed}
    write_json(
        path / "cell.json", about | {"protocols": PROTOCOLS[data], "decision": decision, "coverage": coverage}
    )


def _log(label: str, seed: int) -> list[dict[str, Any]]:
    if label == "popularity":
        return []
    rng = generator(seed, "world", label)
    top = 0.046 if label == "CDIMF" else 0.04
    records = []
    for epoch in range(12):
        record: dict[str, Any] = {
            "epoch": epoch,
            "valid": top * (1 - np.exp(-0.4 * (epoch + 1))) + rng.normal(0, 3e-4),
        }
        if label == "CDIMF":
            record |= {
                "gap": float(2 * 0.5**epoch),
                "shift": float(0.6**epoch),
                "rho": 0.1,
                "note": "text is left out",
            }
            record["temperature"] = {
                "0": 0.3 - 0.01 * epoch,
                "1-2": 0.25 - 0.008 * epoch,
                "31+": 0.1 + 0.001 * epoch,
            }
        records.append(record)
    if label == "CDIMF":
        records.append({"closing_rounds": 30 + seed, "gap": 9e-6, "worst": float("inf")})
        records[-1].pop("worst")
        records.append({"taste_by_activity": _taste(seed)})
    return records


def _taste(seed: int) -> dict[str, dict[str, float]]:
    """Each group's mean is a tenth of its place and the seed's hundredths; seed 1 has no middle group."""
    groups = ["1", "2", "3-5", "26+"]
    people = dict(zip(groups, (24_000, 9_990, 800, 7), strict=True))
    return {
        group: {"mean": 0.1 * place + 0.01 * seed, "sd": 0.02 * seed, "users": people[group] + seed - 2}
        for place, group in enumerate(groups, 1)
        if (seed, group) != (1, "3-5")
    }


def _decision(data: str, seed: int) -> list[dict[str, Any]]:
    rng = generator(seed, "world", "decision", data)
    decisions = []
    for place, (domain, group) in enumerate(product(DOMAINS[data], LABELS["activity"])):
        share = round(float(rng.uniform(0.3, 1)), 2) if place % 5 else 0.0
        weights = {"alone": 0.6 * (1 - share), "popularity": 0.4 * (1 - share), "cdimf": share}
        weights = (
            {member: round(weight, 6) for member, weight in weights.items() if weight}
            if share
            else {"alone": 1.0}
        )
        told = {"domain": domain, "group": group, "pairs": 100, "weights": weights, "simple": "alone"}
        decisions.append(
            told
            | {"estimate": 0.05, "simple_estimate": 0.048, "lower": 0.001, "protected": not share}
            | {"members": {"alone": 0.048, "cdimf": 0.047}}
        )
    return decisions


def _figures(folder: Path) -> None:
    results, comparisons = [], []
    for data, metric in product(DOMAINS, ("ndcg@10", "hr@10")):
        for protocol, by in product(PROTOCOLS[data], GROUPS):
            family = _family(data, metric, protocol, by)
            results += [row for row, _ in family]
            against = [row for row, _ in family if row["label"] != REFERENCE]
            p_holm = holm(np.array([p for row, p in family if row["label"] != REFERENCE]))
            comparisons += _compared(against, family, p_holm)
    pl.DataFrame(results).drop("base").write_csv(folder / "results.csv")
    pl.DataFrame(comparisons).write_csv(folder / "comparisons.csv")
    rows = [
        (data, label, seed, seconds * (1 + 0.05 * seed), 3.5, 300.0 + 10 * seed)
        for data, (label, seconds), seed in product(
            DOMAINS, zip(LABELLED, (1.6, 0.01, 39.0, 44.0), strict=True), (1, 2, 3)
        )
    ]
    columns = ["data", "label", "seed", "fit_seconds", "evaluate_seconds", "peak_mib"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / "costs.csv")


def _family(data: str, metric: str, protocol: str, by: str) -> list[tuple[dict[str, Any], float]]:
    rows = []
    for label, domain, (place, segment) in product(LABELLED, DOMAINS[data], enumerate(LABELS[by])):
        rng = generator(7, "world", data, label, metric, protocol, domain, segment)
        base = 0.03 + 0.012 * DOMAINS[data].index(domain) + (0.1 if protocol != "full" else 0)
        base *= (2.2 if metric == "hr@10" else 1) * (1 - 0.06 * place)
        lift = (
            HURT.get((label, domain), LIFT[label] + rng.normal(0, 0.08) - 0.05 * place)
            if LIFT[label]
            else 0.0
        )
        users = USERS.get(segment, 500)
        error = base * 1.4 / np.sqrt(users)
        mean = base * (1 + lift)
        p = float(min(1.0, np.exp(-0.5 * (lift * base / error * 1.6) ** 2))) if lift else 1.0
        row = {"data": data, "label": label, "by": by, "domain": domain, "segment": segment, "metric": metric}
        row |= {"protocol": protocol, "sampled": protocol != "full", "mean": mean, "low": mean - 1.96 * error}
        rows.append((row | {"high": mean + 1.96 * error, "users": users, "rows": users, "base": base}, p))
    return rows


def _compared(
    against: list[dict[str, Any]], family: list[tuple[dict[str, Any], float]], p_holm: Any
) -> list[dict[str, Any]]:
    p_values = [p for row, p in family if row["label"] != REFERENCE]
    rows = []
    for row, p, corrected in zip(against, p_values, p_holm, strict=True):
        difference, width = row["mean"] - row["base"], (row["high"] - row["mean"]) * 0.6
        rows.append(
            {"data": row["data"], "label": row["label"], "reference": REFERENCE}
            | {key: row[key] for key in ("by", "domain", "segment", "metric", "protocol", "sampled", "users")}
            | {"a": row["mean"], "b": row["base"], "difference": difference}
            | {"low": difference - width, "high": difference + width}
            | {"gain_percent": 100 * difference / row["base"], "effect_size": difference / width / 10}
            | {
                "p": p,
                "p_holm": float(corrected),
                "family": " | ".join((row["data"], row["metric"], row["by"])),
            }
            | {"power_note": "few users: only large differences show" if row["users"] < 100 else None}
        )
    return rows
