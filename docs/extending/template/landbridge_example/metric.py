"""``f1@K``: the harmonic mean of precision and recall."""

from __future__ import annotations

import numpy as np

from landbridge.evaluation.metrics import MetricKind, TieGroups, expected_gain


def f1(groups: TieGroups, cutoff: int) -> np.ndarray:
    """2 · hits / (K + targets) of every list, (N,)."""
    return 2 * expected_gain(groups, np.ones(cutoff)) / (cutoff + groups.targets_N)


F1 = MetricKind(f1)
