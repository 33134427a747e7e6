"""DWL as published beside our reading of it, each against the same model without weights, on every data set.

    python -m experiments.dwl_published [ciao food-kitchen movielens-1m] [--seeds 3]

"As published" is ``dwl.PUBLISHED``: its sizes, the literal map, weights of one at the start, μ = .9 every
two epochs, ten epochs of AdamW, in-batch items. "Our reading" has the settings that ``experiments.dwl`` has
chosen without weights. Every user's latest event is the test row; all items of all domains are ranked in one
list. A killed run continues.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import cell, markdown, page
from experiments.dwl import STUDIES, prepared, sparsest
from landbridge.data.splitting.holdout import Split
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.significance import compare, holm
from landbridge.models.popularity import Popularity
from landbridge.models.sequential.dwl import DWL, PUBLISHED
from landbridge.studies.ablation.weight_tables import ALL, REST, SPARSE, group_by_sparsity

METRICS, SEEDS = ("ndcg@10", "recall@10"), 3
OURS, PRINTED = "our reading", "as published"
PARTS = (SPARSE, REST, ALL)
TEXT = (
    "NDCG@10 and Recall@10 in one list over all domains, each user's latest event held out, seeds as named. "
    "Each DWL is compared with its own model without weights, so a row is about the weights alone. Intervals "
    "(95 %) and p by a bootstrap over users and seeds; Holm over each data set. The sparsest quartile is by "
    "training events. `weights` are the smallest and the largest weight of a domain in the last epoch."
)


def main() -> None:
    """Fit what is not done and write the page of the named data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(STUDIES), help="data sets, all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the first so many seeds")
    given = parser.parse_args()
    parts = [TEXT]
    for name in given.names:
        parts += [f"## {name}, {given.seeds} seeds", *_study(name, range(1, given.seeds + 1))]
    page("dwl-published", "DWL as published, and our reading", parts, "dwl_published")


def _study(name: str, seeds: Sequence[int]) -> list[str]:
    split, _ = prepared(STUDIES[name].source(name))
    niche = tuple(sparsest(split))
    popularity = evaluate(Popularity().fit(split.test.history), split.test)
    rows: list[dict[str, Any]] = []
    for label, weighed in {OURS: _ours(name), PRINTED: PUBLISHED}.items():
        generic = weighed.with_settings({"domain_weighting": "none", "schedule.signal": "static"})
        own, extent = _of_seeds(weighed, split, seeds)
        without, _ = _of_seeds(generic, split, seeds)
        rows += _compared(label, own, without, popularity, niche, extent)
        print(name, label, flush=True)
    corrected = holm(np.array([row["p"] for row in rows]))
    shown = [row | {"p": f"{p:.2g}"} for row, p in zip(rows, corrected, strict=True)]
    return [f"The sparsest quartile: {', '.join(niche)}.", markdown(shown)]


def _ours(name: str) -> DWL:
    """DWL with the settings of experiments/dwl/NAME.toml, which were chosen without weights."""
    tables = tomllib.loads((Path(__file__).parent / "dwl" / f"{name}.toml").read_text())
    (entry,) = (entry for entry in tables["methods"] if entry["label"] == "DWL")
    return DWL.from_settings(DWL.migrated(entry["settings"]))


def _of_seeds(method: DWL, split: Split, seeds: Sequence[int]) -> tuple[Evaluation, str]:
    """The evaluations of all seeds as one, and the extent of the weights in the last epoch of the first."""
    found = {seed: cell(method, split.test, seed, "across") for seed in seeds}
    weights = next(iter(found.values()))[1]["log"][-1].get("weight", {"": 1.0}).values()
    extent = f"{min(weights):.2f} to {max(weights):.2f}"
    return over_seeds({seed: evaluation for seed, (evaluation, _) in found.items()}), extent


def _compared(
    label: str,
    own: Evaluation,
    without: Evaluation,
    popularity: Evaluation,
    niche: tuple[str, ...],
    extent: str,
) -> list[dict[str, Any]]:
    """A row per metric and part of the domains."""
    one, other, usual = (group_by_sparsity(_seeded(each), niche) for each in (own, without, popularity))
    rows = []
    for metric in METRICS:
        found: Mapping[str, Mapping[str, Any]] = {
            row["domain"]: row for row in compare(one, other, metric).rows.rows(named=True)
        }
        means = usual.means(metric)
        rows += [
            _row(label, metric, part, found[part], means[part], extent) for part in PARTS if part in found
        ]
    return rows


def _row(
    label: str, metric: str, part: str, row: Mapping[str, Any], popularity: float, extent: str
) -> dict[str, Any]:
    gain = row["gain_percent"]
    return {
        "DWL": label,
        "metric": metric,
        "domains": part,
        "popularity": popularity,
        "without weights": row["b"],
        "with weights": row["a"],
        "difference [95 %]": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
        "gain": "" if gain is None else f"{gain:+.1f} %",
        "p": row["p"],
        "weights": extent,
    }


def _seeded(evaluation: Evaluation) -> Evaluation:
    """With a column of seeds, which a single evaluation lacks."""
    if "seed" in evaluation.rows.columns:
        return evaluation
    return replace(over_seeds({0: evaluation}), name=evaluation.name)


if __name__ == "__main__":
    main()
