"""SASRec and DWL as programs of :mod:`benchmarks.sequence`: a fit that stands still between turns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # noqa: F401 (loading it is no part of learning)

from benchmarks.sequence_child import Turns
from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.sampling import kernels as batch_kernels  # noqa: F401 (nor is loading numba)
from landbridge.data.sampling import sequences
from landbridge.data.sampling.sequences import Windows
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.data.vocabulary import Vocabulary
from landbridge.datasets import catalog
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.fitted import SequenceModel
from landbridge.models.sequential.method import SequenceMethod, TargetWeights
from landbridge.models.sequential.sasrec import SASRec
from landbridge.training import optimizer_kernels as row_kernels  # noqa: F401
from landbridge.training.options import FitOptions
from landbridge.training.phase import Phase

if TYPE_CHECKING:
    import polars as pl

ENDLESS = 10_000  # epochs: the parent says when it is over


@dataclass(frozen=True)
class First(DWL):
    """Of every epoch the first ``steps`` batches."""

    steps: int | None = setting(None, "Batches of an epoch.", low=1)

    def phase(self, steps: Any, weights: Mapping[str, Any], target_weights: TargetWeights) -> Phase[Any]:
        """The batches cut short."""
        whole = super().phase(steps, weights, target_weights)
        return replace(whole, batches=lambda epoch: islice(whole.batches(epoch), self.steps))


class Halting:
    """A fit's progress that waits for a word after every epoch. ``keep``: what the fit validates with."""

    def __init__(self, turns: Turns, method: SequenceMethod, history: MultiDomain) -> None:
        self.turns, self.method, self.history = turns, method, history

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Halting]:
        """The fit is about to begin."""
        self.turns.begin()
        yield self

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        """An epoch is over."""
        self.turns.ended(lambda: self._part(done - 1), self._rows)

    def keep(self, fitted: SequenceModel) -> float:
        """The model as it is now."""
        self.fitted = fitted
        return 0.0

    @cached_property
    def windows(self) -> Windows:
        """What the fit goes through."""
        method = self.method
        return Windows(
            sequences.user_histories(self.history),
            method.encoder.max_length,
            method.batch_size,
            method.horizon,
        )

    def _part(self, epoch: int) -> float:
        """How much of an epoch's targets its first batches hold."""
        steps = getattr(self.method, "steps", None)
        if steps is None:
            return 1.0
        reported = [int((window.target_BL >= 0).sum()) for window in self.windows.epoch(epoch)]
        return sum(reported[:steps]) / sum(reported)

    def _rows(self) -> tuple[Any, Any]:
        """Every user's state after the last known event, and the items."""
        return self.fitted.states(self.windows.rows, "all"), self.fitted.weights["item"]


def ratings(dataset: str) -> MultiDomain:
    """All ratings of a release of MovieLens as one table with times."""
    import polars as pl

    return one_domain(pl.read_parquet(catalog.get(dataset) / "ratings.parquet"))


def one_domain(table: pl.DataFrame) -> MultiDomain:
    """Ratings with columns ``user``, ``item`` and ``timestamp``."""
    users, items = (np.unique(table[side].to_numpy(), return_inverse=True) for side in ("user", "item"))
    sizes = len(users[0]), len(items[0])
    events = Interactions.from_events(users[1], items[1], *sizes, time=table["timestamp"].to_numpy())
    ids = [Vocabulary.of(np.arange(size)) for size in sizes]
    return MultiDomain(ids[0], {"all": ids[1]}, {"all": events})


def holdout(dataset: str) -> Holdout:
    """Every user's latest rating held out."""
    return leave_latest_out(ratings(dataset)).test


def latest_held_out(name: str) -> MultiDomain:
    """What is known where every user's latest rating is held out."""
    return holdout(name).history


PROGRAMS: Mapping[str, tuple[type[SequenceMethod], Callable[..., Any]]] = {
    "sasrec": (SASRec, latest_held_out),
    "dwl": (First, catalog.load),
}


def main() -> None:
    settings = json.loads(sys.argv[1])
    method, load = PROGRAMS[settings["program"]]
    history = load(**settings["data"])
    halting = Halting(
        Turns(settings), method.from_settings({"epochs": ENDLESS, **settings["method"]}), history
    )
    options = FitOptions(threads=settings["threads"], device="cpu", validate=halting.keep, progress=halting)
    halting.method.fit(history, options)


if __name__ == "__main__":
    main()
