"""What a shop knows of dislikes: films rated 1 to 3 in MovieLens' lists, and dislikes as weak negatives.

    python -m experiments.shops                 MovieLens-1M, the page docs/results/shops.md
    python -m experiments.shops "joined ALS"    the page with new rows of this method alone

Ratings of 4 and 5 are likes. Before: lower ratings are forgotten. After: they are dislikes. Rows are kept in
docs/results/shops.jsonl, and every fit is a cell of its own in runs/experiments, so that a killed call goes
on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from experiments.common import SEEDS, kept, kept_rows, markdown, page, refitted
from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.datasets.movielens import movielens_genres
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import compare
from landbridge.inference import recommend
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

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
TRIED: Mapping[str, Sequence[float]] = {"joined ALS": WEIGHTS, "CDIMF": WEIGHTS[:4]}
SEEDED: Mapping[str, Sequence[int]] = {"joined ALS": SEEDS, "CDIMF": SEEDS[:1]}  # a fit takes minutes


@cache
def split() -> Split:
    """With dislikes, read once."""
    return leave_latest_out(movielens_genres(low_ratings="seen"), seed=SEEDS[0])


def disliked_places(method: Method, history: MultiDomain, known: MultiDomain) -> dict[str, float]:
    """Domain -> share of the first five places of all lists that hold a film which their user disliked.

    Lists leave out what ``history`` knows; what was disliked is in ``known``.
    """
    fitted = method.fit(history, FitOptions(seed=SEEDS[0]))
    return {name: _share(recommend(fitted, name, k=PLACES), known, name) for name in known.domain_names}


def _share(lists: Any, known: MultiDomain, name: str) -> float:
    user_N = known.users.index(lists["user"].to_numpy())
    item_N = known.items[name].index(lists["item"].to_list())
    return float(np.mean(known.excluded(name, seen=True).contains(user_N, item_N)))


def before_and_after(name: str) -> Record:
    """The share over all domains, as it was and as it is."""
    after = split().test.history
    before = replace(after, seen={})
    shares = [disliked_places(LISTS[name], history, after) for history in (before, after)]
    return {
        "before": float(np.mean(list(shares[0].values()))),
        "largest of a genre": max(shares[0].values()),
        "after": float(np.mean(list(shares[1].values()))),
    }


def weak_negatives(name: str, weight: float) -> Record:
    """The metric on test and in how many domains it differs from that of weight 0; the same pairs excluded
    everywhere."""
    own, plain = (
        _tested(name, replace(TAKES[name], dislike_weight=each), label)
        for each, label in ((weight, f"{weight:g}"), (0.0, "none"))
    )
    difference = compare(own, plain, METRIC).rows
    return {
        METRIC: float(np.mean(list(own.means(METRIC).values()))),
        "domains better": int((difference["low"] > 0).sum()),
        "domains worse": int((difference["high"] < 0).sum()),
        "seeds": len(SEEDED[name]),
    }


def _tested(name: str, method: Method, label: str) -> Evaluation:
    evaluations = (evaluation for evaluation, _ in refitted(method, split(), SEEDED[name]))
    return replace(over_seeds(dict(zip(SEEDED[name], evaluations, strict=True))), name=label)


def _kept(table: str) -> list[Record]:
    rows = [each for each in kept_rows("shops") if each["table"] == table]
    return [{name: value for name, value in each.items() if name != "table"} for each in rows]


def main() -> None:
    """Both tables and the page of all rows that are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "methods", nargs="*", default=[*TAKES], help="that learn from dislikes; all by default"
    )
    for name in LISTS:
        kept("shops", {"table": "places", "method": name}, partial(before_and_after, name))
    for name in parser.parse_args().methods:
        for weight in TRIED[name]:
            key = {"table": "weights", "method": name, "weight": weight}
            print(kept("shops", key, partial(weak_negatives, name, weight)), flush=True)
    weights = _kept("weights")
    methods = dict.fromkeys(each["method"] for each in weights)
    page(
        "shops",
        "Dislikes: never listed, and as weak negatives",
        [
            "MovieLens-1M, genres as domains, leave-latest-out, full ranking. Ratings of 4 and 5 are "
            "likes, lower ones dislikes. Share of the first five places that hold a film which the user "
            "had rated 1 to 3, lists of all users, mean over genres. Before: low ratings are forgotten. "
            "After: they are dislikes. Rows are kept in shops.jsonl.",
            markdown(_kept("places")),
            f"{METRIC} of {' and '.join(methods)} with dislikes of a weight as pairs of preference "
            "0, mean over genres and seeds; genres whose 95 % interval of the difference to weight "
            "0 is above or below 0:",
            markdown(weights),
            "No weight raises the metric, so the default of `dislike_weight` is 0. The probable cause: a "
            "low rating is of a film that its user chose to see, and the likes that are held out are of "
            "films like it. As events of a kind of their own low ratings do help: [kinds](kinds.md).",
            "More about shops: [countries with the same products](shops-countries.md), [diversity and "
            "the tail](diversity.md), [filters](filters.md), [a tutorial](../tutorial.md).",
        ],
    )


if __name__ == "__main__":
    main()
