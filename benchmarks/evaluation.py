"""Speed and memory of full-catalogue evaluation, beside implicit's lists of ten on the same factors.

    python benchmarks/evaluation.py --users 4000 --items 100000 --factors 64 --threads 2

Prints one JSON object. ``ratio`` is our users per second over implicit's in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from landbridge.core.types import Bool, Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.data.vocabulary import Vocabulary
from landbridge.evaluation.evaluate import evaluate

EVENTS_PER_USER = 20


@dataclass(frozen=True)
class Dot:
    """A model that is two random matrices."""

    name = "dot"
    history: MultiDomain
    user_UF: Float32
    item_IF: Float32

    @property
    def method(self) -> Dot:
        return self

    def score(self, domain: str, queries: Queries) -> Float32:
        return self.user_UF[queries.user_idx] @ self.item_IF.T

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        return self.score(domain, queries)

    def unlisted(self, domain: str) -> Bool:
        return np.zeros(len(self.item_IF), bool)


def world(n_users: int, n_items: int, factors: int) -> tuple[Dot, Holdout]:
    rng = np.random.default_rng(0)
    items_UE = rng.integers(0, n_items, (n_users, EVENTS_PER_USER + 1)).astype(np.int32)
    users = np.arange(n_users, dtype=np.int32)
    events = Interactions.from_events(
        np.repeat(users, EVENTS_PER_USER), items_UE[:, 1:].ravel(), n_users, n_items
    )
    ids = {size: Vocabulary.of(np.arange(size)) for size in {n_users, n_items}}
    history = MultiDomain(ids[n_users], {"all": ids[n_items]}, {"all": events})
    vectors = [rng.normal(size=(size, factors)).astype(np.float32) for size in (n_users, n_items)]
    return Dot(history, *vectors), Holdout(history, {"all": Targets(users, items_UE[:, 0].copy())})


def implicit_lists(model: Dot, threads: int) -> Callable[[], object]:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    peer = AlternatingLeastSquares(factors=model.item_IF.shape[1], num_threads=threads)
    peer.user_factors, peer.item_factors = model.user_UF, model.item_IF
    rows = model.history["all"].by_user
    shape = len(model.user_UF), len(model.item_IF)
    seen = csr_matrix((np.ones(len(rows.columns), np.float32), rows.columns, rows.offsets), shape)
    users: npt.NDArray[np.int64] = np.arange(shape[0])
    return lambda: peer.recommend(users, seen, N=10)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("users", 4000),
        ("items", 100_000),
        ("factors", 64),
        ("threads", 2),
        ("repeats", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    evaluate(*world(50, 500, 8))  # compiles the kernels
    model, holdout = world(args.users, args.items, args.factors)
    before = peak_mb()
    ours = [seconds(lambda: evaluate(model, holdout, threads=args.threads))]
    memory = {"peak_mb": peak_mb(), "before_mb": before}
    with threadpool_limits(1, "blas"):  # as implicit asks for: it has threads of its own
        lists = implicit_lists(model, args.threads)
    peer = []
    for _ in range(args.repeats):  # in turn, so that a busy machine is busy for both
        with threadpool_limits(1, "blas"):
            peer.append(seconds(lists))
        ours.append(seconds(lambda: evaluate(model, holdout, threads=args.threads)))
    figures = {"users_per_s": args.users / min(ours), "implicit_users_per_s": args.users / min(peer)}
    figures |= {"ratio": min(peer) / min(ours)} | memory
    print(json.dumps(vars(args) | {name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
