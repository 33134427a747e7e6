"""Seconds and memory of linear models, beside NumPy and implicit in the same run.

    python -m benchmarks.linear            measures and writes docs/results/linear-speed.md

Every case runs in a process of its own, so that its peak memory is its own; the first fit of a process, which
compiles, is on a small table and is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.vocabulary import Vocabulary
from landbridge.datasets import catalog
from landbridge.datasets.published import read_published
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.ranking.top_k import top_k
from landbridge.training.options import FitOptions

PAGE = Path(__file__).parents[1] / "docs" / "results" / "linear-speed.md"
THREADS, REG = 2, 20.0
OPTIONS = FitOptions(threads=THREADS)


def _data(name: str) -> MultiDomain:
    root = Path(os.environ["LANDBRIDGE_DATA"])
    if name == "sport-cloth":
        return read_published(root / "amazon-sport-cloth-warm").test.history
    if name == "kuairand":
        data = catalog.kuairand(root / "kuairand")
        assert isinstance(data, MultiDomain)
        return data
    return catalog.movielens_genres()


def _small() -> MultiDomain:
    rng = np.random.default_rng(0)
    events = Interactions.from_events(*np.nonzero(rng.random((50, 20)) < 0.3), 50, 20)
    return MultiDomain(Vocabulary.of(range(50)), {"a": Vocabulary.of(range(20))}, {"a": events})


def _matrix(data: MultiDomain) -> Any:
    from scipy.sparse import csr_matrix

    table, _ = data.joined()
    ones_N = np.ones(len(table), np.float32)
    return csr_matrix((ones_N, (table.user_idx, table.item_idx)), shape=(table.n_users, table.n_items))


def _ours(method: EASE | ItemKNN) -> Callable[[MultiDomain], None]:
    def fit(data: MultiDomain) -> None:
        method.fit(data, OPTIONS)

    return fit


def _numpy_ease(data: MultiDomain) -> None:
    """The closed form as it is usually written."""
    x = _matrix(data)
    gram = (x.T @ x).toarray().astype(np.float64)
    gram[np.diag_indices(len(gram))] += REG
    p = np.linalg.inv(gram)
    b = p / -np.diag(p)
    b[np.diag_indices(len(b))] = 0


def _implicit_knn(data: MultiDomain) -> None:
    from implicit.nearest_neighbours import CosineRecommender

    CosineRecommender(K=200, num_threads=THREADS).fit(_matrix(data), show_progress=False)


def _served(data: MultiDomain) -> None:
    """The model whose lists are timed: local EASE."""
    fitted = EASE(sharing="joined", reg=REG).fit(data, OPTIONS)
    name, users = data.domain_names[0], np.flatnonzero(data[data.domain_names[0]].user_counts)[:2000]
    seconds = []
    for user in users:
        began = time.perf_counter()
        queries = Queries.of_users([user])
        top_k(fitted.score(name, queries), 10, data[name].by_user.take([user]))
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"list_ms": [1000 * float(np.quantile(seconds, q)) for q in (0.5, 0.99)]}))


CASES: dict[str, tuple[str, Callable[[MultiDomain], None]]] = {
    "EASE local, 69,804 items": ("sport-cloth", _ours(EASE(sharing="joined", reg=REG))),
    "EASE local, 944,384 items": ("kuairand", _ours(EASE(sharing="joined", reg=REG))),
    "EASE exact, 3,346 items": ("movielens", _ours(EASE(sharing="joined", reg=REG, form="exact"))),
    "EASE exact, cross ridges": ("movielens", _ours(EASE(sharing="cross", reg=REG, form="exact"))),
    "NumPy EASE, 3,346 items": ("movielens", _numpy_ease),
    "item-kNN, 69,804 items": ("sport-cloth", _ours(ItemKNN(sharing="joined"))),
    "implicit's cosine, 69,804 items": ("sport-cloth", _implicit_knn),
    "item-kNN, 3,346 items": ("movielens", _ours(ItemKNN(sharing="joined"))),
    "implicit's cosine, 3,346 items": ("movielens", _implicit_knn),
    "one list of local EASE, 69,804 items": ("sport-cloth", _served),
}


def main() -> None:
    """Measure every case, or the one named, in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        return _child(chosen.child)
    lines = ["| case | s | GiB above the data |", "|---|---|---|"]
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.linear", "--child", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines.append(f"| {name} | failed: {done.stderr.splitlines()[-1]} | |")
            continue
        records = [json.loads(line) for line in done.stdout.splitlines()]
        facts = {key: value for record in records for key, value in record.items()}
        own = "" if "list_ms" not in facts else " ({:.2f} ms a list, p99 {:.2f} ms)".format(*facts["list_ms"])
        lines.append(f"| {name}{own} | {facts['seconds']:.2f} | {facts['gib']:.2f} |")
        print(lines[-1], flush=True)
    title = "# Speed of linear models\n\nMade by `python -m benchmarks.linear`, two threads.\n\n"
    PAGE.write_text(title + "\n".join(lines) + "\n")
    return None


def _child(name: str) -> None:
    data_name, run = CASES[name]
    run(_small())
    data = _data(data_name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    run(data)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "gib": (peak - before) / 2**20}))


if __name__ == "__main__":
    main()
