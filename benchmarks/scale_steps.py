"""The process that :mod:`benchmarks.scale` measures: one line of JSON per step.

    python -m benchmarks.scale_steps FOLDER [MEMORY] [--read-only] [--without STEP [STEP ...]]

Of each step: seconds, the peak of resident memory, and of the process's own (anonymous) memory what it has
before, at most and after. Sweeps are timed by the progress of a fit; the first has the compilation in it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import landbridge as lb
from benchmarks.epoch_ends import EpochEnds
from benchmarks.own_memory import Watch, least_bytes, own_bytes
from benchmarks.scale import FACTORS
from landbridge.core.system import peak_bytes, reset_peak
from landbridge.core.types import Ragged
from landbridge.models.als.consensus import Consensus

T = TypeVar("T")
EPOCHS = 3
PAIRS = 1000  # of each domain, that are evaluated
FACTORISATIONS: dict[str, lb.Method] = {
    "CDIMF": lb.CDIMF(factors=FACTORS, epochs=EPOCHS),
    "CDIMF, active": lb.CDIMF(factors=FACTORS, epochs=EPOCHS, consensus=Consensus("active")),
    # the last one is evaluated and stored
    "iALS": lb.IALS(factors=FACTORS, epochs=EPOCHS, solver="auto"),
}
SPLITS: dict[str, Callable[[lb.MultiDomain], lb.Split]] = {
    "leave_one_out": lb.leave_one_out,
    "temporal": lb.temporal,
}
NEIGHBOURS: dict[str, lb.Method] = {
    "item-kNN": lb.ItemKNN(neighbours=50, sharing="separate"),
    "EASE, local": lb.EASE(form="local", neighbours=50, sharing="separate"),
}


class Memory(Watch):
    """The own memory of this process while it works."""

    def measured(self, work: Callable[[], T]) -> tuple[T, dict[str, float]]:
        """What the work gives, and what it takes."""
        before = self.most = least_bytes()
        reset_peak()
        start = time.perf_counter()
        result = work()
        seconds, left = time.perf_counter() - start, own_bytes()
        return result, {
            "seconds": seconds,
            "peak": peak_bytes(),
            "before": before,
            "anonymous": max(self.most, left),
            "left": left,
        }


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("memory", nargs="?")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    memory = Memory()

    def step(name: str, work: Callable[[], T], about: Callable[[T], Mapping[str, Any]] = lambda _: {}) -> T:
        result, facts = memory.measured(work)
        print(json.dumps({"step": name, **facts, **about(result)}), flush=True)
        return result

    data = step("read", lambda: lb.read(chosen.folder, memory=chosen.memory), _shape)
    if chosen.read_only:
        step("by item", lambda: [events.by_item.columns for events in data.domains.values()])
        return
    for name, split_by in SPLITS.items():
        if name not in chosen.without:
            step(name, partial(split_by, data))
    split = step(
        "leave_last_out", lambda: lb.leave_last_out(data), lambda s: {"fingerprint": s.test.fingerprint}
    )
    train, sample = split.test.history, split.test.sample(PAIRS, 0)
    step("popularity", lambda: lb.Popularity().fit(train))
    step(
        "by item",
        lambda: [events.by_item for events in train.domains.values()],
        lambda rows: floor([events.by_user for events in train.domains.values()] + rows),
    )
    model = None
    for name, method in FACTORISATIONS.items():
        if name in chosen.without:
            continue
        clock = EpochEnds(time.perf_counter)
        options = lb.FitOptions(threads=chosen.threads, progress=clock)
        model = step(name, partial(method.fit, train, options), partial(_of_sweeps, clock))
    assert model is not None
    step("evaluation", partial(lb.evaluate, model, sample, threads=chosen.threads))
    with tempfile.TemporaryDirectory(dir=Path(chosen.folder).parent) as scratch:
        step("store", partial(lb.save, model, Path(scratch) / "run"))
        step("load", partial(lb.load, Path(scratch) / "run"))
    options = lb.FitOptions(threads=chosen.threads)
    for name, method in NEIGHBOURS.items():
        if name not in chosen.without:
            step(name, partial(method.fit, train, options), lambda model: {"model": _bytes(model)})


def _of_sweeps(clock: EpochEnds[float], model: lb.Fitted) -> Mapping[str, Any]:
    return {"sweep": clock.ends[-1] - clock.ends[-2], "model": _bytes(model)}


def floor(sides: Sequence[Ragged]) -> dict[str, float]:
    """What a sweep of exact iALS over the rows of all tables takes at least. Operations: n events and F
    factors of a row make a Gramian of n²F or, if that is less, nF², and its Cholesky a third of a cube.
    Bytes: every event's index and the embedding that it names, and every embedding written."""
    n, size = np.concatenate([each.lengths for each in sides]).astype(float), FACTORS
    least = np.minimum(n**2 * size + n**3 / 3, n * size**2 + size**3 / 3)
    return {"operations": float(least.sum()), "bytes": float(4 * (n.sum() * (1 + size) + len(n) * size))}


def _shape(data: lb.MultiDomain) -> dict[str, Any]:
    items = sum(map(len, data.items.values()))
    return {"kept": data.n_events, "users": data.n_users, "items": items, "fingerprint": data.fingerprint}


def _bytes(model: lb.Fitted) -> int:
    """Of the arrays of a model."""
    return sum({id(array): array.nbytes for array in model.state()[0].values()}.values())


if __name__ == "__main__":
    main()
