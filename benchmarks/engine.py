"""Seconds per epoch of BPRMF and LightGCN on MovieLens-1M, beside cornac's BPR in the same run.

    python -m benchmarks.engine                      prints one line of JSON per case
    python -m benchmarks.engine --rounds 5 --quick   fewer factors, no LightGCN

The peer is optional: pip install cornac. Programs take turns over several rounds, so that a busy machine
slows them alike; the first round, in which kernels are loaded, is not counted. ``ratio`` is our median over
the peer's with as many factors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from landbridge.data.batches import Pairwise
from landbridge.data.interactions import Interactions
from landbridge.models.parts import als
from landbridge.models.parts.pairwise import PairwiseTable, together
from landbridge.training.rows import Optimizer

THREADS = 2
PEER_EPOCHS = 3  # beyond the first, whose time holds the peer's preparations
Epoch = Callable[[], float]  # goes through one epoch and tells its seconds


@dataclass(frozen=True)
class Case:
    """One program with its settings; ``layers`` are LightGCN's."""

    name: str
    optimizer: str
    factors: int
    batch_size: int
    layers: int = 0


CASES = (
    Case("bprmf", "adam", 128, 2048),
    Case("bprmf", "adagrad", 128, 2048),
    Case("bprmf", "sgd", 128, 2048),
    Case("bprmf", "adam", 64, 2048),
    Case("bprmf", "sgd", 64, 2048),
    Case("lightgcn", "adam", 64, 8192, 3),
    Case("lightgcn", "adam", 64, 2048, 3),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    cases = [case for case in CASES if not chosen.quick or (case.factors == 64 and not case.layers)]
    for line in measure(movielens(), cases, chosen.rounds):
        print(json.dumps(line), flush=True)


def movielens() -> Interactions:
    """All ratings of MovieLens-1M as one table."""
    import polars as pl

    from landbridge.data import catalog

    ratings = pl.read_parquet(catalog.get("movielens-1m") / "ratings.parquet")
    user_N, user_idx = np.unique(ratings["user"].to_numpy(), return_inverse=True)
    item_N, item_idx = np.unique(ratings["item"].to_numpy(), return_inverse=True)
    return Interactions.from_events(user_idx, item_idx, len(user_N), len(item_N))


def measure(table: Interactions, cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    """One row per case, and per number of factors of the peer where it is installed."""
    with als.limited(THREADS), ThreadPoolExecutor(THREADS) as pool:
        programs = {case: ours(table, case, pool, rounds) for case in cases}
        peers = {factors: cornac(table, factors) for factors in sorted({case.factors for case in cases})}
        load = os.getloadavg()[0]
        seconds: dict[Any, list[float]] = {key: [] for key in (*programs, *peers)}
        for _ in range(rounds + 1):
            for key, epoch in (*programs.items(), *peers.items()):
                if epoch is not None:
                    seconds[key].append(epoch())
    middle = {key: statistics.median(times[1:]) for key, times in seconds.items() if times}
    return [
        {
            **vars(case),
            "seconds": round(middle[case], 4),
            "cornac": round(middle[case.factors], 4) if case.factors in middle else None,
            "ratio": round(middle[case] / middle[case.factors], 2) if case.factors in middle else None,
            "events": len(table),
            "load": load,
            "date": time.strftime("%Y-%m-%d"),
        }
        for case in cases
    ]


def ours(table: Interactions, case: Case, pool: ThreadPoolExecutor, rounds: int) -> Epoch:
    """One more epoch of ours."""
    pairs = Pairwise(table, {"all": slice(0, table.n_items)})
    learned = PairwiseTable(pairs, Optimizer(case.optimizer), 1e-5, case.batch_size, case.layers)
    state = {f"all|{key}": array for key, array in learned.start(case.factors, 0.01).items()}
    step = together({"all": learned}, rounds + 1, pool)
    number = iter(range(rounds + 1))

    return lambda: _seconds(lambda: state.update(step(state, next(number))[0]))


def cornac(table: Interactions, factors: int) -> Epoch | None:
    """An epoch of the peer, plain SGD; None with a word on what is missing where it is not installed."""
    try:
        from cornac.data import Dataset
        from cornac.models import BPR
    except ModuleNotFoundError:
        print("cornac is not installed (pip install cornac): no peer in this run.", file=sys.stderr)
        return None
    ones = [1.0] * len(table)
    events = Dataset.from_uir(
        list(zip(table.user_idx.tolist(), table.item_idx.tolist(), ones, strict=True)), seed=0
    )
    first, several = (
        BPR(k=factors, max_iter=epochs, num_threads=THREADS, seed=0) for epochs in (1, 1 + PEER_EPOCHS)
    )
    return lambda: (_seconds(lambda: several.fit(events)) - _seconds(lambda: first.fit(events))) / PEER_EPOCHS


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
