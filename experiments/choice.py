"""Settings from validation data, each method tried once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import digest
from landbridge.core.files import read_json, write_json
from landbridge.core.rng import generator
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.evaluation.evaluate import Validator
from landbridge.models.base import Method
from landbridge.training.options import FitOptions
from landbridge.version import __version__

TUNING_SEED, USERS = 15, 2000
COLD_WEIGHTS = (0.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Choice:
    """What validation data say about the methods of one data set, kept in the folder ``kept``.

    ``every``: epochs between validations of a method. ``fit``: its fit on what ``valid`` knows. ``patience``:
    validations without a better figure before a fit stops.
    """

    name: str
    valid: Holdout
    kept: Path
    every: Callable[[Method], int]
    fit: Callable[[Method, FitOptions], Any]
    patience: int = 15

    def best(self, methods: Iterable[Method]) -> Any:
        """The best of the methods, with its best numbers of epochs and cold weight."""
        found = [self._evaluated(method) for method in methods]
        return max(found, key=lambda pair: pair[1])[0]

    def _evaluated(self, method: Method) -> tuple[Method, float]:
        key = digest([method.name, method.flat(), self.valid.fingerprint, __version__])
        path = self.kept / f"{key}.json"
        if not path.exists():
            settings, figure = self._tried(method)
            write_json(path, {"settings": settings, "figure": figure})
        reported = read_json(path)
        print(f"{self.name} {method.name} {reported['figure']:.4f} {reported['settings']}", flush=True)
        return type(method).from_settings(reported["settings"]), reported["figure"]

    def _tried(self, method: Method) -> tuple[dict[str, Any], float]:
        validate = Validator(self.valid, threads=1)
        options = FitOptions(
            seed=TUNING_SEED,
            threads=1,
            validate=validate,
            patience=self.patience,
            validate_every=self.every(method),
        )
        fitted = self.fit(method, options)
        figures = {weight: validate(replace(fitted, popularity_weight=weight)) for weight in COLD_WEIGHTS}
        weight = max(figures, key=figures.__getitem__)
        return {**method.stopped(fitted.log).flat(), "popularity_weight": weight}, figures[weight]


def some_users(valid: Holdout, most: int = USERS) -> Holdout:
    """All held-out pairs of some users."""
    chosen_U = generator(TUNING_SEED, "users").permutation(valid.history.n_users)[:most]
    targets = {}
    for name, each in valid.targets.items():
        kept_T = np.isin(each.user_idx, chosen_U)
        candidates_TC = None if each.candidates_TC is None else each.candidates_TC[kept_T]
        targets[name] = Targets(each.user_idx[kept_T], each.item_idx[kept_T], candidates_TC)
    return Holdout(valid.history, targets)


def entry(label: str, method: Method) -> dict[str, Any]:
    """The method as a benchmark's file has it: what differs from the defaults."""
    return {"label": label, "name": method.name, "settings": method.changed()}
