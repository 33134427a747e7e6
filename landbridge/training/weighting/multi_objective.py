"""Multi-objective domain weights: sparsity, the worst-off domain and fair exposure, mixed into one weight
each.

With the weights w^(k) of objective k, its coefficient λ_k and the domains' shares f_d of all samples:

    w_d = renormalised(Π_k (w_d^(k))^λ_k, f)                                                           (1)

    "sparsity"     w of :mod:`landbridge.training.weighting.sparsity`
    "worst_group"  w_d ← w_d exp(η L_d) / Σ_e f_e w_e exp(η L_e),   L_d the domain's mean loss         (2)
    "exposure"     w_d = t_d (n + 1) / (n_d + t_d)                                                     (3)

``renormalised`` is Eq. (9) of sparsity: bounds, and mean 1 over the samples.

Eq. (2) is group DRO (Sagawa et al., ICLR 2020, Algorithm 1): the parts f_d w_d of the loss follow
exponentiated gradient ascent. It starts from the shares f, where group DRO starts from equal parts. In Eq.
(3) domain d has n_d of the n items shown so far and should have the fraction t_d of them. One item, divided
among the domains in proportion to t, is counted in addition: with nothing shown yet every weight is 1, and no
division is by 0.

Letters: D domains, P points, M metrics or objectives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.types import Bool, Float64
from landbridge.training.weighting.base import within
from landbridge.training.weighting.sparsity import MAX_LOG_RATIO, check_bounds, renormalised

OBJECTIVES = ("sparsity", "worst_group", "exposure")


@dataclass(frozen=True)
class MultiObjective:
    """Coefficients λ of the objectives in Eq. (1), and the bounds of the weights.

    With 0 everywhere all weights are 1; coefficients that sum to 1 make a weighted geometric mean.
    """

    sparsity: float = 1.0
    worst_group: float = 0.0
    exposure: float = 0.0
    low: float = 0.2
    high: float = 5.0

    def __post_init__(self) -> None:
        for key in OBJECTIVES:
            within(key, getattr(self, key), 0, np.inf)
        check_bounds(self.low, self.high)

    def mixed(self, requested: Mapping[str, npt.ArrayLike], share_D: npt.ArrayLike) -> Float64:
        """The mixed weights, Eq. (1), (D,).

        ``requested``: objective -> its weights (D,), above 0; an objective with coefficient 0 may be missing.
        ``share_D``: f_d. SettingsError for an unknown or a missing objective.
        """
        for name in requested:
            if name not in OBJECTIVES:
                raise SettingsError(unknown("objective", name, OBJECTIVES))
        log_D = np.zeros(len(np.asarray(share_D)))
        for name in OBJECTIVES:
            coefficient = getattr(self, name)
            if coefficient and name not in requested:
                raise SettingsError(
                    f"Objective {name} has coefficient {coefficient}, but no weights were given for it."
                )
            if coefficient:
                log_D = log_D + coefficient * _log_weights(name, requested[name])
        # a common factor is free in ``renormalised``, so the largest is set to 1: exp cannot overflow
        mixed_D = np.exp(np.maximum(log_D - log_D.max(), -MAX_LOG_RATIO))
        return renormalised(mixed_D, share_D, self.low, self.high)  # Eq. (1)


def worst_group(
    weight_D: npt.ArrayLike, loss_D: npt.ArrayLike, share_D: npt.ArrayLike, lr: float = 0.01
) -> Float64:
    """Group DRO: the weights after one step of Eq. (2), (D,); their mean over the shares is 1.

    ``lr`` is η. A domain without a sample in the step has loss 0, as in group DRO.
    """
    within("lr", lr, 0, np.inf)
    loss_D, share_D = np.asarray(loss_D, np.float64), np.asarray(share_D, np.float64)
    # subtracting the maximum cancels in Eq. (2) and keeps exp at most 1
    grown_D = np.asarray(weight_D, np.float64) * np.exp(lr * (loss_D - loss_D.max()))
    return np.asarray(grown_D / (share_D @ grown_D))  # Eq. (2)


def exposure(target_D: npt.ArrayLike, shown_D: npt.ArrayLike) -> Float64:
    """Exposure weights, Eq. (3), (D,): above 1 where a domain is shown less than its target share.

    ``target_D``: t_d, above 0, with any sum; ``shown_D``: n_d. SettingsError for a target of 0 or less.
    """
    target_D, shown_D = np.asarray(target_D, np.float64), np.asarray(shown_D, np.float64)
    if not target_D.min() > 0:
        raise SettingsError(
            "Every domain's target share must be above 0: leave out domains that are not to be shown."
        )
    part_D = target_D / target_D.sum()
    return np.asarray(part_D * (shown_D.sum() + 1) / (shown_D + part_D))  # Eq. (3)


def pareto(points_PM: npt.ArrayLike, larger_is_better: bool | Sequence[bool] = True) -> Bool:
    """The Pareto front: True where no other point is as good in all metrics and better in one, (P,).

    Equal points stay. ``points_PM``: one row per point; ``larger_is_better``: for all metrics, or one per
    metric. Takes 2 P² bytes of memory. DataError for NaN.
    """
    points_PM = np.asarray(points_PM, np.float64)
    if np.isnan(points_PM).any():
        raise DataError("A point has a metric that is NaN: leave that point out.")
    signed_PM = np.where(larger_is_better, points_PM, -points_PM)
    no_worse_PP, better_PP = np.ones((len(points_PM),) * 2, bool), np.zeros((len(points_PM),) * 2, bool)
    for value_P in signed_PM.T:
        no_worse_PP &= value_P[:, None] >= value_P
        better_PP |= value_P[:, None] > value_P
    return np.asarray(~(no_worse_PP & better_PP).any(axis=0))


def simplex_grid(objectives: int, steps: int) -> Float64:
    """All vectors of multiples of 1/``steps`` that sum to 1, in lexicographic order, (P, M).

    SettingsError for less than one objective or step.
    """
    if min(objectives, steps) < 1:
        raise SettingsError("A grid needs 1 objective and 1 step or more.")
    # stars and bars: M - 1 bars among ``steps`` stars; the gaps between bars are the numerators
    slots = steps + objectives - 1
    bars = [(-1, *inner, slots) for inner in combinations(range(slots), objectives - 1)]
    return np.asarray((np.diff(bars, axis=1) - 1) / steps)


def _log_weights(name: str, weight_D: npt.ArrayLike) -> Float64:
    requested_D: Float64 = np.asarray(weight_D, np.float64)
    if not bool(np.all((requested_D > 0) & (requested_D < np.inf))):
        raise SettingsError(f"The weights of objective {name} must be positive and finite.")
    return np.log(requested_D)
