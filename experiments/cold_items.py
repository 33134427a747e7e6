"""New items: Food–Kitchen with titles, 30 % of the items of both domains hidden from training.

    python -m experiments.cold_items             the page docs/results/cold-items.md
    python -m experiments.cold_items item-kNN    rows of this method alone; no page

Every event of a hidden item is held out, and ranked among all hidden items of its domain. Compared: random
order; the popularity of the known items whose titles are most alike; methods with the words of titles as
features. Warm lists: the same methods with and without features, on leave-latest-out with all items. Users
who are new to Kitchen: all events there of 30 % of the users are hidden, and ranked in full. Rows are kept in
docs/results/cold-items.jsonl, and every fit is a cell of its own in runs/experiments, so that a killed call
goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import polars as pl

from experiments.common import CELLS, SEEDS, cell, digest, kept, markdown, page, root, settings_text, tested
from landbridge.core.rng import generator
from landbridge.core.types import Bool, Float32, Record
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
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions
from landbridge.version import __version__

METRIC = "ndcg@10"
SHARE = 0.3  # of the items that are hidden, and of the users of the domain NEW_TO
DOMAINS = ("Food", "Kitchen")
NEW_TO = "Kitchen"
SIMPLE = ("random", "popularity of similar titles")
ALIKE = 20  # known items whose popularity a hidden one gets
METHODS: Mapping[str, Method] = {
    "joined ALS": IALS(sharing="joined"),
    "joined ALS, large penalty": IALS(sharing="joined", alpha0=0.1, reg=20.0),
    "CDIMF": CDIMF(),
    "EASE": EASE(),
    "item-kNN": ItemKNN(),
    "titles alone (item-kNN)": ItemKNN(feature_weight=1e4),
}
OFF: Mapping[str, Mapping[str, float]] = {
    "joined ALS": {"feature_reg": 1e9},
    "joined ALS, large penalty": {"feature_reg": 1e9},
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


def without_domain(seed: int) -> Holdout:
    """Without the events in ``NEW_TO`` of 30 % of the users of both domains; these are the targets."""
    whole = data()
    events = whole[NEW_TO]
    chance_U = generator(seed, "users without a domain").random(whole.n_users)
    held_N = ((chance_U < SHARE) & whole.shared_U)[events.user_idx]
    history = whole.with_events({**whole.domains, NEW_TO: events.take(~held_N)})
    return Holdout(history, {NEW_TO: Targets.of(events.take(held_N))})


def among_hidden(name: str, seed: int) -> Evaluation:
    """One row of the first table for one seed; kept as a cell."""
    method, holdout = METHODS.get(name), hidden(seed)
    settings = None if method is None else [method.name, method.flat()]
    key = digest([name, settings, holdout.fingerprint, seed, ALIKE, __version__])
    file = CELLS / "cold-items" / f"{key}.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        history = holdout.history
        if method is not None:
            scores = method.fit(history, FitOptions(seed=seed)).score
        else:
            scores = random_order(history, seed) if name == "random" else popularity_of_similar(history)
        evaluate(Among(history, method or EASE(), scores), holdout).write(file)
    return replace(Evaluation.read(file), name=name)


def new_items(name: str) -> Record:
    """Domain -> the metric among the hidden items, mean over seeds, each with a draw of items."""
    return over_seeds({seed: among_hidden(name, seed) for seed in SEEDS}).means(METRIC)


def warm_lists(name: str) -> Record:
    """Both domains, with features and without."""
    split = leave_latest_out(data(), seed=SEEDS[0])
    own, plain = (tested(method, split, label) for label, method in _variants(name).items())
    return _beside(own, plain)


def new_users(name: str) -> Record:
    """The lists in ``NEW_TO`` of users without an event there, with features and without."""
    own, plain = (_for_new_users(method) for method in _variants(name).values())
    return _beside(own, plain)


def _for_new_users(method: Method) -> Evaluation:
    return cell(method, without_domain(SEEDS[0]), SEEDS[0], "new-users")[0]


def popularity_for_new_users() -> Record:
    """The same for lists of the most popular items."""
    return _for_new_users(Popularity()).means(METRIC)


def _variants(name: str) -> dict[str, Method]:
    return {"with": METHODS[name], "without": METHODS[name].with_settings(OFF[name])}


def _beside(own: Evaluation, plain: Evaluation) -> Record:
    difference = compare(own, replace(plain, name=f"{own.name} without"), METRIC).rows
    return {
        row["domain"]: {
            "with": own.means(METRIC)[row["domain"]],
            "without": plain.means(METRIC)[row["domain"]],
            "95 % of the difference": f"[{row['low']:+.4f}, {row['high']:+.4f}]",
        }
        for row in difference.iter_rows(named=True)
    }


def rows_of(table: str, names: Sequence[str], made: Callable[[str], Record]) -> dict[str, Record]:
    """A row per method of one of the tables."""
    rows = {}
    for name in names:
        key = {"table": table, "method": name}
        rows[name] = kept("cold-items", key, partial(made, name))
        print(rows[name], flush=True)
    return rows


def multiples(rows: Mapping[str, Record]) -> list[Record]:
    """The first table, also in multiples of the better of the two simple orders."""
    best = {domain: max(rows[name][domain] for name in SIMPLE) for domain in DOMAINS}
    return [
        {"method": name}
        | {domain: own[domain] for domain in DOMAINS}
        | {
            f"{domain}, times the better simple one": f"{own[domain] / best[domain]:.1f}"
            for domain in DOMAINS
        }
        for name, own in rows.items()
    ]


def beside(rows: Mapping[str, Record]) -> list[Record]:
    """A line per method and domain."""
    return [
        {"method": name, "domain": domain, **own[domain]}
        for name, own in rows.items()
        for domain in DOMAINS
        if domain in own
    ]


def main() -> None:
    """The rows that are missing; the page of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("methods", nargs="*", help="all by default")
    given = parser.parse_args().methods
    names = given or [*METHODS]
    new = rows_of("new items", [*SIMPLE, *names], new_items)
    warm = rows_of("warm lists", [name for name in names if name in OFF], warm_lists)
    users = rows_of("new users", [name for name in names if name in OFF], new_users)
    popular = kept("cold-items", {"table": "popularity for new users"}, popularity_for_new_users)
    if given:
        return
    settings = "; ".join(f"{name}: {settings_text(method)}" for name, method in METHODS.items())
    parts = [
        f"Food–Kitchen, words of titles as item features, {METRIC}. Rows are kept in cold-items.jsonl. "
        f"Popularity of similar titles: the mean number of events of the {ALIKE} known items with the most "
        f"similar titles. Settings: {settings}.",
        "## Items without events",
        f"{SHARE:.0%} of the items with a title are hidden from training; every event of theirs is ranked "
        f"among the hidden items of its domain. Mean over {len(SEEDS)} draws of items, each with a seed of "
        "its own.",
        markdown(multiples(new)),
        "## Warm lists",
        "Leave-latest-out, all items, full ranking, with features and without; three seeds of the methods "
        "that start at random. With the small penalty that is their default, features move only what ALS and "
        "CDIMF say of items with few events, and no place that the metric sees.",
        markdown(beside(warm)),
        "## Users without an event in a domain",
        f"All events in {NEW_TO} of {SHARE:.0%} of the users are hidden from training and ranked among all "
        f"items of {NEW_TO}, with features and without; one draw of users, one seed. "
        f"Popularity: {popular[NEW_TO]:.4f}.",
        markdown(beside(users)),
    ]
    page("cold-items", "New items: what their titles say", parts, "cold_items")


if __name__ == "__main__":
    main()
