"""Item–item matrices W: rows are source items, columns target items, dense or sparse.

Letters: J source items, I target items, B queries, N entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.types import Float32, Int32, Int64, Ragged
from landbridge.models.common.sharing import consecutive


class Growth(NamedTuple):
    """Where the items of a catalogue are in a larger one, (I,), and how many that one has."""

    place_I: Int32
    size: int


class ItemMatrix(Protocol):
    """What an item–item model needs of its weights, however they are kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """Source items and target items, (J, I)."""

    def add_product(self, rows: Ragged, out_BI: Float32) -> None:
        """out += x · W for every row x of ``rows``."""

    def row(self, source: int) -> Float32:
        """The weights from one source item to every target item, (I,)."""

    def column(self, sources_N: Int32, target: int) -> Float32:
        """The weights from some source items to one target item, (N,)."""

    def rows_of(self, item_I: Int32) -> ItemMatrix:
        """The matrix of some source items; of consecutive ones without a copy of the weights."""

    def grown(self, sources: Growth, targets: Growth, new_N: Int64, columns: SparseMatrix) -> ItemMatrix:
        """The matrix of larger catalogues, with the ``columns`` (J, N) for the target items ``new_N``; other
        weights of items that are not here are zero."""

    def fits(self, n_sources: int, n_targets: int) -> bool:
        """Whether it is sound, and of this shape: of a damaged or forged file it may be neither."""

    @property
    def values(self) -> npt.NDArray[Any]:
        """All weights that it keeps."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that make the matrix again, by their names in :func:`matrix_from`."""


@dataclass(frozen=True, eq=False)
class DenseMatrix:
    """All weights, ``weight_JI``: float32 (J, I)."""

    weight_JI: Float32

    @property
    def shape(self) -> tuple[int, int]:
        """As in :class:`ItemMatrix`."""
        return self.weight_JI.shape[0], self.weight_JI.shape[1]

    def add_product(self, rows: Ragged, out_BI: Float32) -> None:
        """As in :class:`ItemMatrix`: each event adds a row of W."""
        from landbridge.models.linear import kernels

        kernels.add_dense(len(out_BI), (rows.offsets, rows.columns, rows.weights), self.weight_JI, out_BI)

    def row(self, source: int) -> Float32:
        """As in :class:`ItemMatrix`."""
        return np.asarray(self.weight_JI[source])

    def column(self, sources_N: Int32, target: int) -> Float32:
        """As in :class:`ItemMatrix`."""
        return np.asarray(self.weight_JI[sources_N, target])

    def rows_of(self, item_I: Int32) -> DenseMatrix:
        """As in :class:`ItemMatrix`."""
        return DenseMatrix(self.weight_JI[consecutive(item_I) or item_I])

    def grown(self, sources: Growth, targets: Growth, new_N: Int64, columns: SparseMatrix) -> DenseMatrix:
        """As in :class:`ItemMatrix`."""
        weight_JI = np.zeros((sources.size, targets.size), np.float32)
        weight_JI[np.ix_(sources.place_I, targets.place_I)] = self.weight_JI
        weight_JI[:, new_N] = 0
        weight_JI[columns.rows.entry_rows, new_N[columns.rows.columns]] = columns.values
        return DenseMatrix(weight_JI)

    def fits(self, n_sources: int, n_targets: int) -> bool:
        """As in :class:`ItemMatrix`."""
        return self.weight_JI.dtype == np.float32 and self.weight_JI.shape == (n_sources, n_targets)

    @property
    def values(self) -> npt.NDArray[Any]:
        """As in :class:`ItemMatrix`."""
        return self.weight_JI

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As in :class:`ItemMatrix`."""
        return {"dense": self.weight_JI}


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """The weights that are not zero: ``rows`` of source items, the columns of a row in order."""

    rows: Ragged
    n_targets: int
    NAMES: ClassVar[tuple[str, ...]] = ("offsets", "columns", "weight")

    @property
    def shape(self) -> tuple[int, int]:
        """As in :class:`ItemMatrix`."""
        return len(self.rows), self.n_targets

    def add_product(self, rows: Ragged, out_BI: Float32) -> None:
        """As in :class:`ItemMatrix`: each event adds the entries of its row."""
        from landbridge.models.linear import kernels

        own = (self.rows.offsets, self.rows.columns, self.rows.weights)
        kernels.add_sparse(len(out_BI), (rows.offsets, rows.columns, rows.weights), own, out_BI)

    def row(self, source: int) -> Float32:
        """As in :class:`ItemMatrix`."""
        row_I = np.zeros(self.n_targets, np.float32)
        entries = slice(self.rows.offsets[source], self.rows.offsets[source + 1])
        row_I[self.rows.columns[entries]] = self.rows.weights[entries]
        return row_I

    def column(self, sources_N: Int32, target: int) -> Float32:
        """As in :class:`ItemMatrix`."""
        taken = self.rows.take(sources_N)
        hits = taken.columns == target
        column_N = np.zeros(len(sources_N), np.float32)
        column_N[taken.entry_rows[hits]] = taken.weights[hits]
        return column_N

    def rows_of(self, item_I: Int32) -> SparseMatrix:
        """As in :class:`ItemMatrix`."""
        part = consecutive(item_I)
        if part is None:
            return SparseMatrix(self.rows.take(item_I), self.n_targets)
        offsets = self.rows.offsets[part.start : part.stop + 1]
        entries = slice(offsets[0], offsets[-1])
        rows = Ragged(offsets - offsets[0], self.rows.columns[entries], self.rows.weights[entries])
        return SparseMatrix(rows, self.n_targets)

    def grown(self, sources: Growth, targets: Growth, new_N: Int64, columns: SparseMatrix) -> SparseMatrix:
        """As in :class:`ItemMatrix`."""
        here_N = targets.place_I[self.rows.columns]
        kept_N = ~np.isin(here_N, new_N)
        row_N = np.concatenate([sources.place_I[self.rows.entry_rows][kept_N], columns.rows.entry_rows])
        column_N = np.concatenate([here_N[kept_N], new_N[columns.rows.columns]])
        weight_N = np.concatenate([self.values[kept_N], columns.values])
        order_N = np.argsort(column_N, kind="stable")  # the columns of a row are in order
        rows = Ragged.from_index(row_N[order_N], column_N[order_N], sources.size, weight_N[order_N])
        return SparseMatrix(rows, targets.size)

    def fits(self, n_sources: int, n_targets: int) -> bool:
        """As in :class:`ItemMatrix`: compiled code would read beyond rows with forged offsets or columns."""
        offsets, columns, n_entries = self.rows.offsets, self.rows.columns, len(self.values)
        ordered = (
            offsets[0] == 0 and offsets[-1] == n_entries == len(columns) and (np.diff(offsets) >= 0).all()
        )
        inside = not len(columns) or (columns.min() >= 0 and columns.max() < n_targets)
        shaped = self.shape == (n_sources, n_targets) and self.values.dtype == np.float32
        return bool(ordered and inside and shaped)

    @property
    def values(self) -> npt.NDArray[Any]:
        """As in :class:`ItemMatrix`."""
        return self.rows.weights

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As in :class:`ItemMatrix`."""
        parts = (self.rows.offsets, self.rows.columns, self.rows.weights)
        return dict(zip(self.NAMES, parts, strict=True))


def side_by_side(parts: Sequence[SparseMatrix]) -> SparseMatrix:
    """The matrix of the columns of all parts, in their order; all have the same source items."""
    starts = np.cumsum([0, *(part.n_targets for part in parts)])
    rows = Ragged.from_index(
        np.concatenate([part.rows.entry_rows for part in parts]),
        np.concatenate([start + part.rows.columns for start, part in zip(starts, parts, strict=False)]),
        len(parts[0].rows),
        np.concatenate([part.values for part in parts]),
    )
    return SparseMatrix(rows, int(starts[-1]))


def matrix_from(arrays: Mapping[str, npt.NDArray[Any]], n_targets: int) -> ItemMatrix:
    """The matrix whose ``arrays`` these are."""
    if "dense" in arrays:
        return DenseMatrix(arrays["dense"])
    return SparseMatrix(Ragged(*(arrays[name] for name in SparseMatrix.NAMES)), n_targets)


def check_matrix(matrix: ItemMatrix, shape: tuple[int, int], where: str) -> None:
    """DataError where a matrix does not fit its data or is not finite, as in a damaged or forged file."""
    if not matrix.fits(*shape):
        raise DataError(f"its item–item matrix does not fit its data in {where}; fit it again.")
    if not np.isfinite(np.sum(matrix.values, dtype=np.float64)):
        raise DataError(f"its item–item matrix is not all numbers in {where}; fit it again.")
