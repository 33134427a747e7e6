"""Half steps of implicit alternating least squares: an exact row solver, and conjugate gradients.

A half step fixes the item embeddings Y (I, F) and computes for every user u with events S

    min_x  Σ_{i∈S} w_i (1 - x·y_i)² + α₀ Σ_i (x·y_i)² + ridge_u ‖x‖² - 2 x·c_u                        (1)

The optimum solves (α₀ YᵀY + Y_SᵀWY_S + ridge_u I) x = Y_SᵀW1 + c_u. The vector c ("pull") is zero in
plain ALS and ρ(z - t) in a consensus step, where ridge = λ_u + ρ. With YᵀY = QΛQᵀ computed once per half
step and all factors rotated by Q, the dense part is the diagonal D = α₀Λ + ridge_u, and              (2)

    x = D⁻¹(c + Y_Sᵀ v),   (W⁻¹ + Y_S D⁻¹ Y_Sᵀ) v = 1 - Y_S D⁻¹ c                                     (3)

costs N² F for N events instead of F³ for F factors (Woodbury, with the push-through identity for the
right-hand side). A row with N ≥ F solves the F × F system

    (D + Y_SᵀWY_S) x = c + Y_SᵀW1                                                                    (4)

by Cholesky or, where a :class:`Solver` says so, by conjugate gradients: with the diagonal D a step costs
4NF operations, without the F² of a dense Gramian. A rotation of both sides does not change the scores x·y,
so both stay in the basis of the last half step and nothing is rotated back. Matrix products are float32, and
their sums over blocks of rows are float64: a float32 sum over a million rows would lose half of its digits.
Frequency-scaled regularisation follows Rendle et al. (2022) in the form used by CDIMF (arXiv 2409.15568):

    λ_u = λ (n_u / |V| + α₀)^{2ν}                                                                    (5)

A disliked pair of weight v adds v (0 - x·y_i)² to (1): an entry of weight v whose 1 on the right-hand sides
of (3) and (4) is 0. Rows keep it with the weight -v.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from landbridge.core.errors import DivergenceError
from landbridge.core.row_blocks import concatenated
from landbridge.core.threads import over_blocks, tree_sum
from landbridge.core.types import Float32, Float64, Int64, Ragged, read_only
from landbridge.data.counts import RowLengths

BLOCK_ROWS = 2048  # rows of one matrix product; fixed, so that sums do not depend on the thread count
EXPECTED_STEPS = 20  # of conjugate gradients, to estimate the work of a long row
CHUNKS = 256  # pieces of about equal work: many more than threads, as work is only estimated
NO_WEIGHT = read_only(np.empty(0, np.float32))  # kernels take no None: an empty array means weights of 1


@dataclass(frozen=True, eq=False)
class Basis:
    """Factors in the eigenbasis of their Gramian: YᵀY = QΛQᵀ, ``rotated_IF`` = YQ, ``spectrum_F`` = Λ."""

    rotation_FF: Float32
    spectrum_F: Float64
    rotated_IF: Float32


@dataclass(frozen=True)
class Solver:
    """When rows are solved by conjugate gradients on Eq. (4) instead of Cholesky.

    Rows with ``steps_from`` events or more are (None: no row). Preconditioned by M = D + diag(Y_SᵀWY_S), they
    stop at rᵀM⁻¹r ≤ tolerance² bᵀM⁻¹b. A row that needs more than F/4 steps is solved by Cholesky instead.
    """

    steps_from: int | None = None
    tolerance: float = 3e-3


EXACT = Solver()
AUTO = Solver(steps_from=12)  # where both take equally long with 16 to 128 factors


def solver_named(name: str, sides: Sequence[RowLengths], n_factors: int) -> Solver:
    """The solver of a setting, for the numbers of events of the rows of both sides.

    "auto" takes conjugate gradients only where they save more than they cost. A row of n ≥ s events, with s
    those from which they are faster, saves about nF (min(n, F) - s) operations; turning the last solutions
    into the new basis costs F² for every row of both sides, which tables of many short rows (sport-cloth)
    never earn back.
    """
    if name == "exact":
        return EXACT
    from_ = AUTO.steps_from
    assert from_ is not None
    saved = sum(
        rows.total(lambda n_K: n_K * np.maximum(np.minimum(n_K, n_factors) - from_, 0.0)) for rows in sides
    )
    return AUTO if saved > n_factors * sum(rows.n_rows for rows in sides) else EXACT


@dataclass(frozen=True, eq=False)
class SolveOptions:
    """How a half step runs: the solver, where conjugate gradients start, and where the result is written.

    ``out_RF`` may be ``start_RF`` or, with the exact solver, the pull. Without it the result is a new array,
    and fresh memory costs as much time as the arithmetic of short rows.
    """

    solver: Solver = EXACT
    start_RF: Float32 | None = None
    out_RF: Float32 | None = None


DEFAULT_OPTIONS = SolveOptions()


@dataclass(frozen=True)
class FrequencyRidge:
    """The frequency-scaled penalty, Eq. (5): ``reg`` is λ and ``exponent`` ν."""

    alpha0: float
    reg: float
    exponent: float

    def of(self, counts_R: Int64, catalogue: int) -> Float32:
        """The penalty of every row, (R,); ``catalogue`` is the number |V| of columns with events."""
        scaled_R = counts_R / max(catalogue, 1) + self.alpha0
        return np.asarray(self.reg * scaled_R ** (2 * self.exponent), np.float32)  # Eq. (5)


def initial(rng: np.random.Generator, rows: int, factors: int, out_RF: Float32 | None = None) -> Float32:
    """Gaussian embeddings of standard deviation 0.1/√F, (rows, F): their products have one of 0.01/√F.

    ``out_RF``: where they are written, else a new array.
    """
    drawn_RF = rng.standard_normal((rows, factors), np.float32, out_RF)
    drawn_RF *= np.float32(0.1 / np.sqrt(factors))
    return drawn_RF


def gramian(factors_RF: Float32, threads: int) -> Float64:
    """YᵀY, (F, F): float32 products of blocks, summed in float64 by a tree over the blocks."""

    def part(block: slice) -> Float64:
        return (factors_RF[block].T @ factors_RF[block]).astype(np.float64)

    # without a row, the empty block
    parts = over_blocks(part, max(len(factors_RF), 1), BLOCK_ROWS, threads)
    return tree_sum(parts)


def rotate(factors_RF: Float32, rotation_FF: Float32, threads: int, out_RF: Float32 | None = None) -> Float32:
    """YQ, (R, F), in a new array or in ``out_RF``, which may be Y itself."""
    rotated_RF = np.empty_like(factors_RF) if out_RF is None else out_RF

    def part(block: slice) -> None:
        np.matmul(factors_RF[block], rotation_FF, out=rotated_RF[block])

    for _ in over_blocks(part, len(factors_RF), BLOCK_ROWS, threads):
        pass
    return rotated_RF


def basis(
    factors_RF: Float32, threads: int, gramian_FF: Float64 | None = None, out_RF: Float32 | None = None
) -> Basis:
    """The eigenbasis of the Gramian of an embedding matrix, and the embeddings in that basis, Eq. (2).

    ``gramian_FF``: the Gramian, where it is known; ``out_RF``: as of :func:`rotate`.
    """
    with singular_systems():
        known_FF = gramian(factors_RF, threads) if gramian_FF is None else gramian_FF
        spectrum_F, rotation_FF = np.linalg.eigh(known_FF)
    rotation_FF = np.ascontiguousarray(rotation_FF, np.float32)
    # rounding can leave an eigenvalue just below 0, and D must be positive
    rotated_RF = rotate(factors_RF, rotation_FF, threads, out_RF)  # Eq. (2)
    return Basis(rotation_FF, np.maximum(spectrum_F, 0), rotated_RF)


@contextmanager
def singular_systems() -> Iterator[None]:
    """DivergenceError for a system that float32 cannot solve."""
    try:
        yield
    # ZeroDivisionError: of a diagonal that single precision rounds to 0
    except (np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise DivergenceError(
            "ALS met a system that it cannot solve in single precision: the weights of events differ too "
            "much or the penalty is too small; take the logarithm of the weights, or raise reg."
        ) from error


def solve(
    rows: Ragged,
    fixed: Basis,
    alpha0: float,
    ridge_R: Float32,
    pull_RF: Float32 | None = None,
    options: SolveOptions = DEFAULT_OPTIONS,
) -> Float32:
    """The optimum of Eq. (1) for every row of ``rows``, (R, F), in the basis of ``fixed``.

    ``pull_RF`` is c; it and the start in ``options`` are in the same basis. Call this inside
    :func:`landbridge.core.threads.thread_limit`.
    """
    from landbridge.models.als.kernels import solve_rows

    n_factors = fixed.rotated_IF.shape[1]
    counts_R = rows.lengths
    # Eq. (3) takes about n²F + n³/3 operations, Eq. (4) nF² + F³/3
    long_from = n_factors
    solver, start_RF = options.solver, options.start_RF
    steps_from = int(counts_R.max(initial=0)) + 1 if solver.steps_from is None else solver.steps_from
    none_RF = np.empty((0, n_factors), np.float32)
    solved_RF = np.empty((len(counts_R), n_factors), np.float32) if options.out_RF is None else options.out_RF
    chunks_C = _even_chunks(counts_R, n_factors, steps_from)
    with singular_systems():
        solve_rows(
            len(chunks_C) - 1,
            rows.offsets,
            rows.columns,
            NO_WEIGHT if rows.weight is None else rows.weight,
            fixed.rotated_IF,
            (alpha0 * fixed.spectrum_F).astype(np.float32),
            ridge_R,
            none_RF if pull_RF is None else pull_RF,
            none_RF if start_RF is None else start_RF,
            chunks_C,
            int(counts_R[counts_R < long_from].max(initial=0)),
            long_from,
            steps_from,
            np.float32(solver.tolerance),
            solved_RF,
        )
    return solved_RF


def with_dislikes(rows: Ragged, disliked: Ragged, weight: float) -> Ragged:
    """Every row with its disliked columns, as entries whose target is 0."""
    if weight == 0 or not len(disliked.columns):
        return rows
    entries = Ragged(disliked.offsets, disliked.columns, np.full(len(disliked.columns), -weight, np.float32))
    return concatenated(rows, entries)


def _even_chunks(counts_R: Int64, n_factors: int, steps_from: int) -> Int64:
    """Row boundaries of chunks with about equal operation counts, (CHUNKS + 1,)."""
    each_R = np.where(counts_R < steps_from, np.minimum(counts_R, n_factors), EXPECTED_STEPS)
    work_R = np.cumsum(n_factors * (2.0 + counts_R * (2 + each_R)))
    # row lengths are skewed: chunks of equally many rows would leave threads idle
    marks = np.linspace(0, work_R[-1] if len(work_R) else 0, CHUNKS + 1)[1:-1]
    inner = np.searchsorted(work_R, marks)
    return np.concatenate(([0], inner, [len(counts_R)])).astype(np.int64)
