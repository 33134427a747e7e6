"""Intervals by resampling users with replacement."""

from __future__ import annotations

import numpy as np

from landbridge.core.types import Float64
from landbridge.evaluation.metrics import Ints

_CELLS = 1_000_000  # resampled users held at a time


def mean_interval(
    total_U: Float64, count_U: Ints, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The 95 % bootstrap interval of Σ total / Σ count, in memory that does not grow with ``draws``."""
    n_users = len(total_U)
    chunk = max(1, _CELLS // n_users)
    means = []
    for start in range(0, draws, chunk):
        shape = min(chunk, draws - start), n_users
        chosen = rng.integers(0, n_users, shape, dtype=np.int32)
        # a ratio of sums: users with more pairs count more, as in the reported mean
        means.append(total_U[chosen].sum(axis=1) / count_U[chosen].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)
