"""Blend weights of fitted models per domain and activity group, estimated on validation data.

Every validation pair t is ranked under W weight vectors at once (a grid on the simplex), which gives values
v_tw. Small groups would overfit if each took its own best vector, so a group's estimate is shrunk towards
its domain's, its activity group's and the global one. With m_c the mean over the n_c pairs of a cell c
(a domain's activity group), m_d and m_a over a domain's or an activity group's pairs, and m over all,

    e_d = (n_d m_d + κ m) / (n_d + κ),   e_a = (n_a m_a + κ m) / (n_a + κ)                              (1)
    e_c = (n_c m_c + κ (e_d + e_a - m)) / (n_c + κ)                                                    (2)

κ is chosen by cross-validation over users. Every estimate is a weighted sum Σ_t k_t v_tw of the pairs, so a
difference of two vectors has the standard error (Σ_t k_t² (δ_t - δ̄)²)^½ with δ_t = v_tw - v_tw'.   (3)

Shape letters: T pairs, W weight vectors, M members, C cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.progress import Progress, Silent
from landbridge.core.rng import generator
from landbridge.core.threads import all_threads
from landbridge.core.types import Float32, Float64, Int64
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.protocols import Block, blocks, count_other_items, score_queries
from landbridge.models.base import Fitted
from landbridge.models.mixture import standardised
from landbridge.ranking.top_k import count_above_blends, count_competitors

STEPS = {1: 1, 2: 20, 3: 10, 4: 7, 5: 5}  # members -> parts into which the simplex is divided
FOLDS, REPEATS = 5, 10
# pairs: from hardly any shrinkage to nearly the mean of all cells
KAPPAS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 100_000.0)
BLOCK_BYTES = 64_000_000  # float32 scores of all members for a block of users


@dataclass(frozen=True, eq=False)
class BlendTrials:
    """``value_TW``: the metric of every validation pair under every weight vector ``weight_WM``;
    ``domain_T``, ``group_T``: index of its domain and activity group; ``user_T``: its user."""

    value_TW: Float32
    weight_WM: Float32
    domain_T: Int64
    group_T: Int64
    user_T: Int64
    domains: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def cell_T(self) -> Int64:
        """Domain and activity group as one number."""
        return self.domain_T * len(ACTIVITY) + self.group_T

    @property
    def cells(self) -> int:
        """Domains times activity groups."""
        return len(self.domains) * len(ACTIVITY)

    def only(self, label: str) -> int:
        """The index of the weight vector that is this member alone."""
        return int(self.weight_WM[:, self.labels.index(label)].argmax())


def simplex(members: int, steps: int) -> Float32:
    """All weight vectors of ``members`` multiples of 1/steps that add up to one, (W, M)."""
    # stars and bars: the gaps between M - 1 bars among the stars are the numerators
    bars = itertools.combinations(range(steps + members - 1), members - 1)
    rows = [np.diff([-1, *bar, steps + members - 1]) - 1 for bar in bars]
    return np.asarray(rows, np.float32) / np.float32(steps)


def evaluate_blends(
    members: Mapping[str, Fitted],
    holdout: Holdout,
    metric: str = "ndcg@10",
    threads: int | None = None,
    progress: Progress | None = None,
) -> BlendTrials:
    """Rank every validation pair on its own under every weight vector."""
    weight_WM = simplex(len(members), STEPS.get(len(members), 4))
    total = sum(len(targets) for targets in holdout.targets.values())
    parts, done = [], 0
    with all_threads(threads), (progress or Silent()).task("blends", total) as task:
        for place, (domain, targets) in enumerate(holdout.targets.items()):
            n_items = holdout.history[domain].n_items
            value_TW = np.empty((len(targets), len(weight_WM)), np.float32)
            # float32 scores of all members for the users of a block
            size = max(1, BLOCK_BYTES // (4 * n_items * len(members)))
            for part in blocks(targets, n_items, size):
                value_TW[part.targets_T] = _values(members, holdout, domain, part, weight_WM, metric)
                done += len(part.targets_T)
                task.step(done, {})
            parts.append((place, domain, value_TW))
    return _stacked(parts, holdout, weight_WM, tuple(members))


def _values(
    members: Mapping[str, Fitted], holdout: Holdout, domain: str, part: Block, weight_WM: Float32, metric: str
) -> Float32:
    history, targets = holdout.history[domain], holdout.targets[domain]
    scores = (score_queries(member, domain, part.users_B, history.n_items) for member in members.values())
    # standardised per user: members' scores have different scales
    z_MBI = np.stack([standardised(scores_BI) for scores_BI in scores])
    item_T, seen = targets.item_idx[part.targets_T], history.by_user.take(part.users_B)
    candidates_TC = None if targets.candidates_TC is None else targets.candidates_TC[part.targets_T]
    above_TW, ties_TW = count_above_blends(z_MBI, weight_WM, item_T, candidates_TC, seen, part.row_T)
    if candidates_TC is None:
        candidates_T = count_other_items(history, part, item_T, seen)
    else:
        candidates_T = count_competitors(item_T, candidates_TC, seen, part.row_T)
    # row-major like above_TW: the weight vectors of a pair have its number of candidates
    candidates_N = np.repeat(candidates_T, len(weight_WM))
    flat = Metric.parse(metric).per_pair(above_TW.ravel(), ties_TW.ravel(), candidates_N)
    return np.asarray(flat.reshape(above_TW.shape), np.float32)


def _stacked(
    parts: Sequence[tuple[int, str, Float32]], holdout: Holdout, weight_WM: Float32, labels: tuple[str, ...]
) -> BlendTrials:
    groups = [
        activity_group(holdout.history[domain].user_counts[holdout.targets[domain].user_idx])
        for _, domain, _ in parts
    ]
    return BlendTrials(
        np.concatenate([value_TW for _, _, value_TW in parts]),
        weight_WM,
        np.concatenate([np.full(len(value_TW), place) for place, _, value_TW in parts]),
        np.concatenate(groups),
        np.concatenate([holdout.targets[domain].user_idx for _, domain, _ in parts]).astype(np.int64),
        tuple(holdout.targets),
        labels,
    )


@dataclass(frozen=True, eq=False)
class CellSums:
    """Pairs ``count_C`` and totals ``total_CW`` per cell: domains times activity groups, empty ones too."""

    count_C: Int64
    total_CW: Float64

    @classmethod
    def of(cls, cell_T: Int64, value_TW: Float32, cells: int) -> CellSums:
        """Sum the values of each cell in float64."""
        from scipy.sparse import csr_matrix

        places = (cell_T, np.arange(len(cell_T)))
        # a sparse product adds all weight vectors of a cell at once, in float64
        member_CT = csr_matrix((np.ones(len(cell_T)), places), shape=(cells, len(cell_T)))
        return cls(np.bincount(cell_T, minlength=cells), np.asarray(member_CT @ value_TW, np.float64))

    def __sub__(self, other: CellSums) -> CellSums:
        return CellSums(self.count_C - other.count_C, self.total_CW - other.total_CW)


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
    """Eq. (2) for every cell and weight vector, (C, W)."""
    return np.asarray(pair_shares(sums.count_C, kappa) @ sums.total_CW)


def standard_errors(of: BlendTrials, kappa: float, base: int) -> Float64:
    """Eq. (3): of every vector's difference from vector ``base``, per cell, (C, W)."""
    delta_TW = of.value_TW - of.value_TW[:, [base]]
    # centred on the mean of all pairs: a cell's own mean would give a cell with one pair the error 0
    delta_TW -= delta_TW.mean(axis=0)
    squares = CellSums.of(of.cell_T, np.square(delta_TW), of.cells)
    return np.asarray(np.sqrt(np.square(pair_shares(squares.count_C, kappa)) @ squares.total_CW))


def chosen_kappa(of: BlendTrials, seed: int) -> tuple[float, float]:
    """Cross-validated κ: the best one on held-out users, and its mean value there.

    One division into folds is too noisy for rare hits, so the value is a mean over several.
    """
    # sums are additive: the training part of a fold is the whole minus the fold
    whole = CellSums.of(of.cell_T, of.value_TW, of.cells)
    reached = dict.fromkeys(KAPPAS, 0.0)
    for repeat in range(REPEATS):
        for part in _folds(of, generator(seed, "blend folds", str(repeat))):
            for kappa in KAPPAS:
                reached[kappa] += _reached(whole - part, part, kappa)
    # of equal values the largest κ, which shrinks most
    best = max(reached, key=lambda kappa: (reached[kappa], kappa))
    return best, reached[best] / (REPEATS * len(of.cell_T))


def _folds(of: BlendTrials, rng: np.random.Generator) -> Iterator[CellSums]:
    """The pairs of each fold; all pairs of a user are in one random fold."""
    # by user: pairs of a user depend on each other, so a pair of theirs in training would leak
    fold_T = rng.integers(0, FOLDS, int(of.user_T.max()) + 1)[of.user_T]
    for fold in range(FOLDS):
        yield CellSums.of(of.cell_T[fold_T == fold], of.value_TW[fold_T == fold], of.cells)


def _reached(made: CellSums, held_out: CellSums, kappa: float) -> float:
    """The total on held-out users of the vectors chosen on the other users."""
    if not made.count_C.sum():
        return 0.0
    best_C = estimates(made, kappa).argmax(axis=1)
    return float(held_out.total_CW[np.arange(len(best_C)), best_C].sum())
