"""The pace of the networks, as a part of :mod:`benchmarks.engine`: seconds of each of many epochs.

Every method that needs the extra ``neural`` is fitted with one and with two threads, in a process of its own
and after other fits in one process: a factorisation, and then all networks in turn. Every fit is validated as
often as its method asks for; the values rise, so that none stops early. What a fit or a validation leaves
behind, such as threads that wait busily or an optimiser's memory full of subnormal numbers, shows where the
last epochs take longer than the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

EPOCHS = 40  # of each fit
THREADS = (1, 2)
WALKS = {"users": 1000, "fans": 250, "items": 120, "steps": 24}  # of the planted data
Record = dict[str, Any]


@dataclass
class Clock:
    """A progress that keeps the seconds of each step, a list for each task."""

    tasks: list[list[float]] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Dropped."""

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Clock]:
        """A task whose steps are timed."""
        self.tasks.append([])
        self._last = time.perf_counter()
        yield self

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        """One more step."""
        now = time.perf_counter()
        self.tasks[-1].append(now - self._last)
        self._last = now

    def of(self, steps: int) -> list[float]:
        """Seconds of each step of the first task of so many, else of the longest: a network may have phases
        before and after."""
        return next((each for each in self.tasks if len(each) == steps), max(self.tasks, key=len))


@dataclass(frozen=True)
class Fits:
    """Fits of one process: ``networks`` in turn, after a factorisation if ``others``."""

    networks: tuple[str, ...]
    threads: int
    others: bool

    @property
    def name(self) -> str:
        """What ``--only`` and the records call it."""
        fits = "after other fits" if self.others else f"{self.networks[0]} alone"
        return f"pace: {fits}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def all_fits() -> list[Fits]:
    """Each network alone, and all of them in one process, with either number of threads."""
    from landbridge.models import registry

    networks = tuple(name for name in registry.names() if "neural" in registry.method(name).needs)
    alone = [Fits((name,), threads, False) for name in networks for threads in THREADS]
    return [*alone, *(Fits(networks, threads, True) for threads in THREADS)]


def measure(fits: Fits, epochs: int) -> Record:
    """Seconds of every epoch of every network, from a process of its own."""
    before = os.getloadavg()[0]
    given = json.dumps([fits.networks, fits.threads, fits.others, epochs])
    command = [sys.executable, "-W", "ignore", "-m", __name__, given]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {
        "name": fits.name,
        "threads": fits.threads,
        "others": fits.others,
        "seconds": dict(map(json.loads, lines)),
        "load": [before, os.getloadavg()[0]],
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Make the fits that the first argument names; a line of JSON for each network."""
    from landbridge.data.splitting.splits import leave_last_out
    from landbridge.data.synthetic import planted_walks
    from landbridge.evaluation.evaluate import evaluate
    from landbridge.models import registry
    from landbridge.training.options import FitOptions

    networks, threads, others, epochs = json.loads(sys.argv[1])
    valid = leave_last_out(planted_walks(**WALKS), seed=1).valid
    validations = count()

    def rising(fitted: Any) -> float:
        evaluate(fitted, valid, threads=threads)
        return float(next(validations))

    options = FitOptions(seed=1, threads=threads, device="cpu", validate=rising)
    if others:
        registry.method("ials")().fit(valid.history, options)
    for name in networks:
        clock = Clock()
        method = registry.method(name).from_settings({"epochs": epochs})
        method.fit(valid.history, replace(options, progress=clock))
        print(json.dumps([name, clock.of(epochs)]), flush=True)


if __name__ == "__main__":
    main()
