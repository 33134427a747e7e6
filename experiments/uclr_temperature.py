"""A temperature for every user against one for all, all else equal: what UCLR's central claim rests on.

Both auto-encoders start from the same pretrained embeddings and have the same α, epochs and learning rate:
once those that ``experiments.uclr`` has chosen for one temperature, once those for a temperature per user.
Ten seeds, among 99 drawn items. A killed run continues.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from experiments.common import CELLS, markdown, page
from landbridge.data.activity import ACTIVITY
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import with_candidates
from landbridge.datasets.prepare import prepare
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.segments import with_segment
from landbridge.evaluation.significance import compare_over_domains, holm
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.popularity import Popularity
from landbridge.models.uclr.method import UCLR
from landbridge.studies.benchmark.spec import Benchmark, benchmark_spec
from landbridge.training.options import FitOptions

METRIC, CANDIDATES, SEEDS = "ndcg@10", 99, 10
DATA = ("ciao", "food-kitchen")
RUNGS = {"one temperature": "PGE+CL-AE", "one per user": "PGE+UCL-AE"}  # labels of experiments/uclr/NAME.toml
STAGES = {"one temperature": "cl", "one per user": "ucl"}
GROUPS = ("all", *ACTIVITY)
TEXT = (
    f"NDCG@10 among {CANDIDATES} drawn items, mean over domains, seeds as named, test. Both "
    "models start from the same pretrained embeddings and have the same α, epochs and learning rate, "
    "named in the first column by the rung of [uclr](uclr.md) for which they were chosen. Intervals "
    "(95 %) and p by a bootstrap over users, with all their domains, and seeds; Holm over each data "
    "set. `events`: of the user in the domain."
)


def main() -> None:
    """Measure the named data sets, all by default, and write the page of those."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=DATA, help="data sets, all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the first so many seeds")
    given = parser.parse_args()
    parts = [TEXT]
    for name in given.names:
        parts += [f"## {name}, {given.seeds} seeds", markdown(_study(name, range(1, given.seeds + 1)))]
    page("uclr-temperature", "A temperature per user, all else equal", parts, "uclr_temperature")


def _study(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    spec = settled(name)
    split = drawn_split(spec)
    found: dict[str, dict[int, Evaluation]] = {}
    for seed in seeds:
        folder = CELLS / "uclr-temperature" / name / str(seed)
        for label, evaluation in _of_seed(spec, split.test, seed, folder):
            found.setdefault(label, {})[seed] = evaluation
        print(name, seed, flush=True)
    evaluations = {label: over_seeds(each) for label, each in found.items()}
    rows = [_row(evaluations, chosen, group) for chosen in RUNGS for group in GROUPS]
    rows = [row for row in rows if row]
    for row, p in zip(rows, holm(np.array([row["p"] for row in rows])), strict=True):
        row["p"] = f"{p:.2g}"
    return rows


def settled(name: str) -> Benchmark:
    """The benchmark that ``experiments.uclr`` has made of its choices."""
    return benchmark_spec(tomllib.loads((Path(__file__).parent / "uclr" / f"{name}.toml").read_text()))


def drawn_split(spec: Benchmark) -> Split:
    """Its data, with drawn items beside every held-out one."""
    split = prepare(spec.data[0].experiment()).split
    assert split is not None
    return with_candidates(split, CANDIDATES, seed=0)


def _of_seed(spec: Benchmark, test: Holdout, seed: int, folder: Path) -> Iterator[tuple[str, Evaluation]]:
    """Label and evaluation of every model with one seed; kept once measured."""
    methods = {entry.label: entry.model().settings for entry in spec.methods}
    base: DotProductModel | None = None
    for label, settings, stage in _models(methods):
        path = folder / f"{label}.parquet"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            method, options = UCLR.from_settings({**settings, "stage": stage}), FitOptions(seed)
            base = base or _pretrained(method, test, options)
            evaluate(method.fit_on(base, options), test).write(path)
        yield label, Evaluation.read(path)
    yield "popularity", evaluate(Popularity().fit(test.history), test)


def _models(methods: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    yield "PGE", methods["PGE"], "pge"
    for chosen, rung in RUNGS.items():
        for label, stage in STAGES.items():
            yield f"{chosen}, {label}", methods[rung], stage


def _pretrained(method: UCLR, test: Holdout, options: FitOptions) -> DotProductModel:
    """The pretrained model; its settings are the same for every rung."""
    base = method.pretrainer().fit(test.history, options)
    assert isinstance(base, DotProductModel)
    return base


def _row(evaluations: Mapping[str, Evaluation], chosen: str, group: str) -> dict[str, Any]:
    own, one, popularity, pge = (
        _of_group(evaluations[label], group)
        for label in (f"{chosen}, one per user", f"{chosen}, one temperature", "popularity", "PGE")
    )
    if not len(own.rows):
        return {}
    row = compare_over_domains(own, one, METRIC)
    return {
        "settings chosen for": chosen,
        "events": group,
        "pairs": len(own.rows) // own.rows["seed"].n_unique(),
        "popularity": _mean(popularity),
        "PGE": _mean(pge),
        "one temperature": row["b"],
        "one per user": row["a"],
        "difference [95 %]": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
        "gain": f"{row['gain_percent']:+.1f} %",
        "p": row["p"],
    }


def _of_group(evaluation: Evaluation, group: str) -> Evaluation:
    by = "domain" if group == "all" else "activity"
    rows = with_segment(evaluation.rows, by).filter(pl.col("segment") == group).drop("segment")
    return Evaluation(rows, evaluation.name, evaluation.protocol)


def _mean(evaluation: Evaluation) -> float:
    return float(np.mean(list(evaluation.means(METRIC).values())))


if __name__ == "__main__":
    main()
