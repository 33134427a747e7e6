"""A half-life of events, tuned on validation, against none.

    python -m experiments.half_life                the page docs/results/half-life.md
    python -m experiments.half_life --data ciao    the page with new rows of this data set alone

The methods' own setting ``half_life_days``. Leave-latest-out, full ranking. Tested with three seeds, a method
without a random start once. Rows are kept in docs/results/half-life.jsonl, and every fit is a cell of its own
in runs/experiments, so that a killed call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from experiments.common import SEEDS, cell, kept_by_method, markdown, page, tested
from landbridge.core.types import Record
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.datasets import catalog
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


@cache
def split_of(data: str) -> Split:
    """A data set, read and split once."""
    return leave_latest_out(DATA[data](), seed=SEEDS[0])


def row(data: str, label: str) -> Record:
    """The best half-life on validation, and the test with it and without."""
    split, figures = split_of(data), {}
    for days in DAYS:
        method = METHODS[label].with_settings({"half_life_days": days})
        evaluation, _ = cell(method, split.valid, SEEDS[0], "valid")
        figures[days] = float(np.mean(list(evaluation.means(METRIC).values())))
    best = max(figures, key=lambda days: figures[days])
    tuned = METHODS[label].with_settings({"half_life_days": best})
    with_it, without = tested(tuned, split, "tuned"), tested(METHODS[label], split, "none")
    found = compare_over_domains(with_it, without, METRIC)
    return {
        "half-life, days": f"{best:g}" if best else "none",
        **{each.name: float(np.mean(list(each.means(METRIC).values()))) for each in (without, with_it)},
        "difference": f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]",
    }


def main() -> None:
    """A row per data set and method, and the page of all that are kept."""
    rows = kept_by_method("half-life", __doc__, DATA, METHODS, row)
    page(
        "half-life",
        "A half-life of events against none",
        [
            f"{METRIC}, mean over domains, leave-latest-out, full ranking. The half-life is chosen on "
            f"validation from {', '.join(f'{days:g}' for days in DAYS if days)} days and none; other "
            "settings are the defaults; with a large penalty: 128 factors, alpha0 .1, reg 20. Differences "
            "of the mean over domains with 95 % intervals over users (and seeds, where a method starts at "
            "random: three). Rows are kept in half-life.jsonl.",
            markdown(rows),
        ],
        "half_life",
    )


if __name__ == "__main__":
    main()
