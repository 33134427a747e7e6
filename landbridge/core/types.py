"""Array types, and the one compressed sparse row (CSR) value of the package.

R rows, N entries.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Seconds = npt.NDArray[np.int64 | np.float64]  # since 1970: whole numbers unless some have fractions
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]  # an array of any dtype
Arrays = dict[str, AnyArray]  # arrays by name, as one file holds them

Id = str | int  # a user's or an item's id as the data has it

# Values whose types depend on the key: JSON, rows of a table, settings.
Record = dict[str, Any]  # one that its owner builds: a JSON object, a row of a table, a line of a log
Values = Mapping[str, Any]  # one that is only read: settings, a manifest, a row of another module


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


# data sets and settings hold read-only mappings, which pickle and copy do not know
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))

ABSENT = -1  # as a row number: an empty row
BLOCK = 1 << 22  # entries of a column that are handled at once, as mapped ones may not fit in memory


def read_only(array: AnyArray) -> AnyArray:
    """The array, or a view of it, that cannot be written.

    Compiled code has one form for arrays that may be written and one for those that may not, as mapped ones;
    a kernel whose inputs always come by this way is compiled once.
    """
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def blocks(length: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of at most ``size`` entries, one after the other."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def counted(index_N: npt.NDArray[np.integer], size: int) -> Int64:
    """How often each index occurs, (size,)."""
    count_K = np.zeros(size, np.int64)
    for block in blocks(len(index_N)):
        count_K += np.bincount(index_N[block], minlength=size)
    return count_K


@dataclass(frozen=True, eq=False)
class Ragged:
    """A compressed sparse matrix: row ``r`` holds ``columns[offsets[r]:offsets[r + 1]]``.

    ``offsets``: int64 (R + 1,), from 0 to N. ``columns``: int32 (N,). ``weight``: float32 (N,), None for
    all ones. Compiled kernels take the arrays, not the value. The arrays cannot be written.
    """

    offsets: Int64
    columns: Int32
    weight: Float32 | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", read_only(self.offsets))
        object.__setattr__(self, "columns", read_only(self.columns))
        if self.weight is not None:
            object.__setattr__(self, "weight", read_only(self.weight))

    @classmethod
    def empty(cls, n_rows: int) -> Ragged:
        """``n_rows`` rows without an entry."""
        return cls(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32))

    @classmethod
    def from_rows(cls, rows: Sequence[npt.ArrayLike]) -> Ragged:
        """The columns of each row, in their order."""
        columns_of = [np.asarray(row, np.int32) for row in rows]
        lengths_R = np.array([len(columns) for columns in columns_of], np.int64)
        return cls(_cumulative(lengths_R), np.concatenate([np.empty(0, np.int32), *columns_of]))

    @classmethod
    def from_index(
        cls,
        row_N: npt.NDArray[np.integer],
        column_N: npt.NDArray[np.integer],
        n_rows: int,
        weight_N: Float32 | None = None,
    ) -> Ragged:
        """Entries (row, column) in any order; the entries of one row keep their order."""
        # Stable, so that an order by time or by column within a row survives.
        order_N = np.argsort(row_N, kind="stable")
        weight_N = None if weight_N is None else weight_N[order_N]
        return cls(row_offsets(row_N, n_rows), column_N[order_N].astype(np.int32, copy=False), weight_N)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Int64:
        """Entries per row, (R,)."""
        return np.diff(self.offsets)

    @property
    def entry_rows(self) -> Int64:
        """The row number of each entry, (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def weights(self) -> Float32:
        """The weight of each entry, ones where none are stored, (N,)."""
        return read_only(np.ones(len(self.columns), np.float32)) if self.weight is None else self.weight

    def block(self, rows: slice) -> Ragged:
        """Consecutive rows, without a copy of their entries."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        weight = None if self.weight is None else self.weight[entries]
        return Ragged(offsets - offsets[0], self.columns[entries], weight)

    def take(self, row_B: npt.ArrayLike) -> Ragged:
        """The rows with these numbers, in their order; -1 gives an empty row."""
        offsets, entry_N = self.locate(row_B)
        return Ragged(offsets, self.columns[entry_N], None if self.weight is None else self.weight[entry_N])

    def locate(self, row_B: npt.ArrayLike) -> tuple[Int64, Int64]:
        """Offsets (B + 1,) of the rows with these numbers one after the other, and the position of each
        of their entries in this matrix, (N,), for columns that are kept beside it (such as times)."""
        rows = np.asarray(row_B, np.int64)
        if len(rows) and (rows.min() < ABSENT or rows.max() >= len(self)):
            raise DataError(f"A row number lies outside -1..{len(self) - 1}.")
        # offsets[-1] and offsets[0] of row -1 are read and then thrown away by the mask.
        starts = self.offsets[rows]
        lengths = np.where(rows < 0, 0, self.offsets[rows + 1] - starts)
        offsets = _cumulative(lengths)
        return offsets, np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])

    def concat(self, other: Ragged) -> Ragged:
        """Each row's entries followed by those of the same row of ``other``."""
        # the usual case, without sorting anything
        if not len(other.columns) or not len(self.columns):
            return self if len(self.columns) else other
        unweighted = self.weight is None and other.weight is None
        return Ragged.from_index(
            np.concatenate([self.entry_rows, other.entry_rows]),
            np.concatenate([self.columns, other.columns]),
            len(self),
            None if unweighted else np.concatenate([self.weights, other.weights]),
        )

    def append(self, more: Sequence[npt.NDArray[np.integer]]) -> Ragged:
        """Every row with more columns, sorted; weights are dropped."""
        row_M = np.repeat(np.arange(len(more)), [len(columns) for columns in more])
        row_N = np.append(self.entry_rows, row_M)
        column_N = np.concatenate([self.columns, *more])
        order_N = np.lexsort((column_N, row_N))
        return Ragged(row_offsets(row_N, len(self)), column_N[order_N].astype(np.int32))


def row_offsets(row_N: npt.NDArray[np.integer], n_rows: int) -> Int64:
    """The offsets of rows from the row number of each entry, (R + 1,)."""
    return _cumulative(counted(row_N, n_rows))


def _cumulative(lengths_R: Int64) -> Int64:
    return np.concatenate(([0], np.cumsum(lengths_R))).astype(np.int64)
