"""Half steps of ALS by blocks of rows, wherever an executor solves them.

A block has ``ROWS`` = 2^k ``BLOCK_ROWS`` rows. It comes back with its Gramian, which is a subtree of the sum
of :func:`landbridge.models.als.solver.gramian`. A row's solution depends on that row alone. So factors and
Gramians have the same bits for any executor, number of workers and size of blocks. What goes to a worker is
the fixed side, once in a half step, and the rows of a block with their events.

R rows of a block, F factors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from landbridge.core.parallel import Executor, in_order
from landbridge.core.threads import thread_limit, tree_sum
from landbridge.core.types import Float32, Float64, Ragged, blocks
from landbridge.models.als import solver as als

ROWS = 32 * als.BLOCK_ROWS


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a half step, of which the first has the number ``first``."""

    first: int
    rows: Ragged
    ridge_R: Float32
    pull_RF: Float32 | None
    start_RF: Float32 | None

    def __str__(self) -> str:
        return f"rows {self.first} to {self.first + len(self.rows) - 1}"


def solve(
    executor: Executor | None,
    rows: Ragged,
    fixed: als.Basis,
    alpha0: float,
    ridge_R: Float32,
    pull_RF: Float32 | None = None,
    options: als.SolveOptions = als.DEFAULT_OPTIONS,
) -> tuple[Float32, Float64 | None]:
    """As :func:`landbridge.models.als.solver.solve`, and the Gramian of the result, (F, F), which is not
    computed (None) in this process, where there is no executor."""
    if executor is None:
        return als.solve(rows, fixed, alpha0, ridge_R, pull_RF, options), None
    shape = len(rows), fixed.rotated_IF.shape[1]
    solved_RF = np.empty(shape, np.float32) if options.out_RF is None else options.out_RF
    fn = partial(_solved, fixed, alpha0, options.solver, executor.threads_each)
    blocks_of = _blocks(rows, ridge_R, pull_RF, options.start_RF)
    gramians: list[Float64] = []
    for block, (part_RF, gramian_FF) in zip(
        blocks(max(len(rows), 1), ROWS), in_order(executor, fn, blocks_of), strict=True
    ):
        solved_RF[block] = part_RF
        gramians.append(gramian_FF)
    return solved_RF, tree_sum(gramians)


def _blocks(
    rows: Ragged, ridge_R: Float32, pull_RF: Float32 | None, start_RF: Float32 | None
) -> Iterator[_Rows]:
    for block in blocks(max(len(rows), 1), ROWS):
        offsets = rows.offsets[block.start : block.stop + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        weight_N = None if rows.weight is None else rows.weight[entries]
        part = Ragged(offsets - offsets[0], rows.columns[entries], weight_N)
        pull, start = (None if each is None else each[block] for each in (pull_RF, start_RF))
        yield _Rows(block.start, part, ridge_R[block], pull, start)


def _solved(
    fixed: als.Basis, alpha0: float, solver: als.Solver, threads: int, part: _Rows
) -> tuple[Float32, Float64]:
    """The rows of a block, (R, F), and their Gramian, (F, F)."""
    options = als.SolveOptions(solver, part.start_RF)
    with thread_limit(threads):
        solved_RF = als.solve(part.rows, fixed, alpha0, part.ridge_R, part.pull_RF, options)
        return solved_RF, als.gramian(solved_RF, threads)
