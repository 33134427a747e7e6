"""A small benchmark on files, and a program that runs it and may be killed at a chosen moment."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from landbridge.core.parallel import Processes, Serial
from landbridge.core.progress import Silent
from landbridge.studies.benchmark import jobs as cells
from landbridge.studies.benchmark.runner import benchmark
from landbridge.studies.benchmark.spec import benchmark_spec


def shops(folder: Path) -> list[str]:
    """Two tables of 60 users's events."""
    rng = np.random.default_rng(1)
    for name, size in (("books", 30), ("movies", 20)):
        table = pl.DataFrame({"user": rng.integers(0, 60, 700), "item": rng.integers(0, size, 700)})
        table.write_csv(folder / f"{name}.csv")
    return [str(folder / f"{name}.csv") for name in ("books", "movies")]


def small_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """Three methods, two seeds, full ranking and sampled candidates."""
    source = {"source": shops(folder), "users": "shared", "split": {"kind": "random"}}
    quick = {"factors": 4, "epochs": 2}
    return {
        "seeds": [1, 2],
        "metrics": ["ndcg@10"],
        "by": ["domain", "activity"],
        "reference": "separate",
        "data": [{"name": "shops", **source, "candidates": [0, 8]}],
        "methods": [
            {"label": "popular", "name": "popularity"},
            {"label": "separate", "name": "ials", "settings": quick},
            {"label": "joined & more", "name": "ials", "settings": quick | {"sharing": "joined"}},
        ],
        **changes,
    }


def main(folder: Path, out: Path, jobs: int, dies_at: int) -> None:
    """Run it; the process that judges for the ``dies_at``-th time, or the parent of several, is killed."""
    real, calls = cells.EvaluationJob._evaluate, []

    def evaluate(self: cells.EvaluationJob, *parts: Any) -> Any:
        calls.append(1)
        if len(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *parts)

    class Watching(Silent):
        def task(self, title: str, total: int, seconds: float | None = None) -> Any:
            return self

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *raised: object) -> None:
            pass

        def step(self, done: int, facts: object) -> None:
            if jobs > 1 and done == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    cells.EvaluationJob._evaluate = evaluate
    executor = Serial(1) if jobs == 1 else Processes(jobs, 1)
    benchmark(benchmark_spec(small_spec(folder)), out, executor, Watching(), check_leaks=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
