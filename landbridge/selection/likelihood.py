"""Weights of a blend under which the held-out items are most probable: a conditional logit (McFadden, 1974).

The held-out item i_t of a pair t is a choice from its pool (:mod:`landbridge.selection.pool`), which is
itself and its strongest competitors. With the members' standardised scores z_ti and one weight for each,

    P(i | t) = exp(w·z_ti) / Σ_j exp(w·z_tj),   w ≥ 0                                                  (1)

A pair counts where some member has the item among its best, as then the item is in the pool whether it was
held out or not, and (1) is its probability given that. A metric such as NDCG@10 is a step function that most
pairs leave at 0; the likelihood is smooth and learns from all of these pairs, so that it needs fewer.

The weights of a domain's or an activity group's pairs S are drawn towards those of all pairs, w̄, by κ pairs'
worth of what these say: with the mean H̄ over all pairs of the negative second derivative of ln P at w̄,

    max_w Σ_{t∈S} ln P(i_t | t) - κ/2 (w - w̄)ᵀ H̄ (w - w̄)                                              (2)

by Newton's method. With the gradient g and the negative second derivative A = L Lᵀ of (2) at w, each step is
a problem of nonnegative least squares, halved until the objective grows:

    w' = argmin_{x ≥ 0} |Lᵀ x - L⁻¹ (A w + g)|²                                                        (3)

Shape letters: P pairs, M members.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landbridge.core.types import Float64, Int64
from landbridge.selection.pool import Pool

KAPPA = 300.0  # pairs
RIDGE = 1e-3  # of a weight, so that members that are copies of each other have an answer
STEPS, CLOSE = 30, 1e-6  # of Newton's method: at most, and the relative gain of the last one
SMALLEST_STEP = 1e-3


@dataclass(frozen=True, eq=False)
class Logit:
    """``weight_M``: as they are in (1), not scaled to a sum of 1. ``information_MM``: H̄ there."""

    weight_M: Float64
    information_MM: Float64

    @property
    def shares_M(self) -> Float64:
        """The weights scaled to a sum of 1, which orders alike; equal ones where no member says anything."""
        total = self.weight_M.sum()
        return self.weight_M / total if total > 0 else np.full(len(self.weight_M), 1 / len(self.weight_M))


def logit(pool: Pool, pair_P: Int64, towards: Logit | None = None, kappa: float = KAPPA) -> Logit:
    """The most probable weights for some pairs, all within reach (:meth:`Pool.reached`), Eq. (2)."""
    members = len(pool.labels)
    centre_M = np.full(members, 1 / members) if towards is None else towards.weight_M
    # without anything to be drawn towards only the ridge, towards 0
    mean_M = np.zeros(members) if towards is None else centre_M
    prior_MM = RIDGE * np.eye(members) + (0 if towards is None else kappa * towards.information_MM)
    at = _Objective(pool, pair_P, mean_M, prior_MM)
    now = at(centre_M)
    for _ in range(STEPS):
        aim_M, step = now.newton_M(), 1.0
        new = at(aim_M)
        while new.value < now.value and step > SMALLEST_STEP:
            step /= 2
            new = at(now.weight_M + step * (aim_M - now.weight_M))
        gain = new.value - now.value
        if gain > 0:
            now = new
        if gain <= CLOSE * abs(now.value):
            break
    return Logit(now.weight_M, (now.curvature_MM - prior_MM) / max(len(pair_P), 1))


@dataclass(frozen=True, eq=False)
class _Point:
    """Eq. (2) at ``weight_M``: its value, gradient and negative second derivative."""

    weight_M: Float64
    value: float
    gradient_M: Float64
    curvature_MM: Float64

    def newton_M(self) -> Float64:
        """Eq. (3)."""
        from scipy.linalg import solve_triangular
        from scipy.optimize import nnls

        lower_MM = np.linalg.cholesky(self.curvature_MM)
        right_M = self.curvature_MM @ self.weight_M + self.gradient_M
        return np.asarray(nnls(lower_MM.T, solve_triangular(lower_MM, right_M, lower=True))[0])


@dataclass(frozen=True, eq=False)
class _Objective:
    """Eq. (2) as a function of the weights."""

    pool: Pool
    pair_P: Int64
    mean_M: Float64
    prior_MM: Float64

    def __call__(self, weight_M: Float64) -> _Point:
        from landbridge.selection import pool_kernels as kernels

        of = self.pool.offsets, self.pool.z_NM, self.pool.own_TM
        log_P, gradient_PM, curvature_PMM = kernels.log_likelihood(*of, self.pair_P, weight_M)
        away_M = weight_M - self.mean_M
        pull_M = self.prior_MM @ away_M
        return _Point(
            weight_M,
            float(log_P.sum() - away_M @ pull_M / 2),
            gradient_PM.sum(axis=0) - pull_M,
            curvature_PMM.sum(axis=0) + self.prior_MM,
        )
