"""A table of events under the roles' names, whose errors name the table, the column and the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError
from landbridge.data.io.parsing import parsing_errors

if TYPE_CHECKING:
    import polars as pl

DAY_MONTH = r"^\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{2,4}"  # the order of day and month differs by country
LATEST_SECOND = 100_000_000_000  # the year 5138: a larger number is milliseconds, not seconds


@dataclass(frozen=True, eq=False)
class EventTable:
    """``frame`` with columns named by role (user, item, time ...), and ``where`` it comes from in words."""

    frame: pl.DataFrame
    where: str

    def __contains__(self, role: str) -> bool:
        return role in self.frame.columns

    def __len__(self) -> int:
        return self.frame.height

    def raise_on_bad_rows(self, bad_N: pl.Series, role: str, fault: str, remedy: str) -> None:
        """A DataError naming the first row (counted from 1, header excluded) where ``bad_N`` is true."""
        if bad_N.any():
            row = int(bad_N.arg_max() or 0)
            raise DataError(f"Column {role!r} of {self.where} {fault} in row {row + 1}; {remedy}.")

    def text(self, role: str) -> pl.Series:
        """A column as String, null where a value has no text; DataError where none has, as for lists."""
        import polars as pl

        dtype = self.frame[role].dtype
        if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object):
            raise DataError(f"Column {role!r} of {self.where} holds {dtype}; give text.")
        return self.frame[role].cast(pl.String, strict=False)

    def ids(self, role: str) -> pl.Series:
        """An id column as int64 or String. Text that is all canonical whole numbers becomes int64, so
        that ``17`` in a csv file and 17 in a parquet file are one id, while ``007`` stays text."""
        import polars as pl

        column = self.frame[role]
        if isinstance(column.dtype, pl.Categorical | pl.Enum):
            column = column.cast(pl.String)
        # pandas turns whole numbers with a missing value into floats
        if column.dtype.is_float():
            fraction = (~column.is_finite() | (column != column.floor())).fill_null(False)
            self.raise_on_bad_rows(fraction, role, "is no whole number", "give whole numbers or text as ids")
            # two ids may have become one where the column was made
            rounded = (column.abs() >= _exact_below(column.dtype)).fill_null(False)
            self.raise_on_bad_rows(
                rounded, role, "is a float too large to be exact", "give such ids as whole numbers or text"
            )
        self.raise_on_bad_rows(column.is_null(), role, "is missing", "fill or remove it")
        if column.dtype == pl.String:
            self.raise_on_bad_rows(column == "", role, "is empty", "fill or remove it")
            return _whole_or_text(column)
        if not column.dtype.is_numeric() or column.dtype.is_decimal():
            raise DataError(
                f"Column {role!r} of {self.where} holds {column.dtype}; convert it to whole numbers or text."
            )
        # not strict: what does not fit becomes null, and its row is named below
        whole = column.cast(pl.Int64, strict=False)
        self.raise_on_bad_rows(whole.is_null(), role, "does not fit in 64 bits", "give such ids as text")
        return whole

    def seconds(self) -> pl.Series | None:
        """The time column in seconds, Int64, or Float64 where some have fractions; dates and ISO text are
        converted. None without the column."""
        import polars as pl

        if "time" not in self:
            return None
        column = self.frame["time"]
        if column.dtype == pl.String:
            as_number = column.cast(pl.Float64, strict=False)
            is_text = as_number.null_count() == len(column)
            column = self._dates(column) if is_text else as_number
        if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
            column = column.dt.epoch("us") / 1_000_000
        if not column.dtype.is_numeric():
            raise DataError(
                f"Column 'time' of {self.where} holds {column.dtype}; give seconds, dates or ISO text."
            )
        if column.dtype.is_float() or column.dtype.is_decimal():
            # float64 keeps fractions to less than a microsecond
            column = column.cast(pl.Float64)
            self.raise_on_bad_rows(column.is_nan().fill_null(False), "time", "is NaN", "fill or remove it")
        else:
            # of any width: a bound of 64 bits does not fit in a narrower column
            column = column.cast(pl.Int64, strict=False)
        self.raise_on_bad_rows(column.is_null(), "time", "is missing or no time", "fill it or remove the row")
        self.raise_on_bad_rows(
            # not by the absolute value: the least number of 64 bits, a missing time of NumPy, has none
            (column >= LATEST_SECOND) | (column <= -LATEST_SECOND),
            "time",
            "is no second of the next 3,000 years",
            "if these are milliseconds, divide by 1,000",
        )
        whole = bool((column == column.floor()).all())
        if whole and _all_compact_dates(column.cast(pl.Int64)):
            raise DataError(
                f"Column 'time' of {self.where} holds {int(column[0])}, which looks like a date and not like "
                "seconds; write dates as 2020-12-31, or give seconds."
            )
        return column.cast(pl.Int64) if whole else column

    def _dates(self, column: pl.Series) -> pl.Series:
        """Dates and times of day out of text; null where it is neither."""
        import polars as pl

        two_N2 = column.str.extract_groups(DAY_MONTH).struct.unnest().cast(pl.Int64, strict=False)
        first_N, second_N = two_N2.to_series(0), two_N2.to_series(1)
        if (first_N <= 12).any() and not (first_N > 12).any() and not (second_N > 12).any():
            shown = column.filter(first_N <= 12)[0]
            raise DataError(
                f"Column 'time' of {self.where} holds {shown!r}, which can be day and month or month and "
                "day; write dates as 2020-12-31, or give seconds."
            )
        with parsing_errors(f"column 'time' of {self.where}"):
            return column.str.to_datetime(strict=False)

    def numbers(self, role: str) -> pl.Series | None:
        """A rating or weight column as Float64, every value finite. None without the column."""
        import polars as pl

        if role not in self:
            return None
        column = self.frame[role]
        if not (column.dtype.is_numeric() or column.dtype == pl.String or column.dtype == pl.Null):
            raise DataError(f"Column {role!r} of {self.where} holds {column.dtype}; give numbers.")
        number = column.cast(pl.Float64, strict=False)
        bad_N = ~number.is_finite().fill_null(False)
        self.raise_on_bad_rows(bad_N, role, "is missing or no number", "fill or remove it")
        return number


def _all_compact_dates(numbers: pl.Series) -> bool:
    """Whether every number reads as a date such as 20201231, between 1900 and 2100."""
    year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
    return bool((year.is_between(1900, 2100) & month.is_between(1, 12) & day.is_between(1, 31)).all())


def _exact_below(dtype: pl.DataType) -> float:
    """The whole number from which on a type of floats has no longer all."""
    return float(2 ** (np.finfo(str(dtype).lower()).nmant + 1))


def _whole_or_text(column: pl.Series) -> pl.Series:
    import polars as pl

    # Most text ids are no number in the first row already, which saves the cast of the whole column.
    if len(column) and column.head(1).cast(pl.Int64, strict=False).is_null().any():
        return column
    whole = column.cast(pl.Int64, strict=False)
    canonical = not whole.is_null().any() and bool((whole.cast(pl.String) == column).all())
    return whole if canonical else column
