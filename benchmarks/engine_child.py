"""What a program of :mod:`benchmarks.engine` shares with the others: a process that learns on request.

Needs NumPy and the standard library alone, for it also runs where a peer is installed and landbridge is not.
The process reads one word per line: ``turn`` is answered with seconds per epoch, ``stop`` with the memory
that learning took, after the rows have been written.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np


class Events(NamedTuple):
    """Dense user and item of every event: int32 (N,)."""

    user_N: Any
    item_N: Any
    n_users: int
    n_items: int


class Learner(Protocol):
    """What a program offers."""

    def learn(self, epochs: int, steps: int | None) -> float:
        """Go through so many epochs; with ``steps``, through so many batches. The part of an epoch done
        per epoch requested: 1, or batches done by batches of an epoch."""

    def rows(self) -> tuple[Any, Any]:
        """What scores by dot products: users' and items' rows."""


def serve(build: Callable[[Events, dict[str, Any]], Learner]) -> None:
    """Build the learner that the first argument describes and answer until ``stop``."""
    answers, sys.stdout = sys.stdout, sys.stderr  # peers print what they like
    settings = json.loads(sys.argv[1])
    arrays = np.load(settings["events"])
    events = Events(arrays["user"], arrays["item"], int(arrays["n_users"]), int(arrays["n_items"]))
    base = _memory("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    learner = build(events, settings)
    for line in sys.stdin:
        if line.strip() == "stop":
            user_UF, item_IF = learner.rows()
            memory = {"base_mib": base, "peak_mib": _memory("VmHWM")}
            np.savez(settings["rows"], user=user_UF, item=item_IF)
            print(json.dumps(memory), file=answers, flush=True)
            return
        start = time.perf_counter()
        part = learner.learn(settings["epochs"], settings.get("steps"))
        seconds = (time.perf_counter() - start) / settings["epochs"] / part
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


def _memory(field: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))
