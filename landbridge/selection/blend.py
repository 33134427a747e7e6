"""Blend weights of fitted models per domain and activity group, chosen on validation data.

A blend is made by a *rule*: one member alone, greedy selection with replacement
(:meth:`~landbridge.selection.pool.Pool.greedy`), or the weights that make the held-out items most probable
(:mod:`landbridge.selection.likelihood`), the last two for all validation pairs, for those of the domain, or
for those of the activity group. Greedy selection looks at the metric itself, the likelihood needs fewer
pairs. What a rule is worth is measured by cross-fitting: the weights for the pairs of a fold are made from
the other folds, so that a rule with many members gains nothing from luck. That gives values v_tr of every
pair t under every rule r.

Small groups would overfit if each took its own best rule, so a group's estimate is shrunk towards its
domain's, its activity group's and the global one. With m_c the mean over the n_c pairs of a cell c (a
domain's activity group), m_d and m_a over a domain's or an activity group's pairs, and m over all,

    e_d = (n_d m_d + κ m) / (n_d + κ),   e_a = (n_a m_a + κ m) / (n_a + κ)                              (1)
    e_c = (n_c m_c + κ (e_d + e_a - m)) / (n_c + κ)                                                    (2)

κ is chosen by cross-validation over users. Every estimate is a weighted sum Σ_t k_t v_tr of the pairs, so a
difference of two rules has the standard error (Σ_t k_t² (δ_t - δ̄)²)^½ with δ_t = v_tr - v_tr'.       (3)

Shape letters: T pairs, R rules, M members, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from landbridge.core.rng import generator
from landbridge.core.types import Float32, Float64, Int64
from landbridge.data.activity import ACTIVITY
from landbridge.selection.likelihood import logit
from landbridge.selection.pool import Cells, Pool

SCOPES = ("all", "domain", "group")  # the pairs that a rule with many members learns from
BLENDS = tuple(f"{way} {scope}" for way in ("greedy", "likeliest") for scope in SCOPES)
STEPS = 25  # members that greedy selection adds: weights are multiples of 1/25 or coarser
CROSS_FITS = 4
FOLDS, REPEATS = 5, 10
# pairs: from hardly any shrinkage to nearly the mean of all cells
KAPPAS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 100_000.0)


@dataclass(frozen=True, eq=False)
class BlendTrials(Cells):
    """``value_TR``: the cross-fitted metric of every validation pair under every rule.

    ``weight_RCM``: the weights that each rule gives each cell, made from all pairs. ``domain_T``,
    ``group_T``: index of a pair's domain and activity group; ``user_T``: its user. ``labels``: the members,
    which are the first rules.
    """

    value_TR: Float32
    weight_RCM: Float32
    domain_T: Int64
    group_T: Int64
    user_T: Int64
    domains: tuple[str, ...]
    labels: tuple[str, ...]


def blend_trials(pool: Pool, seed: int) -> BlendTrials:
    """Try every rule on every pair of the pool."""
    fold_U = generator(seed, "cross-fitting").integers(0, CROSS_FITS, int(pool.user_T.max()) + 1)
    fold_T, reached = fold_U[pool.user_T], pool.reached()
    value_TR = np.concatenate([pool.single_TM, np.zeros((len(pool), len(BLENDS)), np.float32)], axis=1)
    for fold in range(CROSS_FITS):
        made = _blend_weights(pool, reached, fold_U != fold)
        for place, weight_CM in enumerate(made, start=len(pool.labels)):
            for cell in np.unique(pool.cell_T[fold_T == fold]):
                pair_P = np.flatnonzero((fold_T == fold) & (pool.cell_T == cell))
                value_TR[pair_P, place] = pool.values(weight_CM[[cell]], pair_P)[:, 0]
    single_MCM = np.repeat(np.eye(len(pool.labels), dtype=np.float32)[:, None], pool.cells, axis=1)
    weight_RCM = np.concatenate([single_MCM, _blend_weights(pool, reached, np.ones(len(fold_U), np.bool_))])
    return BlendTrials(
        value_TR, weight_RCM, pool.domain_T, pool.group_T, pool.user_T, pool.domains, pool.labels
    )


def _blend_weights(pool: Pool, reached: Pool, some_U: npt.NDArray[np.bool_]) -> Float32:
    """The weights that every rule with many members gives each cell, learned from some users, (R, C, M)."""
    pair_P, reached_P = np.flatnonzero(some_U[pool.user_T]), np.flatnonzero(some_U[reached.user_T])
    whole = logit(reached, reached_P)
    return np.concatenate(
        [
            _by_scope(pool, pair_P, pool.greedy(pair_P, STEPS), partial(pool.greedy, steps=STEPS)),
            _by_scope(
                reached, reached_P, whole.shares_M, lambda part_P: logit(reached, part_P, whole).shares_M
            ),
        ]
    )


def _by_scope(
    pool: Pool, pair_P: Int64, all_M: npt.NDArray[np.floating], learned: Callable[[Int64], object]
) -> Float32:
    """The weights of each scope in each cell, learned from some pairs, (scopes, C, M).

    A domain or group without a pair takes the weights of all pairs, ``all_M``.
    """
    cell_C = np.arange(pool.cells)
    weight_SCM = np.tile(all_M.astype(np.float32), (len(SCOPES), pool.cells, 1))
    for weight_CM, scope_C in zip(
        weight_SCM[1:], (cell_C // len(ACTIVITY), cell_C % len(ACTIVITY)), strict=True
    ):
        scope_P = scope_C[pool.cell_T[pair_P]]
        for scope in np.unique(scope_P):
            weight_CM[scope_C == scope] = learned(pair_P[scope_P == scope])
    return weight_SCM


@dataclass(frozen=True, eq=False)
class CellSums:
    """Pairs ``count_C`` and totals ``total_CR`` per cell: domains times activity groups, empty ones too."""

    count_C: Int64
    total_CR: Float64

    @classmethod
    def of(cls, cell_T: Int64, value_TR: Float32, cells: int) -> CellSums:
        """Sum the values of each cell in float64."""
        from scipy.sparse import csr_matrix

        places = (cell_T, np.arange(len(cell_T)))
        # a sparse product adds all weight vectors of a cell at once, in float64
        member_CT = csr_matrix((np.ones(len(cell_T)), places), shape=(cells, len(cell_T)))
        return cls(np.bincount(cell_T, minlength=cells), np.asarray(member_CT @ value_TR, np.float64))

    def __sub__(self, other: CellSums) -> CellSums:
        return CellSums(self.count_C - other.count_C, self.total_CR - other.total_CR)


def pair_shares(count_C: Int64, kappa: float) -> Float64:
    """The weight of a pair of cell c' in the estimate of cell c, k of Eqs. (1)-(3), (C, C')."""
    cell_C = np.arange(len(count_C))
    domain_C, group_C = cell_C // len(ACTIVITY), cell_C % len(ACTIVITY)
    all_CC = np.full((len(count_C),) * 2, 1 / count_C.sum())
    domain_CC = _drawn(domain_C[:, None] == domain_C, count_C, all_CC, kappa)  # Eq. (1)
    group_CC = _drawn(group_C[:, None] == group_C, count_C, all_CC, kappa)
    return _drawn(cell_C[:, None] == cell_C, count_C, domain_CC + group_CC - all_CC, kappa)  # Eq. (2)


def _drawn(same_CC: npt.NDArray[np.bool_], count_C: Int64, towards_CC: Float64, kappa: float) -> Float64:
    return np.asarray((same_CC + kappa * towards_CC) / (same_CC @ count_C + kappa)[:, None])


def estimates(sums: CellSums, kappa: float) -> Float64:
    """Eq. (2) for every cell and rule, (C, R)."""
    return np.asarray(pair_shares(sums.count_C, kappa) @ sums.total_CR)


def standard_errors(of: BlendTrials, kappa: float, base: int) -> Float64:
    """Eq. (3): of every rule's difference from rule ``base``, per cell, (C, R)."""
    delta_TR = of.value_TR - of.value_TR[:, [base]]
    delta_TR -= delta_TR.mean(axis=0)
    squares = CellSums.of(of.cell_T, np.square(delta_TR), of.cells)
    return np.asarray(np.sqrt(np.square(pair_shares(squares.count_C, kappa)) @ squares.total_CR))


def chosen_kappa(of: BlendTrials, seed: int) -> tuple[float, float]:
    """Cross-validated κ: the best one on held-out users, and its mean value there.

    One division into folds is too noisy for rare hits, so the value is a mean over several.
    """
    whole = CellSums.of(of.cell_T, of.value_TR, of.cells)
    reached = dict.fromkeys(KAPPAS, 0.0)
    for repeat in range(REPEATS):
        for part in _folds(of, generator(seed, "blend folds", str(repeat))):
            for kappa in KAPPAS:
                reached[kappa] += _reached(whole - part, part, kappa)
    best = max(reached, key=lambda kappa: (reached[kappa], kappa))
    return best, reached[best] / (REPEATS * len(of.cell_T))


def _folds(of: BlendTrials, rng: np.random.Generator) -> Iterator[CellSums]:
    """The pairs of each fold; all pairs of a user are in one random fold."""
    fold_T = _fold_T(of.user_T, FOLDS, rng)
    for fold in range(FOLDS):
        yield CellSums.of(of.cell_T[fold_T == fold], of.value_TR[fold_T == fold], of.cells)


def _fold_T(user_T: Int64, folds: int, rng: np.random.Generator) -> Int64:
    """The fold of each pair, that of its user, (T,)."""
    return rng.integers(0, folds, int(user_T.max()) + 1)[user_T]


def _reached(made: CellSums, held_out: CellSums, kappa: float) -> float:
    """The total on held-out users of the rules chosen on the other users."""
    if not made.count_C.sum():
        return 0.0
    best_C = estimates(made, kappa).argmax(axis=1)
    return float(held_out.total_CR[np.arange(len(best_C)), best_C].sum())
