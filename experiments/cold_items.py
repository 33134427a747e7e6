"""New items: Food–Kitchen with titles, 30 % of the items of both domains hidden from training.

    python -m experiments.cold_items                       the page docs/results/cold-items.md
    python -m experiments.cold_items item-kNN --seeds 1    this method alone, one of three seeds

Every event of a hidden item is held out, and ranked among all hidden items of its domain. Compared: random
order; the popularity of the known items whose titles are most alike; methods with the words of titles as
features. Warm lists: the same methods with and without features, on leave-latest-out with all items. Every
fit is a cell of its own, kept in runs/experiments, so that a killed call goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from experiments.common import CELLS, SEEDS, evaluated, markdown, page, root, settings_text
from landbridge.core.rng import generator
from landbridge.core.types import Bool, Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.significance import compare
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.training.options import FitOptions
from landbridge.version import __version__

METRIC = "ndcg@10"
SHARE = 0.3  # of the items that are hidden
ALIKE = 20  # known items whose popularity a hidden one gets
METHODS: Mapping[str, Method] = {
    "joined ALS": IALS(sharing="joined"),
    "CDIMF": CDIMF(),
    "EASE": EASE(),
    "item-kNN": ItemKNN(),
    "titles alone (item-kNN)": ItemKNN(feature_weight=1e4),
}
OFF: Mapping[str, Mapping[str, float]] = {
    "joined ALS": {"feature_reg": 1e9},
    "CDIMF": {"feature_reg": 1e9},
    "EASE": {"feature_weight": 0.0},
    "item-kNN": {"feature_weight": 0.0},
}


@cache
def data() -> MultiDomain:
    """Both domains with the words of titles; titles of items without any event are left out."""
    folder = root() / "amazon-food-kitchen"
    text = pl.col("domain", "item").cast(pl.String)
    events = pl.read_parquet(folder / "interactions.parquet").with_columns(text)
    titles = pl.read_parquet(folder / "titles.parquet").with_columns(text)
    return read(events, item_features=titles.join(events, on=("domain", "item"), how="semi"))


def hidden(seed: int) -> Holdout:
    """Without the events of a random 30 % of each domain's items with features; these are the targets."""
    whole, history, targets = data(), {}, {}
    assert whole.item_features is not None
    for name, events in whole.domains.items():
        chance_I = generator(seed, "hidden items", name).random(events.n_items)
        hidden_I = (chance_I < SHARE) & (whole.item_features.rows[name].lengths > 0)
        held_N = hidden_I[events.item_idx]
        history[name], targets[name] = events.take(~held_N), Targets.of(events.take(held_N))
    return Holdout(whole.with_events(history), targets)


@dataclass(frozen=True)
class Among:
    """Lists of new items alone."""

    history: MultiDomain
    method: Method
    scores: Callable[[str, Queries], Float32]

    def score(self, domain: str, queries: Queries) -> Float32:
        """Of every item for every query, (B, I)."""
        return self.scores(domain, queries)

    def unlisted(self, domain: str) -> Bool:
        """The known items, (I,)."""
        return ~self.history.new_items(domain)

    list_scores = score


def popularity_of_similar(history: MultiDomain) -> Callable[[str, Queries], Float32]:
    """Every item has the mean number of events of the known items with the most similar titles."""
    assert history.item_features is not None
    score_I = {}
    for name, events in history.domains.items():
        features_IV = history.item_features.matrix(name)
        known_I = np.flatnonzero(events.item_counts)
        score_I[name] = np.zeros(events.n_items, np.float32)
        for start in range(0, events.n_items, 1024):  # bounds the similarities in memory
            like_BI = (features_IV[start : start + 1024] @ features_IV[known_I].T).toarray()
            near_BK = np.argpartition(-like_BI, ALIKE, axis=1)[:, :ALIKE]
            means_B = events.item_counts[known_I[near_BK]].mean(axis=1)
            score_I[name][start : start + 1024] = means_B
    return lambda domain, queries: np.tile(score_I[domain], (len(queries), 1))


def random_order(history: MultiDomain, seed: int) -> Callable[[str, Queries], Float32]:
    """A random order of its own for every user."""

    def scores(domain: str, queries: Queries) -> Float32:
        rng = generator(seed, "random order", domain, str(queries.user_idx[0]))
        return rng.random((len(queries), history[domain].n_items), np.float32)

    return scores


def among_hidden(name: str, seed: int) -> Evaluation:
    """One row of the first table for one seed; kept as a cell."""
    method, holdout = METHODS.get(name), hidden(seed)
    settings = None if method is None else [method.name, method.flat()]
    key = json.dumps([name, settings, holdout.fingerprint, seed, ALIKE, __version__], sort_keys=True)
    cell = CELLS / "cold-items" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.parquet"
    if not cell.exists():
        cell.parent.mkdir(parents=True, exist_ok=True)
        history = holdout.history
        if method is not None:
            scores = method.fit(history, FitOptions(seed=seed)).score
        else:
            scores = random_order(history, seed) if name == "random" else popularity_of_similar(history)
        evaluate(Among(history, method or EASE(), scores), holdout).write(cell)
    return replace(Evaluation.read(cell), name=name)


def new_items(names: Sequence[str], seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """A row per method: the metric among the hidden items, per domain, and in multiples of the better of the
    two simple orders."""
    means: dict[str, dict[str, float]] = {}
    for name in ("random", "popularity of similar titles", *names):
        means[name] = over_seeds({seed: among_hidden(name, seed) for seed in seeds}).means(METRIC)
        print(name, means[name], flush=True)
    simple = list(means)[:2]
    best = {domain: max(means[name][domain] for name in simple) for domain in data().domain_names}
    return [
        {
            "method": name,
            **{domain: own[domain] for domain in best},
            **{
                f"{domain}, times the better simple one": f"{own[domain] / best[domain]:.1f}"
                for domain in best
            },
        }
        for name, own in means.items()
    ]


def warm_lists(names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per method and domain: the metric with and without features."""
    split, rows = leave_latest_out(data(), seed=SEEDS[0]), []
    for name, off in ((name, OFF[name]) for name in names):
        own = evaluated(METHODS[name], split, name)
        plain = evaluated(METHODS[name].with_settings(off), split, f"{name} without")
        difference = compare(own, plain, METRIC).rows
        for row in difference.iter_rows(named=True):
            rows.append(
                {
                    "method": name,
                    "domain": row["domain"],
                    "with": own.means(METRIC)[row["domain"]],
                    "without": plain.means(METRIC)[row["domain"]],
                    "95 % of the difference": f"[{row['low']:.4f}, {row['high']:.4f}]",
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Both tables; the page for three seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("methods", nargs="*", default=[*METHODS], help="all by default")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="seeds of the first table")
    given = parser.parse_args()
    seeds = SEEDS[: given.seeds]
    parts = [
        f"Food–Kitchen, words of titles as item features. {SHARE:.0%} of the items with a title hidden "
        f"from training; {METRIC} of every event of theirs among the hidden items of the domain, mean "
        f"over {len(seeds)} seed{'s'[: len(seeds) > 1]}. Popularity of similar titles: the mean number of "
        f"events of the {ALIKE} known items with the most similar titles. Settings: "
        + "; ".join(f"{name}: {settings_text(METHODS[name])}" for name in given.methods)
        + ".",
        markdown(new_items(given.methods, seeds)),
    ]
    if warm := [name for name in given.methods if name in OFF]:
        parts += [
            f"Warm lists, leave-latest-out, full ranking, {METRIC} with features and without, three seeds:",
            markdown(warm_lists(warm)),
        ]
    about = " ".join(["cold_items", *map(repr, given.methods), f"--seeds {len(seeds)}"])
    page("cold-items", "New items: what their titles say", parts, about)


if __name__ == "__main__":
    main()
