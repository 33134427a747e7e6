"""Cells that are computed once, choices on validation, and pages of results."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds, recommended_share
from landbridge.models.base import Method
from landbridge.models.mixture import Mixture
from landbridge.selection.guard import decide, mixture_of
from landbridge.training.options import FitOptions
from landbridge.version import __version__

CELLS = Path("runs/experiments")
PAGES = Path("docs/results")
SEEDS = (15, 16, 17)
M = TypeVar("M", bound=Method)


def selected_studies(about: str | None, names: Iterable[str]) -> tuple[list[str], int]:
    """The command line of an experiment on several data sets: which ones (all by default), and processes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(names), help="data sets, all by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    chosen = parser.parse_args()
    return chosen.names, chosen.jobs


def root() -> Path:
    """Where the real data are."""
    return Path(os.environ["LANDBRIDGE_DATA"])


def digest(identity: Any) -> str:
    """What names a result by all that it depends on: the first digits of a hash of its JSON."""
    text = json.dumps(identity, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def cell(method: Method, holdout: Holdout, seed: int, part: str) -> tuple[Evaluation, dict[str, Any]]:
    """Fit on what the holdout knows and evaluate; kept under a name made of all that it depends on."""
    stem = CELLS / part / digest([method.name, method.flat(), holdout.fingerprint, seed, __version__])
    if not stem.with_suffix(".json").exists():
        stem.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        fitted = method.fit(holdout.history, FitOptions(seed=seed))
        seconds = time.perf_counter() - started
        evaluation = evaluate(fitted, holdout)
        evaluation.write(stem.with_suffix(".parquet"))
        facts = {
            "seconds": seconds,
            "log": [dict(r) for r in fitted.log],
            "coverage": recommended_share(fitted, holdout, 10).to_dicts() if part == "test" else [],
        }
        write_json(stem.with_suffix(".json"), facts)
    evaluation = Evaluation.read(stem.with_suffix(".parquet"))
    return evaluation, read_json(stem.with_suffix(".json"))


def kept(name: str, key: Mapping[str, Any], made: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """A row of a page: from ``docs/results/NAME.jsonl``, else made and added there.

    So a page grows row by row, and is written without any fit where nothing is new.
    """
    for row in kept_rows(name):
        if all(row.get(part) == value for part, value in key.items()):
            return row
    row = {**key, **made()}
    with _kept_file(name).open("a") as lines:
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return row


def kept_rows(name: str) -> list[dict[str, Any]]:
    """All rows that are kept of a page."""
    file = _kept_file(name)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def kept_by_method(
    name: str,
    about: str | None,
    data: Iterable[str],
    methods: Iterable[str],
    made: Callable[[str, str], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The rows of a page with one for each data set and method, in their order; those that the command line
    names, all by default, are made where they are missing."""
    data, methods = list(data), list(methods)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", nargs="*", default=data, help="all by default")
    parser.add_argument("--methods", nargs="*", default=methods, help="all by default")
    given = parser.parse_args()
    for one, label in itertools.product(given.data, given.methods):
        print(kept(name, {"data": one, "method": label}, partial(made, one, label)), flush=True)
    return sorted(kept_rows(name), key=lambda row: (data.index(row["data"]), methods.index(row["method"])))


def _kept_file(name: str) -> Path:
    return PAGES / f"{name}.jsonl"


def grid(base: M, **values: Sequence[Any]) -> list[M]:
    """Every combination of the given settings; those of a part by dotted names."""
    names = list(values)
    return [
        base.with_settings(dict(zip(names, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


def chosen(
    methods: Iterable[Method], split: Split, metric: str = "ndcg@10", seed: int = 15
) -> tuple[Method, pl.DataFrame]:
    """The method with the best mean over domains on validation, and all trials."""
    trials, best, top = [], None, -np.inf
    for method in methods:
        evaluation, facts = cell(method, split.valid, seed, "valid")
        figure = float(np.mean(list(evaluation.means(metric).values())))
        trials.append({**method.flat(), "valid": figure, "seconds": facts["seconds"]})
        print(
            f"{method.name} {_changed(method)} valid {metric} {figure:.4f} {facts['seconds']:.1f} s",
            flush=True,
        )
        if figure > top:
            best, top = method, figure
    assert best is not None
    return best, pl.DataFrame(trials)


def kept_blend(
    path: Path,
    methods: Mapping[str, Method],
    fitted: Callable[[], Mapping[str, Any]],
    valid: Holdout,
    simple: Sequence[str],
    seed: int,
) -> Mixture:
    """The guard's blend by NDCG@10 on validation, decided once for these pairs and kept in ``path``.

    ``fitted``: their models on what ``valid`` knows; ``simple``: those that use one domain at a time.
    """
    kept = read_json(path) if path.exists() else {}
    if kept.get("pairs") != valid.fingerprint:
        decisions = decide(fitted(), valid, FitOptions(seed), "ndcg@10", simple)
        kept = {"pairs": valid.fingerprint, "mixture": asdict(mixture_of(methods, decisions))}
        write_json(path, kept)
    return Mixture.from_settings(kept["mixture"])


def refitted(
    method: Method, split: Split, seeds: Sequence[int] = SEEDS
) -> Iterator[tuple[Evaluation, dict[str, Any]]]:
    """The method refitted on train and validation, on test, once per seed."""
    for seed in seeds:
        yield cell(method, split.test, seed, "test")


def evaluated(method: Method, split: Split, name: str) -> Evaluation:
    """The method refitted and tested once per seed, as one evaluation called ``name``."""
    evaluations = (evaluation for evaluation, _ in refitted(method, split))
    return replace(over_seeds(dict(zip(SEEDS, evaluations, strict=True))), name=name)


def tested(method: Method, split: Split, name: str) -> Evaluation:
    """As :func:`evaluated`, of a method without a random start once."""
    seeds = SEEDS if method.has_epochs else SEEDS[:1]
    evaluations = (evaluation for evaluation, _ in refitted(method, split, seeds))
    return replace(over_seeds(dict(zip(seeds, evaluations, strict=True))), name=name)


def over_domains(evaluation: Evaluation) -> Evaluation:
    """The same pairs as if the catalogue were one, every (user, domain) drawn on its own."""
    rows = evaluation.rows.with_columns(
        user=pl.col("user").cast(pl.Int64) * 64 + pl.col("domain").rank("dense").cast(pl.Int64),
        domain=pl.lit("all domains"),
    )
    return replace(evaluation, rows=rows)


def seed_means(evaluations: Sequence[Evaluation], metric: str) -> dict[str, tuple[float, float]]:
    """Per domain the mean and standard deviation over seeds."""
    values = [evaluation.means(metric) for evaluation in evaluations]
    return {
        name: (float(np.mean(v := [x[name] for x in values])), float(np.std(v, ddof=min(1, len(v) - 1))))
        for name in values[0]
    }


def settings_text(method: Method) -> str:
    """Name and settings that differ from the defaults."""
    return f"`{method.name}` {_changed(method)}"


def _changed(method: Method) -> str:
    return ", ".join(f"{k}={_value(v)}" for k, v in method.changed().items()) or "defaults"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def intervals(
    evaluated: Mapping[str, Evaluation], metrics: Sequence[str], head: str = "model"
) -> list[dict[str, Any]]:
    """A row per evaluation, metric and domain, with an interval over users. ``head``: of the first column."""
    return [
        {
            head: name,
            "domain": row["domain"],
            "metric": row["metric"],
            "mean": row["mean"],
            "95 %": f"[{row['low']:.4f}, {row['high']:.4f}]",
            "users": row["users"],
        }
        for name, evaluation in evaluated.items()
        for row in evaluation.summary(metrics).iter_rows(named=True)
    ]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; floats with four digits."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        lines.append("| " + " | ".join(_cell_text(row.get(head, "")) for head in heads) + " |")
    return "\n".join(lines)


def _cell_text(value: Any) -> str:
    return (
        f"{value:.4f}".replace("0.", ".", 1)
        if isinstance(value, float) and abs(value) < 1
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )


def page(name: str, title: str, parts: Iterable[str], made_by: str | None = None) -> None:
    """Write ``docs/results/NAME.md``; ``made_by``: experiment and arguments, NAME itself by default."""
    PAGES.mkdir(parents=True, exist_ok=True)
    command = f"Made by `python -m experiments.{made_by or name}`, landbridge {__version__}."
    (PAGES / f"{name}.md").write_text("\n\n".join([f"# {title}", command, *parts]) + "\n")
