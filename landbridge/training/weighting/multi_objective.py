"""Several objectives at once: one weight per domain out of what each of them asks for, and what was gained.

With the weights w^(k) of objective k, its coefficient λ_k and the shares f_d of the domains:

    w_d = renormalised(Π_k (w_d^(k))^λ_k, f)                                                           (1)

    "sparsity"     w of :mod:`landbridge.training.weighting.sparsity`
    "worst_group"  w_d ← w_d exp(η L_d) / Σ_e f_e w_e exp(η L_e),   L_d the domain's mean loss         (2)
    "exposure"     w_d = t_d (n + 1) / (n_d + t_d)                                                     (3)

In Eq. (2) the parts f_d w_d of the loss go by exponentiated gradient ascent, which is group DRO (Sagawa et
al., ICLR 2020), from the shares f instead of from equal parts. In Eq. (3) domain d was shown n_d times of n
and is to have the share t_d of all that is shown; one place in proportion to t is counted with them, so that
nothing shown yet means weight 1 and nothing is divided by 0.
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
from landbridge.training.weighting.sparsity import FARTHEST, check_bounds, renormalised

OBJECTIVES = ("sparsity", "worst_group", "exposure")


@dataclass(frozen=True)
class MultiObjective:
    """How much each objective counts, its λ in Eq. (1), and the bounds of the weights. 0 everywhere weighs
    nothing; coefficients that sum to 1 make a weighted geometric mean."""

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
        """Eq. (1), (D,). ``requested``: objective -> its weights (D,), above 0; an objective with
        coefficient 0 may be missing."""
        for name in requested:
            if name not in OBJECTIVES:
                raise SettingsError(unknown("objective", name, OBJECTIVES))
        log_D = np.zeros(len(np.asarray(share_D)))
        for name in OBJECTIVES:
            coefficient = getattr(self, name)
            if coefficient and name not in requested:
                raise SettingsError(f"{name} counts {coefficient}, but its weights are missing.")
            if coefficient:
                log_D = log_D + coefficient * _log(name, requested[name])
        kept_D = np.exp(np.maximum(log_D - log_D.max(), -FARTHEST))
        return renormalised(kept_D, share_D, self.low, self.high)  # Eq. (1)


def worst_group(
    weight_D: npt.ArrayLike, loss_D: npt.ArrayLike, share_D: npt.ArrayLike, lr: float = 0.01
) -> Float64:
    """Eq. (2): the weights after a step of length ``lr``, η; their mean over the shares is 1, (D,).

    A domain that the step had nothing of has loss 0 there, as in group DRO.
    """
    within("lr", lr, 0, np.inf)
    loss_D, share_D = np.asarray(loss_D, np.float64), np.asarray(share_D, np.float64)
    grown_D = np.asarray(weight_D, np.float64) * np.exp(lr * (loss_D - loss_D.max()))
    return np.asarray(grown_D / (share_D @ grown_D))  # Eq. (2)


def exposure(target_D: npt.ArrayLike, shown_D: npt.ArrayLike) -> Float64:
    """Eq. (3), (D,): above 1 where a domain is shown less than its part.

    ``target_D``: t_d, above 0, with any sum; ``shown_D``: n_d.
    """
    target_D, shown_D = np.asarray(target_D, np.float64), np.asarray(shown_D, np.float64)
    if not target_D.min() > 0:
        raise SettingsError("Every domain's target share must be above 0: leave out those not to be shown.")
    part_D = target_D / target_D.sum()
    return np.asarray(part_D * (shown_D.sum() + 1) / (shown_D + part_D))  # Eq. (3)


def pareto(points_PM: npt.ArrayLike, larger_is_better: bool | Sequence[bool] = True) -> Bool:
    """Whether no other point is at least as good in all figures and better in one, (P,); equal points stay.

    ``points_PM``: one row per point; ``larger_is_better``: of all figures, or of each. Memory is P² bytes.
    """
    points_PM = np.asarray(points_PM, np.float64)
    if np.isnan(points_PM).any():
        raise DataError("A point has a figure that is no number; leave it out.")
    signed_PM = np.where(larger_is_better, points_PM, -points_PM)
    no_worse_PP, better_PP = np.ones((len(points_PM),) * 2, bool), np.zeros((len(points_PM),) * 2, bool)
    for figure_P in signed_PM.T:
        no_worse_PP &= figure_P[:, None] >= figure_P
        better_PP |= figure_P[:, None] > figure_P
    return np.asarray(~(no_worse_PP & better_PP).any(axis=0))


def simplex_grid(objectives: int, steps: int) -> Float64:
    """All coefficients that are multiples of 1/``steps`` and sum to 1, in order, (P, M)."""
    if min(objectives, steps) < 1:
        raise SettingsError("A grid needs 1 objective and 1 step or more.")
    places = steps + objectives - 1
    bars = [(-1, *inner, places) for inner in combinations(range(places), objectives - 1)]
    return np.asarray((np.diff(bars, axis=1) - 1) / steps)


def _log(name: str, weight_D: npt.ArrayLike) -> Float64:
    requested_D: Float64 = np.asarray(weight_D, np.float64)
    if not bool(np.all((requested_D > 0) & (requested_D < np.inf))):
        raise SettingsError(f"The weights of {name} must be above 0 and finite.")
    return np.log(requested_D)
