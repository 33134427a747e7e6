"""What a rule about items adds to the time of a list: a range and a set against no filter.

    python -m benchmarks.filters --items 100000 --factors 64

Single requests of known users on one thread, through ``Service.recommend``, the kinds in turn within one run:
``none`` has no filter, ``repeated`` one rule for all requests, as a shop's page sends, ``new`` a rule that no
request had before. Rows as in :mod:`benchmarks.serving_core`. Milliseconds of processor time at p50 and
p99, their ratios to ``none``, and the share of the items that the rules leave. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.serving_core import model, report
from landbridge import store
from landbridge.serving.engine.messages import Request
from landbridge.serving.engine.service import Service

BRANDS, LISTED = 50, 10
K = 10


def figures(args: argparse.Namespace) -> dict[str, Any]:
    """What is measured."""
    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder:
        store.save(model(args.rows, args.users, args.items, args.factors), Path(folder) / "run")
        items = Path(folder) / "items.parquet"
        _table(rng, args.items).write_parquet(items)
        service = Service.open(Path(folder) / "run", items)
    users = rng.choice(args.users, args.requests).tolist()
    rules = {
        "none": [""] * args.requests,
        "repeated": [_rule(20)] * args.requests,
        "new": [_rule(20 + number / 1e6) for number in range(1, args.requests + 1)],
    }
    for kind in rules:  # compiles, and sorts the columns
        service.recommend([_request(0, rules[kind][0])])
    seconds: dict[str, list[float]] = {kind: [] for kind in rules}
    for place, user in enumerate(users):
        for kind, own in rules.items():
            request = _request(user, own[place])
            start = time.process_time()
            service.recommend([request])
            seconds[kind].append(time.process_time() - start)
    found: dict[str, Any] = {}
    for kind, times in seconds.items():
        for share in (50, 99):
            found[f"{kind} p{share}"] = round(1000 * float(np.percentile(times, share)), 3)
            found[f"{kind} p{share} ratio"] = round(found[f"{kind} p{share}"] / found[f"none p{share}"], 2)
    return found | {"left": round(LISTED / BRANDS * 0.2, 3)}


def _table(rng: np.random.Generator, n_items: int) -> pl.DataFrame:
    ids = [f"item {n}" for n in range(n_items)]
    brand = [f"brand {n}" for n in rng.integers(0, BRANDS, n_items)]
    return pl.DataFrame({"domain": "shop", "item": ids, "price": 100 * rng.random(n_items), "brand": brand})


def _rule(price: float) -> str:
    return f"price < {price} and brand in [{', '.join(repr(f'brand {n}') for n in range(LISTED))}]"


def _request(user: int, rule: str) -> Request:
    return Request(("shop",), f"user {user}", k=K, where=rule or {})


if __name__ == "__main__":
    report(figures, __doc__, "skewed", users=5_000, items=100_000, factors=64, requests=1_000)
