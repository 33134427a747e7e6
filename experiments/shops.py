"""What a shop knows of dislikes: films rated 1 to 3 in MovieLens' lists, and dislikes as weak negatives.

    python -m experiments.shops                 MovieLens-1M, the page docs/results/shops.md
    python -m experiments.shops --small         two of its genres, a look; no page
    python -m experiments.shops "joined ALS"    the page with this method's dislikes as negatives alone

Ratings of 4 and 5 are likes. Before: lower ratings are forgotten. After: they are dislikes. Every fit and
every share of places is a cell of its own, kept in runs/experiments, so that a killed call goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.common import CELLS, SEEDS, evaluated, markdown, page
from landbridge.core.files import read_json, write_json
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.datasets.movielens import GENRES, movielens_genres
from landbridge.evaluation.significance import compare
from landbridge.inference import recommend
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions
from landbridge.version import __version__

PLACES = 5
METRIC = "ndcg@10"
WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
LISTS: Mapping[str, Method] = {
    "popularity": Popularity(),
    "EASE": EASE(),
    "separate ALS": IALS(),
    "joined ALS": IALS(sharing="joined"),
    "CDIMF": CDIMF(),
}
TAKES: Mapping[str, IALS | CDIMF] = {"joined ALS": IALS(sharing="joined"), "CDIMF": CDIMF()}


def disliked_places(method: Method, history: MultiDomain, known: MultiDomain) -> dict[str, float]:
    """Domain -> share of the first five places of all lists that hold a film which their user disliked.

    Lists leave out what ``history`` knows; what was disliked is in ``known``. Kept as a cell.
    """
    key = json.dumps([method.name, method.flat(), history.fingerprint, known.fingerprint, __version__])
    cell = CELLS / "shops" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not cell.exists():
        cell.parent.mkdir(parents=True, exist_ok=True)
        fitted = method.fit(history, FitOptions(seed=SEEDS[0]))
        write_json(
            cell,
            {name: _share(recommend(fitted, name, k=PLACES), known, name) for name in known.domain_names},
        )
    return dict(read_json(cell))


def _share(lists: Any, known: MultiDomain, name: str) -> float:
    user_N = known.users.index(lists["user"].to_numpy())
    item_N = known.items[name].index(lists["item"].to_list())
    return float(np.mean(known.excluded(name, seen=True).contains(user_N, item_N)))


def before_and_after(split: Split) -> list[dict[str, Any]]:
    """A row per method: the share over all domains, as it was and as it is."""
    after = split.test.history
    before = replace(after, seen={})
    rows = []
    for name, method in LISTS.items():
        shares = [disliked_places(method, history, after) for history in (before, after)]
        rows.append(
            {
                "method": name,
                "before": float(np.mean(list(shares[0].values()))),
                "largest of a genre": max(shares[0].values()),
                "after": float(np.mean(list(shares[1].values()))),
            }
        )
        print(rows[-1], flush=True)
    return rows


def weak_negatives(split: Split, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per method and weight: the metric on validation and test, the same pairs excluded everywhere."""
    rows = []
    for name in names:
        method = TAKES[name]
        plain = evaluated(method, split, name)
        for weight in WEIGHTS:
            own = evaluated(replace(method, dislike_weight=weight), split, f"{name}, {weight:g}")
            difference = compare(own, plain, METRIC).rows
            rows.append(
                {
                    "method": name,
                    "weight": weight,
                    METRIC: float(np.mean(list(own.means(METRIC).values()))),
                    "domains better": int((difference["low"] > 0).sum()),
                    "domains worse": int((difference["high"] < 0).sum()),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Both tables; the page for MovieLens-1M."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", action="store_true", help="two genres, without a page")
    parser.add_argument(
        "methods", nargs="*", default=[*TAKES], help="that learn from dislikes; all by default"
    )
    given = parser.parse_args()
    small = given.small
    data = movielens_genres(domains=("War", "Crime") if small else GENRES, low_ratings="seen")
    split = leave_latest_out(data, seed=SEEDS[0])
    shares, weights = before_and_after(split), weak_negatives(split, given.methods)
    if not small:
        page(
            "shops",
            "Dislikes: never listed, and as weak negatives",
            [
                "MovieLens-1M, genres as domains, leave-latest-out, full ranking. Ratings of 4 and 5 are "
                "likes, lower ones dislikes. Share of the first five places that hold a film which the user "
                "had rated 1 to 3, lists of all users, mean over genres. Before: low ratings are forgotten. "
                "After: they are dislikes.",
                markdown(shares),
                f"{METRIC} of {' and '.join(given.methods)} with dislikes of a weight as pairs of preference "
                "0, mean over genres and three seeds; genres whose 95 % interval of the difference to weight "
                "0 is above or below 0:",
                markdown(weights),
                "No weight raises the metric, so the default of `dislike_weight` is 0. The probable cause: a "
                "low rating is of a film that its user chose to see, and the likes that are held out are of "
                "films like it.",
                "More about shops: [countries with the same products](shops-countries.md), [diversity and "
                "the tail](diversity.md), [filters](filters.md), [a tutorial](../tutorial.md).",
            ],
            " ".join(["shops", *map(repr, given.methods)]),
        )


if __name__ == "__main__":
    main()
