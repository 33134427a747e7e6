"""Lists per second of a service without its server, beside a plain NumPy one over the same rows.

    python -m benchmarks.serving_core --items 100000 --factors 64

The peer does what one would write in an afternoon: ids by a dictionary, one matrix product, seen items to
minus infinity, argpartition, a list of dictionaries. Both answer the same requests in turn, in one process
on one thread; figures are requests per second of processor time at the best of all rounds, so that a busy
machine counts less. ``skewed``: rows as those of a factorisation, where a tenth of the items is looked at
(iALS on Gowalla: 10 %, Ciao 12 %, KuaiRand 6 %); ``random``: Gaussian rows, where all are. ``new``: our lists
for users given by five events. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from landbridge import store
from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.fitted import ALSModel, RidgeSpec
from landbridge.models.als.ials import IALS
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service

BATCHES = (1, 4, 16, 64)
EVENTS_PER_USER = 20
TOPICS = 300
SPREAD = {"skewed": 0.42, "level": 0.0}  # of the logarithm of the items' lengths
K = 10


def model(kind: str, n_users: int, n_items: int, factors: int) -> ALSModel:
    """Gaussian rows; skewed ones have topics in common, and lengths spread as those of iALS on Gowalla; level
    ones have the topics alone."""
    rng = np.random.default_rng(0)
    drawn = (n_items * rng.random(n_users * EVENTS_PER_USER) ** 3).astype(np.int64)
    events = Interactions.from_events(np.repeat(np.arange(n_users), EVENTS_PER_USER), drawn, n_users, n_items)
    history = MultiDomain(
        Vocabulary.of([f"user {n}" for n in range(n_users)]),
        {"shop": Vocabulary.of([f"item {n}" for n in range(n_items)])},
        {"shop": events},
    )
    user_UF, item_IF = (0.5 * rng.standard_normal((size, factors), np.float32) for size in (n_users, n_items))
    if kind in SPREAD:
        topic_TF = rng.standard_normal((TOPICS, factors), np.float32)
        user_UF += topic_TF[rng.integers(0, TOPICS, n_users)]
        item_IF += topic_TF[rng.integers(0, TOPICS, n_items)]
        item_IF *= rng.lognormal(0, SPREAD[kind], (n_items, 1)).astype(np.float32)
    rule = RidgeSpec("separate", 0.03, 0.03, 0.5, {"shop": events.catalogue})
    rows = {"shop": user_UF}, {"shop": item_IF}
    return ALSModel(history, IALS(factors=factors), (), *rows, "blend", 3.0, rule)


class Plain:
    """The peer."""

    def __init__(self, fitted: ALSModel) -> None:
        history = fitted.history
        self.ids = history.items["shop"].ids.tolist()
        self.place = {user: number for number, user in enumerate(history.users.ids.tolist())}
        self.user_UF, self.item_IF = fitted.user_UF["shop"], fitted.item_IF["shop"]
        self.seen = history["shop"].by_user

    def recommend(self, requests: Sequence[Request]) -> list[list[dict[str, Any]]]:
        """The same lists."""
        users = [self.place[request.user] for request in requests]
        scores_BI: Float32 = self.user_UF[users] @ self.item_IF.T
        for row, user in enumerate(users):
            scores_BI[row, self.seen.take([user]).columns] = -np.inf
        item_BK = np.argpartition(scores_BI, -K, axis=1)[:, -K:]
        score_BK = np.take_along_axis(scores_BI, item_BK, 1)
        order_BK = np.argsort(-score_BK, axis=1)
        item_BK, score_BK = (np.take_along_axis(each, order_BK, 1) for each in (item_BK, score_BK))
        return [
            [{"item": self.ids[item], "score": score} for item, score in zip(items, scores, strict=True)]
            for items, scores in zip(item_BK.tolist(), score_BK.tolist(), strict=True)
        ]


def figures(kind: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per batch size."""
    fitted = model(kind, args.users, args.items, args.factors)
    with tempfile.TemporaryDirectory() as folder:
        store.save(fitted, Path(folder) / "run")
        service = Service.open(Path(folder) / "run")
    service.check()
    plain, rng, found = Plain(fitted), np.random.default_rng(1), []
    for size in BATCHES:
        history = [Request(("shop",), f"user {user}", k=K) for user in rng.integers(0, args.users, 256)]
        new = [Request(("shop",), None, _events(rng, args.items), K) for _ in history]
        works: dict[str, tuple[Callable[[Sequence[Request]], object], list[Request]]] = {
            "ours": (service.recommend, history),
            "plain": (plain.recommend, history),
            "new": (service.recommend, new),
        }
        best = dict.fromkeys(works, 0.0)
        for _ in range(args.repeats):  # in turn, so that a busy machine is busy for both
            for name, (recommend, requests) in works.items():
                best[name] = max(best[name], _per_second(recommend, requests, size))
        row = {"rows": kind, "batch": size} | {name: round(value) for name, value in best.items()}
        found.append(row | {"ratio": round(best["ours"] / best["plain"], 1)})
    return found


def _events(rng: np.random.Generator, n_items: int) -> tuple[Event, ...]:
    return tuple(Event("shop", f"item {item}") for item in rng.choice(n_items, 5, replace=False))


def _per_second(
    recommend: Callable[[Sequence[Request]], object], requests: list[Request], size: int
) -> float:
    start = time.process_time()
    for first in range(0, len(requests), size):
        recommend(requests[first : first + size])
    return len(requests) / (time.process_time() - start)


def report(
    figures: Callable[[argparse.Namespace], dict[str, Any]], about: str | None, rows: str, **counts: int
) -> None:
    """Read the counts and the kind of rows from the command line, measure on one thread, and print JSON."""
    parser = argparse.ArgumentParser(description=about)
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rows", choices=SPREAD, default=rows)
    args = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    with thread_limit(1):
        print(json.dumps(figures(args) | vars(args) | {"load": load}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("users", 20_000), ("items", 100_000), ("factors", 64), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    with threadpool_limits(1, "blas"):
        for kind in ("skewed", "random"):
            for row in figures(kind, args):
                print(json.dumps(row | vars(args) | {"load": load}), flush=True)


if __name__ == "__main__":
    main()
