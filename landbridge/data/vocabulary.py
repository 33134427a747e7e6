"""Raw id <-> dense index. Raw ids exist only before the readers and after ``recommend``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.text import is_unicode
from landbridge.core.types import AnyArray

if TYPE_CHECKING:
    import polars as pl

    TextIds = TypeVar("TextIds", pl.Series, pl.Expr)

IdArray = AnyArray  # int64, or NumPy's variable-width StringDType
LARGEST = 2**63 - 1
LONGEST = len(str(-(2**63)))  # characters: int() of a longer text is slow and cannot fit in 64 bits


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids of one kind of thing, sorted and unique; an id's dense index is its position.

    ``ids`` is int64 or StringDType, shape (V,), read-only. ``folded``: they are without case and surrounding
    blanks, and so are those that are looked up.
    """

    ids: IdArray
    folded: bool = False

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or not _is_id_dtype(self.ids.dtype):
            raise DataError("A vocabulary needs a flat array of whole numbers or strings as ids.")
        if len(self.ids) > 1 and not bool(np.all(self.ids[1:] > self.ids[:-1])):
            raise DataError("A vocabulary's ids must be sorted and unique.")
        self.ids.flags.writeable = False

    @classmethod
    def of(cls, raw: Iterable[object] | IdArray) -> Vocabulary:
        """The vocabulary of all ids in ``raw`` (any order, repeats allowed)."""
        return cls(np.unique(as_ids(raw)))

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, kept_V: npt.NDArray[np.bool_]) -> Vocabulary:
        """The ids that are kept."""
        return Vocabulary(self.ids[kept_V], self.folded)

    def spelled_texts(self, texts: pl.Series) -> pl.Series:
        """Ids as text, known or not, as the vocabulary writes them."""
        return folded(texts) if self.folded else texts

    def spelled(self, raw: Iterable[object] | IdArray) -> IdArray:
        """Raw ids of any type, known or not, as the vocabulary writes them, (N,)."""
        given_N = as_ids(raw)
        if not self.folded or given_N.dtype == np.int64:
            return given_N
        import polars as pl

        texts = self.spelled_texts(pl.Series(given_N.tolist(), dtype=pl.String))
        return np.array(texts.to_list(), np.dtypes.StringDType())

    @property
    def is_text(self) -> bool:
        """Whether ids are strings rather than whole numbers."""
        return bool(self.ids.dtype != np.int64)

    def index(self, raw: Iterable[object] | IdArray) -> npt.NDArray[np.int32]:
        """Dense indices of ``raw`` ids, shape (N,), with -1 where an id is unknown.

        An id of the other type matches, too: '17' is 17 and 17 is '17', but '+17' or '1_7' is unknown.
        """
        wanted_N = self.spelled(raw)
        if not len(self.ids):
            return np.full(len(wanted_N), -1, np.int32)
        if self.is_text:
            return _places(self.ids, wanted_N.astype(np.dtypes.StringDType()))
        number_N, fits_N = _numbers(wanted_N)
        place_N = np.minimum(np.searchsorted(self.ids, number_N), len(self.ids) - 1)
        return np.where(fits_N & (self.ids[place_N] == number_N), place_N, -1).astype(np.int32)


def folded(ids: TextIds) -> TextIds:
    """Text ids of polars without case and surrounding blanks."""
    return ids.str.strip_chars().str.to_lowercase()


def as_ids(raw: Iterable[object] | IdArray) -> IdArray:
    """Any id column as int64 or StringDType; mixed or missing ids are an error."""
    array = raw if isinstance(raw, np.ndarray) else _column(list(raw))
    # np.asarray([]) is float64
    if array.size == 0 and array.dtype == np.float64:
        return array.astype(np.int64)
    if array.dtype == np.uint64 and array.size and array.max() > LARGEST:
        # wrapped around it would be the id of another user
        return array.astype(np.dtypes.StringDType())
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64, copy=False)
    if array.dtype.kind in "UT" or (array.dtype == object and all(isinstance(v, str) for v in array)):
        return _texts(array)
    if array.dtype == object and all(type(value) is int for value in array):
        return np.array([str(value) for value in array], np.dtypes.StringDType())  # some of more than 64 bits
    raise DataError(f"Ids must be all whole numbers or all strings, but a column of {array.dtype} was given.")


def _column(ids: list[object]) -> AnyArray:
    """Ids as an array, texts beside whole numbers all as text.

    NumPy would make a text of anything beside a text, and take null characters off the ends of texts.
    """
    if not any(isinstance(each, str) for each in ids):
        return np.asarray(ids)
    return np.array([str(each) if type(each) is int else each for each in ids], object)


def _texts(array: AnyArray) -> IdArray:
    """Texts of any type as StringDType; DataError for one that is no Unicode."""
    try:
        return array.astype(np.dtypes.StringDType(), copy=False)
    except (UnicodeEncodeError, TypeError):  # NumPy raises one for objects, the other for its own texts
        odd = next(text for text in array.tolist() if not is_unicode(text))
        raise DataError(f"The id {odd!r} is no Unicode text; convert the ids to UTF-8.") from None


def _places(ids: IdArray, wanted: IdArray) -> npt.NDArray[np.int32]:
    """Where each wanted text is among the ids, -1 where it is not.

    By a join of polars: NumPy (2.4) searches a sorted array for text of more than 15 bytes from another one
    in the wrong memory, and finds nothing or fails.
    """
    import polars as pl

    table = pl.DataFrame({"id": pl.Series(ids.tolist(), dtype=pl.String)}).with_row_index("place")
    queries = pl.DataFrame({"id": pl.Series(wanted.tolist(), dtype=pl.String)})
    index = queries.join(table, on="id", how="left", maintain_order="left")["place"]
    return index.cast(pl.Int32).fill_null(-1).to_numpy()


def _is_id_dtype(dtype: np.dtype[Any]) -> bool:
    return dtype == np.int64 or isinstance(dtype, np.dtypes.StringDType)


def _numbers(wanted_N: IdArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The whole numbers that ids are, and which ids are one."""
    if wanted_N.dtype == np.int64:
        return wanted_N, np.ones(len(wanted_N), np.bool_)
    numbers = [whole_number(text) for text in wanted_N.tolist()]
    fits_N = np.array([number is not None for number in numbers], np.bool_)
    return np.array([number or 0 for number in numbers], np.int64), fits_N


def whole_number(raw: str | int) -> int | None:
    """The number of 64 bits that an id is; None for others, and for text that Python would not write so."""
    try:
        number = raw if isinstance(raw, int) else int(raw) if len(raw) <= LONGEST else None
    except ValueError:
        return None
    # int() also reads "007" and " 7", which are other ids
    written = isinstance(raw, int) or str(number) == raw
    return number if written and number is not None and -(2**63) <= number < 2**63 else None
