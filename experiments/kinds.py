"""Kinds of events with a weight for each, tuned on validation, against all kinds alike.

    python -m experiments.kinds                   the page docs/results/kinds.md
    python -m experiments.kinds --methods EASE    the page with new rows of this method alone

Ratings of 4 and 5 are of kind "like", lower ones of kind "low". What is to be predicted is each user's latest
like over all domains. Low ratings weigh 1 as likes do, or less, or only mark their items as seen. All rows of
a data set have the same history, targets and listed items. Rows are kept in docs/results/kinds.jsonl, and
every fit is a cell of its own in runs/experiments, so that a killed call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl

from experiments.common import SEEDS, cell, kept_by_method, markdown, page, settings_text, tested
from landbridge.core.types import Record
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.data.seen import Seen
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.datasets import catalog
from landbridge.datasets.movielens import GENRES, fetch, rarest_genres
from landbridge.evaluation.significance import compare_over_domains
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN

METRIC = "ndcg@10"
LIKED = 4
WEIGHTS = (1.0, 0.3, 0.1, 0.0)  # of low ratings; 0: they are only seen
METHODS: Mapping[str, Method] = {
    "EASE": EASE(),
    "item-kNN": ItemKNN(),
    "joined ALS": IALS(sharing="joined", alpha0=0.1, reg=20.0),
}


def movielens() -> pl.DataFrame:
    """All ratings of films in one of the genres, whose domain is the rarest of them."""
    folder = fetch("1m")
    films = pl.read_parquet(folder / "films.parquet")
    listed = films.select("item", domain=pl.col("genres").str.split(" ")).explode("domain")
    genres = rarest_genres(listed.filter(pl.col("domain").is_in(GENRES)))
    return pl.read_parquet(folder / "ratings.parquet").join(genres, on="item", maintain_order="left")


def ciao() -> pl.DataFrame:
    """All ratings in the ten largest categories."""
    ratings = pl.read_parquet(catalog.get("ciao") / "interactions.parquet")
    return ratings.filter(pl.col("domain").cast(pl.String).is_in(catalog.load("ciao").domain_names))


DATA: Mapping[str, Callable[[], pl.DataFrame]] = {"movielens-1m": movielens, "ciao": ciao}


@cache
def split_of(data: str) -> Split:
    """A data set with two kinds of events, read and split once."""
    kind = pl.when(pl.col("rating") >= LIKED).then(pl.lit("like")).otherwise(pl.lit("low"))
    events = DATA[data]().select("user", "item", "domain", "timestamp", kind=kind)
    return leave_latest_out(read(events, kinds={"like": 1, "low": 1}), seed=SEEDS[0], targets="like")


def weighted(split: Split, low: float) -> Split:
    """The same split with this weight of events that are low ratings alone."""
    return Split(*(replace(each, history=_weighted(each.history, low)) for each in (split.valid, split.test)))


def _weighted(history: MultiDomain, low: float) -> MultiDomain:
    bit = history.kinds.bit("like")
    liked = {name: np.asarray((events.kinds & bit) > 0) for name, events in history.domains.items()}
    if low:
        return history.with_events(
            {
                name: replace(events, weight=np.where(liked[name], 1, low).astype(np.float32))
                for name, events in history.domains.items()
            }
        )
    seen = {
        name: Seen(replace(pairs, weight=None, kinds=None), np.zeros(len(pairs), bool))
        for name, events in history.domains.items()
        if len(pairs := events.take(~liked[name]))
    }
    likes = history.with_events({name: events.take(liked[name]) for name, events in history.domains.items()})
    return replace(likes, seen=seen)


def row(data: str, label: str) -> Record:
    """The best weight on validation, and the test of it, of all kinds alike, and of likes alone."""
    method, figures = METHODS[label], {}
    for low in WEIGHTS:
        evaluation, _ = cell(method, weighted(split_of(data), low).valid, SEEDS[0], "valid")
        figures[low] = float(np.mean(list(evaluation.means(METRIC).values())))
    best = max(figures, key=lambda low: figures[low])
    found = {
        name: tested(method, weighted(split_of(data), low), name)
        for name, low in (("all alike", 1.0), ("likes alone", 0.0), ("tuned", best))
    }
    means = {name: float(np.mean(list(each.means(METRIC).values()))) for name, each in found.items()}
    differences = {
        f"tuned against {name}": compare_over_domains(found["tuned"], found[name], METRIC)
        for name in ("all alike", "likes alone")
    }
    return (
        {"weight of low ratings": f"{best:g}" if best else "0, seen"}
        | means
        | {
            name: f"{each['difference']:+.4f} [{each['low']:+.4f}, {each['high']:+.4f}]"
            for name, each in differences.items()
        }
    )


def main() -> None:
    """A row per data set and method, and the page of all that are kept."""
    rows = kept_by_method("kinds", __doc__, DATA, METHODS, row)
    page(
        "kinds",
        "Kinds of events: a weight for each",
        [
            f"Ratings of {LIKED} and 5 are likes, lower ones are of kind *low*. {METRIC} of each user's "
            "latest like over all domains, mean over domains, leave-latest-out, full ranking; no list holds "
            "an item that its user has rated. The weight of low ratings is chosen on validation from "
            f"{', '.join(f'{low:g}' for low in WEIGHTS)}, where 0 means that they only mark items as seen; "
            "likes weigh 1. *All alike*: low ratings weigh 1, too. Differences of the mean over domains with "
            "95 % intervals over users (and seeds, where a method starts at random: three). Settings: "
            + "; ".join(
                f"{name}: {settings_text(method)}"
                for name, method in METHODS.items()
                if any(each["method"] == name for each in rows)
            )
            + ". Rows are kept in kinds.jsonl.",
            markdown(rows),
            "Low ratings are worth learning from: on MovieLens every method is better with them than with "
            "likes alone. A weight of their own is not better there than that of likes: no interval is above "
            "0.",
        ],
    )


if __name__ == "__main__":
    main()
