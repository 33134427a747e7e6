"""A half-life of events, tuned on validation, against none.

    python -m experiments.half_life             the page docs/results/half-life.md
    python -m experiments.half_life popularity  this method alone

The methods' own setting ``half_life_days``. Leave-latest-out, full ranking. Tested with three seeds, a method
without a random start once. Every fit is a cell of its own, kept in runs/experiments, so that a killed call
goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.common import SEEDS, cell, markdown, page, refitted
from landbridge.core.types import Record
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.datasets import catalog
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import compare_over_domains
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.popularity import Popularity

METRIC = "ndcg@10"
DAYS = (0.0, 30.0, 90.0, 365.0, 1000.0)
METHODS: Mapping[str, Method] = {
    "popularity": Popularity(),
    "ALS": IALS(sharing="joined"),
    "ALS, large penalty": IALS(sharing="joined", factors=128, alpha0=0.1, reg=20.0),
    "CDIMF, large penalty": CDIMF(factors=128, alpha0=0.1, reg=20.0),
    "EASE": EASE(),
    "item-kNN": ItemKNN(),
}
DATA: Mapping[str, Callable[[], Any]] = {
    "movielens-1m": catalog.movielens_genres,
    "ciao": lambda: catalog.ciao(catalog.get("ciao")),
    "food-kitchen": lambda: catalog.food_kitchen(catalog.get("food-kitchen")),
}


def tested(method: Method, split: Split, name: str) -> Evaluation:
    """On test, once per seed where the method starts at random."""
    seeds = SEEDS if method.has_epochs else SEEDS[:1]
    evaluations = (evaluation for evaluation, _ in refitted(method, split, seeds))
    return replace(over_seeds(dict(zip(seeds, evaluations, strict=True))), name=name)


def row(data: str, label: str, split: Split) -> Record:
    """The best half-life on validation, and the test with it and without."""
    figures = {}
    for days in DAYS:
        method = METHODS[label].with_settings({"half_life_days": days})
        evaluation, _ = cell(method, split.valid, SEEDS[0], "valid")
        figures[days] = float(np.mean(list(evaluation.means(METRIC).values())))
    best = max(figures, key=lambda days: figures[days])
    tuned = METHODS[label].with_settings({"half_life_days": best})
    with_it, without = tested(tuned, split, "tuned"), tested(METHODS[label], split, "none")
    found = compare_over_domains(with_it, without, METRIC)
    return {
        "data": data,
        "method": label,
        "half-life, days": f"{best:g}" if best else "none",
        **{each.name: float(np.mean(list(each.means(METRIC).values()))) for each in (without, with_it)},
        "difference": f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]",
    }


def main() -> None:
    """A row per data set and method, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("methods", nargs="*", default=[*METHODS], help="all by default")
    methods = parser.parse_args().methods
    rows = []
    for name, made in DATA.items():
        split = leave_latest_out(made(), seed=SEEDS[0])
        for label in methods:
            rows.append(row(name, label, split))
            print(rows[-1], flush=True)
    page(
        "half-life",
        "A half-life of events against none",
        [
            f"{METRIC}, mean over domains, leave-latest-out, full ranking. The half-life is chosen on "
            f"validation from {', '.join(f'{days:g}' for days in DAYS if days)} days and none; other "
            "settings are the defaults; with a large penalty: 128 factors, alpha0 .1, reg 20. Differences "
            "of the mean over domains with 95 % intervals over users (and seeds, where a method starts at "
            "random: three).",
            markdown(rows),
        ],
        " ".join(["half_life", *methods]),
    )


if __name__ == "__main__":
    main()
