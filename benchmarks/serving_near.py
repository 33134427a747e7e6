"""What approximate search saves and loses beside the exact one, in one large catalogue.

    python -m benchmarks.serving_near --items 500000 --factors 64 --rows level

Known users' lists of ten, one at a time and 16 together, on one thread; figures are milliseconds of
processor time per list at the best of all rounds, which take turns. Rows as in
:mod:`benchmarks.serving_core`: ``skewed`` ones differ in length as those of a factorisation, ``level`` ones
have the same topics and no such spread. ``looked``: the share of the items that the exact search looks at.
``used``: whether the server would search this catalogue approximately. ``seconds`` and ``MiB``: to build the
cells, their copy of the rows included. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.serving_core import model, report
from landbridge.serving.engine.approximate import (
    SAMPLED_USERS,
    AnnPolicy,
    IvfRanker,
    approximate_ranker,
    recall_of,
)
from landbridge.serving.engine.catalog import ItemCatalog
from landbridge.serving.engine.ivf_index import IvfIndex
from landbridge.serving.engine.messages import Request
from landbridge.serving.engine.query_builder import QueryBatch, QueryGroup
from landbridge.serving.engine.rankers import DotProductRanker, Ranker, ranker_of

SIZES = (1, 16)
K = 10


def figures(args: argparse.Namespace) -> dict[str, Any]:
    """What is measured."""
    fitted = model(args.rows, args.users, args.items, args.factors)
    catalogues = {"shop": ItemCatalog.of(fitted.history, "shop")}
    exact = ranker_of(fitted, catalogues)
    assert isinstance(exact, DotProductRanker)
    before, start = _resident(), time.process_time()
    cells = IvfIndex.of(fitted.item_IF["shop"], AnnPolicy().probes)
    found: dict[str, Any] = {
        "seconds": round(time.process_time() - start, 1),
        "MiB": round(_resident() - before),
    }
    rankers: dict[str, Ranker] = {"exact": exact, "approximate": IvfRanker(exact, {"shop": cells})}
    users = np.random.default_rng(1).choice(args.users, SAMPLED_USERS, replace=False).tolist()
    requests = [Request(("shop",), f"user {user}", k=K) for user in users]
    for size in SIZES:
        parts = [
            QueryBatch.of(fitted.history, catalogues, requests[first : first + size]).parts()[0]
            for first in range(0, SAMPLED_USERS, size)
        ]
        best = dict.fromkeys(rankers, np.inf)
        for _ in range(args.repeats):  # in turn, so that a busy machine is busy for both
            for name, ranker in rankers.items():
                best[name] = min(best[name], _seconds(ranker, parts))
        found |= {f"{name} {size}": round(1000 * best[name] / SAMPLED_USERS, 3) for name in rankers}
    (part,) = QueryBatch.of(fitted.history, catalogues, requests).parts()
    tiles = exact.tiles["shop"]
    gone = tiles.best(*exact.model.query_embeddings("shop", part.queries), part.constraints)[2]
    recall = recall_of(*(rankers[name].best(part)[0] for name in ("approximate", "exact")))
    looked = gone / SAMPLED_USERS / len(tiles.norm_T)
    used = "shop" in approximate_ranker(exact)[1]
    return found | {"looked": round(looked, 3), "recall": round(recall, 4), "used": used}


def _seconds(ranker: Ranker, parts: Sequence[QueryGroup]) -> float:
    start = time.process_time()
    for part in parts:
        ranker.best(part)
    return time.process_time() - start


def _resident() -> float:
    """MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    report(figures, __doc__, "level", users=20_000, items=500_000, factors=64, repeats=5)
