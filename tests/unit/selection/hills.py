"""Methods whose figure is a hill over their settings, on a world small enough for hundreds of fits."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest

from landbridge.core.errors import DivergenceError
from landbridge.core.settings import setting
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.base import Fitted, Method
from landbridge.models.popularity import PopularityModel
from landbridge.models.search_space import Choice, Real, Space, Whole
from landbridge.selection.search import Budget, TuningResult, tune
from landbridge.training.options import FitOptions

ITEMS, SUMMIT = 1000, 600


def at(train: MultiDomain, method: Method, place: float) -> PopularityModel:
    """Items score by how near they are to ``place`` (0 to 1) on a line."""
    score_I = -np.abs(np.arange(ITEMS) / ITEMS - place).astype(np.float32)
    return PopularityModel(train, method, (), {"line": score_I})


@dataclass(frozen=True)
class Height:
    """In place of the validator: 1 less the distance of the best item from the held-out one."""

    holdout: Holdout
    metric: str
    threads: int | None = None

    def __call__(self, fitted: Any) -> float:
        return (
            1
            - abs(int(fitted.score_I["line"].argmax()) - int(self.holdout.targets["line"].item_idx[0]))
            / ITEMS
        )


def find(method: Method | None = None, trials: int = 12, seed: int = 3, **others: Any) -> TuningResult:
    """A search on the line; ``others``: split, options, seconds, metric, space, storage."""
    split, options = others.pop("split", line()), others.pop("options", FitOptions(seed=seed, threads=1))
    budget = Budget(trials, others.pop("seconds", None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("landbridge.evaluation.evaluate.Validator", Height)
        return tune(method or Hill(), split, budget, options, **others)


@dataclass(frozen=True)
class Hill(Method):
    """Walks ``place`` / 4 in every epoch; the summit is at 0.6 less a little for spread and shape."""

    place: float = setting(0.05, "Where the walk is.")
    spread: int = setting(3, "A whole number.")
    shape: str = setting("flat", "A choice.")
    epochs: int = setting(6, "Steps of the walk.", low=1)
    name: ClassVar[str] = "hill"
    space: ClassVar[Space] = MappingProxyType(
        {"place": Real(0.01, 1.0, log=True), "spread": Whole(1, 9), "shape": Choice(("round", "flat"))}
    )

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        options = options or FitOptions()
        for epoch in range(self.epochs):
            fitted = at(train, self, self._reached(epoch))
            if options.validate is not None:
                options.validate(fitted)
        return fitted

    def _reached(self, epoch: int) -> float:
        return self.place * (epoch + 1) / 4 + abs(self.spread - 5) / 50 + 0.05 * (self.shape == "flat")


@dataclass(frozen=True)
class Once(Method):
    """No epochs, nothing reported; one option diverges."""

    place: float = 0.1
    name: ClassVar[str] = "once"
    space: ClassVar[Space] = MappingProxyType({"place": Choice((0.1, 0.4, 0.6, 2.0))})

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        if self.place > 1:
            raise DivergenceError("off the line")
        return at(train, self, self.place)


@dataclass(frozen=True)
class Fixed(Method):
    """Nothing to choose."""

    epochs: int = 2
    name: ClassVar[str] = "fixed"

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        return at(train, self, 0.3)


def line(users: int = 12, summit: int = SUMMIT, first: int = 0) -> Split:
    """All users holds one item, and the item of the summit is held out."""
    who, held = np.arange(users), np.full(users, summit, np.int32)
    events = Interactions.from_events(who, (who + first) % 40, users, ITEMS)
    data = MultiDomain(Vocabulary.of(who), {"line": Vocabulary.of(np.arange(ITEMS))}, {"line": events})
    valid = Holdout(data, {"line": Targets(who.astype(np.int32), held)})
    return Split(valid, Holdout(data, {"line": Targets(who.astype(np.int32), held - 300)}))
