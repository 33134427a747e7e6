"""κ of the exponential map at which the weights of different sparsity metrics are spread alike.

    spread(w) = √(Σ_d (ln w_d - mean ln w)² / D)                                                       (1)

over the D domains with events. The hybrid score spans more than any of its terms, so at one κ its weights
differ more, and a gain over frequency alone may be one of larger weights only. Here every metric gets the κ
with which its target weights, bounds and mean 1 included, have the spread of the hybrid's at the given κ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from landbridge.core.types import Float64
from landbridge.training.weighting.schedule import WeightSchedule
from landbridge.training.weighting.sparsity import METRICS, DomainCounts, SparsityScore

REFERENCE = "hybrid"
MOST = 1024.0  # times the given κ: beyond it the bounds alone decide
BISECTION_STEPS = 60


def spread(weight_D: Float64) -> float:
    """Eq. (1)."""
    return float(np.log(weight_D).std())


def kappas_of_equal_spread(schedule: WeightSchedule, counts: DomainCounts) -> dict[str, float]:
    """Metric -> its κ, without the metrics that cannot differ as much within the bounds."""

    def spread_of(metric: str, kappa: float) -> float:
        return spread(_targets(schedule, METRICS[metric], kappa, counts))

    kappa = schedule.weight_map.kappa
    wanted = spread_of(REFERENCE, kappa)
    found = {name: _solved(partial(spread_of, name), wanted, kappa) for name in METRICS}
    return {name: value for name, value in (found | {REFERENCE: kappa}).items() if value is not None}


def _targets(schedule: WeightSchedule, metric: SparsityScore, kappa: float, counts: DomainCounts) -> Float64:
    """The target weights of the domains with events."""
    # only the ratios of a metric are varied, as in the cells of the ablation
    score = replace(schedule.sparsity, alpha=metric.alpha, beta=metric.beta, gamma=metric.gamma)
    weight_map = replace(schedule.weight_map, kind="exponential", kappa=kappa)
    weight_D = weight_map.weights(score.score(counts), counts.share_D if schedule.renorm else None)
    return weight_D[counts.events_D > 0]


def _solved(spread_at: Callable[[float], float], wanted: float, start: float) -> float | None:
    """The κ with the wanted spread; None where no κ has it."""
    low, high = 0.0, start
    while spread_at(high) < wanted:
        if high >= MOST * start:
            return None
        low, high = high, 2 * high
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if spread_at(middle) < wanted else (low, middle)
    return high
