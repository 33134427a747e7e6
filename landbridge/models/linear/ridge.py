"""Three ways to the same ridge regression B of all items of a target domain on the items of a table.

With X (U, J) the events of a table, G = XᵀX and the ridge Λ = diag(λ_J) of a target domain d

    B_{·d} = argmin ‖X_d − X B‖²_F + Σ_i λ_i ‖B_i‖²  with  B_jj ≤ ξ                                   (1)
    P = (G + Λ)⁻¹,   B_ij = −P_ij max(λ_j, (1 − ξ) / P_jj),  i ≠ j                                    (2)

ξ = 0 is EASE (Steck, WWW 2019); ξ > 0 relaxes the diagonal (Moon et al., SIGIR 2023). B_jj itself is left
out: it would add only to the score of an item that the user has.

**exact** inverts once for all targets. With Q = (G + Λ₀)⁻¹, Λ₀ ≥ Λ the largest ridge of every item, E the
items whose ridge is smaller for this target and D = (Λ₀ − Λ)_EE (Woodbury)

    P_{·d} = Q_{·d} + Q_{·E} D^½ (I − D^½ Q_EE D^½)⁻¹ D^½ Q_{Ed}                                      (3)

**dual** inverts a matrix of users, where they are fewer than items. With Z = X Λ^-½

    P = Λ^-½ (I − Zᵀ (I + ZZᵀ)⁻¹ Z) Λ^-½                                                             (4)

**local** keeps for every target j only the N items S with the largest G_ij / √G_ii and solves (1) on them:

    B_Sj = b max(λ_j P_jj, 1 − ξ),   b = (G_SS + Λ_S)⁻¹ G_Sj,   1 / P_jj = G_jj + λ_j − G_jS b          (5)

Letters: U users, J items of the table, I items of the target domain, E as above, N neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, DivergenceError
from landbridge.core.row_blocks import row_blocks
from landbridge.core.types import Float32, Float64, Int32, Ragged, read_only
from landbridge.models.common.sharing import consecutive
from landbridge.models.linear.matrix import DenseMatrix, SparseMatrix
from landbridge.models.linear.table import UserItemTable

AT_ONCE = 256  # targets of the dual form whose columns are held at once
GRAM_BYTES = 1 << 28  # the local form counts small Gramians itself where the whole one would take more
SMALLEST = 2.0**-60  # below it 1 / G_ii and its products would not fit in float32: no neighbour of any item
CHUNKS = 256  # parts of the targets between which threads are balanced

Square = npt.NDArray[Any]  # float64, or float32 where that does not fit into memory


@dataclass(frozen=True)
class Plan:
    """How a table is solved: the form, the bytes of a number in its inverse, and the memory that takes."""

    form: str
    itemsize: int
    bytes: int

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Of the matrix that is inverted."""
        return np.float64 if self.itemsize == 8 else np.float32


def plan(n_users: int, n_items: int, form: str, budget: float) -> Plan:
    """The form for a table: ``form``, or for "auto" the first of exact, dual and local that fits ``budget``.


    Exact and dual use float64 where that fits, else float32. DataError if ``form`` does not fit.
    """
    plans = [
        *(Plan("exact", size, (2 * size + 4) * n_items**2) for size in (8, 4)),
        *(Plan("dual", size, 2 * size * n_users**2 + 4 * n_items**2) for size in (8, 4)),
    ]
    if form == "auto" and n_users >= n_items:
        plans = plans[:2]
    fitting = [each for each in plans if form in ("auto", each.form) and each.bytes <= budget]
    if fitting:
        return fitting[0]
    if form in ("auto", "local"):
        return Plan("local", 4, 0)
    least = min(each.bytes for each in plans if each.form == form)
    raise DataError(
        f"The {form} form needs {least / 2**30:.1f} GiB for {n_items:,} items and {n_users:,} users, more "
        f"than memory_gib = {budget / 2**30:g}. Use form = local, or raise memory_gib."
    )


def exact(
    table: UserItemTable, ridges: Mapping[str, Float64], limit: float, chosen: Plan
) -> dict[str, DenseMatrix]:
    """Eq. (3): domain -> B with a row per item of the table; ``ridges``: domain -> λ_J as a target."""
    from landbridge.models.linear import kernels

    base_J = np.max(list(ridges.values()), axis=0)
    gram_JJ = np.zeros((table.n_items, table.n_items), chosen.dtype)
    kernels.dense_gram(len(gram_JJ), table.by_user, table.by_item, gram_JJ)
    gram_JJ[np.diag_indices(table.n_items)] += base_J
    inverse_JJ = inverted(gram_JJ)
    return {
        name: DenseMatrix(
            _weights(_columns(inverse_JJ, item_I, base_J - ridges[name]), item_I, ridges[name], limit)
        )
        for name, item_I in table.items.items()
    }


def dual(
    table: UserItemTable, ridges: Mapping[str, Float64], limit: float, chosen: Plan
) -> dict[str, DenseMatrix]:
    """Eq. (4): domain -> B with a row per item of the table."""
    from landbridge.models.linear import kernels

    result = {}
    for name, item_I in table.items.items():
        root_J = ridges[name] ** -0.5
        scaled = table.weighted(partial(_scaled, root_J))  # Z
        kernel_UU = np.zeros((table.n_users, table.n_users), chosen.dtype)
        kernels.dense_gram(len(kernel_UU), scaled.by_item, scaled.by_user, kernel_UU)
        kernel_UU[np.diag_indices(table.n_users)] += 1
        inverse_UU = inverted(kernel_UU)
        weight_JI = np.empty((table.n_items, len(item_I)), np.float32)
        for start in range(0, len(item_I), AT_ONCE):
            some = item_I[start : start + AT_ONCE]
            column_IJ = np.empty((len(some), table.n_items), np.float64)
            kernels.dual_columns(len(some), inverse_UU, scaled.by_item, root_J, some, column_IJ)
            weight_JI[:, start : start + AT_ONCE] = _weights(column_IJ.T, some, ridges[name], limit)
        result[name] = DenseMatrix(weight_JI)
    return result


def local(
    table: UserItemTable,
    targets: Mapping[str, Int32],
    ridges: Mapping[str, Float64],
    limit: float,
    neighbours: int,
) -> dict[str, SparseMatrix]:
    """Eq. (5): domain -> the columns of sparse B for some of its items, with a row per item of the table."""
    from landbridge.models.linear import kernels

    diagonal_J = table.diagonal_J
    relative_J = np.divide(1, diagonal_J, out=np.zeros_like(diagonal_J), where=diagonal_J > SMALLEST)
    gram_JJ = np.zeros((0, 0), np.float32)
    # of few targets the kernel counts less itself
    if keeps_gramian(table.n_items) and 2 * sum(map(len, targets.values())) >= table.n_items:
        gram_JJ = np.zeros((table.n_items, table.n_items), np.float32)
        kernels.dense_gram(len(gram_JJ), table.by_user, table.by_item, gram_JJ)
    result = {}
    for name, item_I in targets.items():
        out = neighbour_lists(len(item_I), min(neighbours, table.n_items))
        chunk_C = balanced(table, item_I)
        kernels.local_ridge(
            len(chunk_C) - 1,
            table.by_user,
            table.by_item,
            gram_JJ,
            ridges[name].astype(np.float32),
            relative_J.astype(np.float32),
            read_only(item_I),
            chunk_C,
            np.float32(limit),
            out,
        )
        result[name] = sparse_matrix(out, table.n_items)
    return result


def keeps_gramian(n_items: float) -> bool:
    """Whether the local form keeps the whole Gramian of a table."""
    return 4 * n_items**2 <= GRAM_BYTES


def neighbour_lists(n_items: int, most: int) -> tuple[npt.NDArray[np.int32], Float32, npt.NDArray[np.int32]]:
    """Room for the neighbours of every target item: items (I, N), values (I, N), numbers (I,)."""
    return (
        np.zeros((n_items, most), np.int32),
        np.zeros((n_items, most), np.float32),
        np.zeros(n_items, np.int32),
    )


def sparse_matrix(
    lists: tuple[npt.NDArray[np.int32], Float32, npt.NDArray[np.int32]], n_sources: int
) -> SparseMatrix:
    """The lists of the target items as rows of source items."""
    from landbridge.models.linear import kernels

    return SparseMatrix(Ragged(*kernels.by_source(*lists, n_sources)), len(lists[2]))


def balanced(table: UserItemTable, item_I: Int32) -> npt.NDArray[np.int64]:
    """Bounds of chunks of target items with about equal work, which is the events of their users."""
    lengths_U, work_J = table.rows.lengths, np.zeros(table.n_items, np.int64)
    for block in row_blocks(table.columns.offsets):
        part = table.columns.block(block)
        events_N = np.append(lengths_U[part.columns], 0)
        work_J[block] = np.add.reduceat(events_N, part.offsets[:-1])
    work_I = np.where(table.columns.lengths > 0, work_J, 0)[item_I] + 1000.0  # and a system of equations
    return chunks(work_I)


def chunks(work_I: Float64) -> npt.NDArray[np.int64]:
    """Bounds of chunks of items with about equal work."""
    bounds = np.searchsorted(np.cumsum(work_I), np.linspace(0, work_I.sum(), CHUNKS + 1)[1:-1])
    return np.unique(np.concatenate(([0], bounds, [len(work_I)]))).astype(np.int64)


def _scaled(root_J: Float64, part: Ragged, block: slice) -> Float32:
    return (part.weights * root_J[part.columns]).astype(np.float32)


def inverted(square_NN: Square) -> Square:
    """The inverse of a symmetric positive definite matrix, in its memory; DivergenceError if it is none."""
    from scipy.linalg import get_lapack_funcs

    factor, invert = get_lapack_funcs(("potrf", "potri"), (square_NN,))
    # a transposed view is in Fortran's order, so that LAPACK works in place; by symmetry it is the same
    lower_NN, failed = factor(square_NN.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        lower_NN, failed = invert(lower_NN, lower=1, overwrite_c=1)
    if failed:
        # of these settings, not of the data: a search tries others
        raise DivergenceError("The Gramian is singular in floating point: raise reg, or scale the weights.")
    mirrored: Square = lower_NN.T  # its upper triangle holds the inverse
    for start in range(0, len(mirrored), 512):  # by blocks: no second matrix
        stop = min(start + 512, len(mirrored))
        mirrored[stop:, start:stop] = mirrored[start:stop, stop:].T
        corner = mirrored[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
    return mirrored


def _columns(inverse_JJ: Square, item_I: Int32, less_J: Float64) -> Square:
    """The columns of P of one target domain, (J, I), Eq. (3); ``less_J``: Λ₀ − Λ ≥ 0."""
    from scipy.linalg import cho_factor, cho_solve

    changed_E, part = np.flatnonzero(less_J > 0), consecutive(item_I) or item_I
    if not len(changed_E):
        return np.asarray(inverse_JJ[:, part])
    root_E = np.sqrt(less_J[changed_E])
    scaled_JE = inverse_JJ[:, changed_E] * root_E
    system_EE = -root_E[:, None] * scaled_JE[changed_E]
    system_EE[np.diag_indices(len(changed_E))] += 1
    right_EI = scaled_JE[part].T
    return np.asarray(
        inverse_JJ[:, part] + scaled_JE @ cho_solve(cho_factor(system_EE, lower=True), right_EI)
    )


def _weights(column_JI: Square, item_I: Int32, ridge_J: Float64, limit: float) -> Float32:
    """B from columns of P, Eq. (2), with zero for B_jj."""
    own_I = np.arange(len(item_I))
    diagonal_I = column_JI[item_I, own_I]
    weight_JI = (column_JI * -np.maximum(ridge_J[item_I], (1 - limit) / diagonal_I)).astype(np.float32)
    weight_JI[item_I, own_I] = 0
    return weight_JI
