"""Raw id <-> dense index. Raw ids exist only before the readers and after ``recommend``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from landbridge.errors import DataError

IdArray = npt.NDArray[Any]  # int64, or NumPy's variable-width StringDType


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids of one kind of thing, sorted and unique; an id's dense index is its position.

    ``ids`` is int64 or StringDType, shape (V,), read-only.
    """

    ids: IdArray

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or not _is_id_dtype(self.ids.dtype):
            raise DataError("A vocabulary needs a flat array of whole numbers or strings as ids.")
        if len(self.ids) > 1 and not bool(np.all(self.ids[1:] > self.ids[:-1])):
            raise DataError("A vocabulary's ids must be sorted and unique.")
        self.ids.flags.writeable = False

    @classmethod
    def of(cls, raw: Iterable[Any] | IdArray) -> Vocabulary:
        """The vocabulary of all ids in ``raw`` (any order, repeats allowed)."""
        return cls(np.unique(as_ids(raw)))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether ids are strings rather than whole numbers."""
        return bool(self.ids.dtype != np.int64)

    def index(self, raw: Iterable[Any] | IdArray) -> npt.NDArray[np.int32]:
        """Dense indices of ``raw`` ids, shape (N,), with -1 where an id is unknown."""
        wanted = self._cast(as_ids(raw))
        if self.is_text:
            return _places(self.ids, wanted)
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int32)
        place = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[place] == wanted, place, -1).astype(np.int32)

    def _cast(self, wanted: IdArray) -> IdArray:
        """Ids of the other type: '17' finds 17 and 17 finds '17'; text that is no number finds nothing."""
        if self.is_text:
            return wanted.astype(np.dtypes.StringDType())
        if wanted.dtype == np.int64:
            return wanted
        return np.array([_whole_number(text, self.ids) for text in wanted], np.int64)


def as_ids(raw: Iterable[Any] | IdArray) -> IdArray:
    """Any id column as int64 or StringDType; mixed or missing ids are an error."""
    array = raw if isinstance(raw, np.ndarray) else np.asarray(list(raw))
    if array.size == 0 and array.dtype == np.float64:
        return array.astype(np.int64)
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64, copy=False)
    if array.dtype.kind in "UT":
        return array.astype(np.dtypes.StringDType(), copy=False)
    if array.dtype == object and all(isinstance(value, str) for value in array):
        return array.astype(np.dtypes.StringDType())
    raise DataError(f"Ids must be all whole numbers or all strings, but a column of {array.dtype} was given.")


def _places(ids: IdArray, wanted: IdArray) -> npt.NDArray[np.int32]:
    """Where each wanted text is among the ids, -1 where it is not.

    By a join of polars: NumPy (2.4) searches a sorted array for text of more than 15 bytes from another one
    in the wrong memory, and finds nothing or fails.
    """
    import polars as pl

    table = pl.DataFrame({"id": pl.Series(ids.tolist(), dtype=pl.String)}).with_row_index("place")
    asked = pl.DataFrame({"id": pl.Series(wanted.tolist(), dtype=pl.String)})
    found = asked.join(table, on="id", how="left", maintain_order="left")["place"]
    return found.cast(pl.Int32).fill_null(-1).to_numpy()


def _is_id_dtype(dtype: np.dtype[Any]) -> bool:
    return dtype == np.int64 or isinstance(dtype, np.dtypes.StringDType)


def _whole_number(text: str, known: IdArray) -> int:
    try:
        return int(text)
    except ValueError:
        return int(known[0]) - 1  # smaller than every id: found nowhere
