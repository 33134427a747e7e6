"""A model without weights whose scores are raised afterwards, by ln w of an item.

The loss Σ_t w_{p_t} ℓ_t is least where π(c | q) is in proportion to w_c p(c | q), with p what users do. So a
network that could be anything would end with the scores of the unweighted one plus ln w_c: what weights teach
could be added after learning, or at a request. This asks how far that holds of a real network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landbridge.core.types import Float32
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.models.sequential.dwl import DWL
from landbridge.models.sequential.fitted import SequenceModel
from landbridge.models.sequential.item_weights import SparsityWeights
from landbridge.training.options import FitOptions


@dataclass(frozen=True, eq=False)
class Raised(SequenceModel):
    """``raise_I``: what is added to the scores of the joined catalogue."""

    raise_I: Float32 = field(kw_only=True)

    def score(self, domain: str, queries: Queries) -> Float32:
        """Those of the model, raised."""
        return np.asarray(super().score(domain, queries) + self.raise_I[self._slices[domain]])


def raised(
    generic: DWL, weighed: Mapping[str, DWL], test: Holdout, seeds: Sequence[int], kept: Path
) -> dict[str, dict[int, Evaluation]]:
    """Label -> seed -> the generic model evaluated with the scores raised by the weights of each method."""
    kept.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if all(_file(kept, label, seed).exists() for label in weighed):
            continue
        fitted = generic.fit(test.history, FitOptions(seed=seed, threads=1))
        own: dict[str, Any] = {entry.name: getattr(fitted, entry.name) for entry in fields(fitted)}
        for label, method in weighed.items():
            model = Raised(**own, raise_I=np.log(weights_of(method, test.history)).astype(np.float32))
            evaluate(model, test, threads=1).write(_file(kept, label, seed))
    return {label: {seed: Evaluation.read(_file(kept, label, seed)) for seed in seeds} for label in weighed}


def weights_of(method: DWL, history: MultiDomain) -> np.ndarray[Any, np.dtype[np.float64]]:
    """w of the items in the first epoch, which is that of all epochs where the signal is static, (I,)."""
    weighed = SparsityWeights(method.weight_rule, history, torch.device("cpu"))
    weighed.begin(0)
    return weighed.item_weights()


def _file(kept: Path, label: str, seed: int) -> Path:
    return kept / f"{label}-{seed}.parquet"
