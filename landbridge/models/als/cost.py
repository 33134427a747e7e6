"""What half steps of ALS cost (:mod:`landbridge.models.als.solver`), for iALS and CDIMF.

A half step with R rows of n_r events against C fixed columns and F factors needs the basis of the columns,

    YᵀY and YQ: 4 C F² operations,   YᵀY = QΛQᵀ: F³                                                   (1)

and per row, by Eqs. (3) and (4) of the solver, a Gramian of the shorter side, its factorisation and gathers:

    n < F:  n (n + 4) F of the Gramian, n³/3, n² numbers of the system, 3 n F gathered                 (2)
    n ≥ F:  n F (F + 4),               F³/3, F²,                       2 n F                           (3)

(n + 4 since a tile of four rows is computed whole on the diagonal), one row of the table found per event, and
``ROOT`` F numbers for D^(-½) and the result. By conjugate gradients a row costs a right-hand side and a
preconditioner, one product for the residual and one per step:

    2 n F + 2 n F (s + 1) + 6 F (s + 2)                                                               (4)

s = ``STEPS``, the mean from a warm start. Letters: R rows, C columns, F factors, N events.
"""

from __future__ import annotations

import numpy as np

from landbridge.core.types import Bool, Float64
from landbridge.data.counts import RowLengths, TableCounts
from landbridge.models.als.solver import EXACT, Solver
from landbridge.models.cost import FLOAT64, INT32, Work

ROOT = 8  # multiply-adds that take as long as a root, a division and the passes over a row
STEPS = 4  # of conjugate gradients that start from the last solution: 6 in the second sweep, 2 to 4 later


def basis_work(columns: float, factors: int) -> Work:
    """Eq. (1)."""
    return Work(product=4.0 * columns * factors**2, eigen=float(factors) ** 3)


def rotation_work(rows: float, factors: int) -> Work:
    """Rows turned into another basis."""
    return Work(product=2.0 * rows * factors**2)


def rows_work(rows: RowLengths, factors: int, solver: Solver = EXACT) -> Work:
    """Eqs. (2) to (4) for all rows."""
    length_K, rows_K = rows.length_K, rows.rows_K
    iterated_K = length_K >= (np.inf if solver.steps_from is None else solver.steps_from)
    long_K = (length_K >= factors) & ~iterated_K
    short_K = ~long_K & ~iterated_K

    def total(each_K: Float64, of_K: Bool) -> float:
        return float(np.sum(np.where(of_K, each_K * rows_K, 0.0)))

    n_K, one_K, f, s = length_K, np.ones_like(length_K), float(factors), STEPS
    return Work(
        tile=total(n_K * (n_K + 4) * f, short_K) + total(n_K * f * (f + 4), long_K),  # Eqs. (2), (3)
        cholesky=total(n_K**3 / 3, short_K) + total(one_K * f**3 / 3, long_K),
        triangle=total(n_K**2, short_K) + total(one_K * f**2, long_K),
        vector=total(3 * n_K * f, short_K)
        + total(2 * n_K * f, long_K)
        + total(2 * n_K * f + 6 * f * (s + 2), iterated_K)
        + ROOT * f * rows.n_rows,
        step=total(2 * n_K * f * (s + 1), iterated_K),  # Eq. (4)
        find=total(n_K, length_K > 0),
        row=rows.n_rows,
    )


def half_step_work(rows: RowLengths, columns: float, factors: int, solver: Solver = EXACT) -> Work:
    """Eqs. (1) to (4)."""
    return basis_work(columns, factors) + rows_work(rows, factors, solver)


def index_bytes(table: TableCounts) -> float:
    """The events by item, beside those by user, which are the data: offsets, columns and the sorted order."""
    return (2 * INT32 + FLOAT64) * table.events + FLOAT64 * (table.n_users + table.n_items)
