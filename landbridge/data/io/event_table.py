"""A table of events under the roles' names, whose errors name the table, the column and the row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import Int64
from landbridge.data.io.parsing import parsing_errors
from landbridge.data.io.time_form import DatedText, TimeForm
from landbridge.data.provenance import SkippedRow
from landbridge.data.time_units import LATEST_SECOND, MISSING_TIME, mixed_units, remedy_of
from landbridge.data.vocabulary import folded

if TYPE_CHECKING:
    import polars as pl

Parsed = TypeVar("Parsed")

DECIMAL_COMMA = r"^\s*[+-]?\d*,\d+\s*$"
DECIMAL = r"^\s*[+-]?(\d+|\d*[.,]\d+)?\s*$"  # a number with either, or nothing
THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2},\d{3}\s*$"  # a comma that can be either


class BadRowsError(DataError):
    """Some rows of a table cannot be read: those where ``bad_N`` is true, for ``reason``."""

    def __init__(self, message: str, bad_N: pl.Series, reason: str) -> None:
        super().__init__(message)
        self.bad_N, self.reason = bad_N, reason


@dataclass(frozen=True, eq=False)
class EventTable:
    """``frame`` with columns named by role (user, item, time ...), and ``where`` it comes from in words.

    ``names``: role -> column as the file names it. ``fold``: ids that differ in case or surrounding blanks
    are one. ``row_N``: the rows' numbers in the file, (N,), from 1; None: 1, 2, ... ``skipped``: the rows
    that were left out; None: a bad row is an error. ``form``: how the whole table writes its times, where
    these are some of its rows.
    """

    frame: pl.DataFrame
    where: str
    names: Mapping[str, str] = field(default_factory=dict)
    fold: bool = False
    row_N: Int64 | None = None
    skipped: tuple[SkippedRow, ...] | None = None
    form: TimeForm | None = None

    def __contains__(self, role: str) -> bool:
        return role in self.frame.columns

    def __len__(self) -> int:
        return self.frame.height

    def raise_on_bad_rows(self, bad_N: pl.Series, role: str, fault: str, remedy: str) -> None:
        """A BadRowsError naming the first row (counted from 1, header excluded) where ``bad_N`` is true."""
        if bad_N.any():
            row, named = self._number(int(bad_N.arg_max() or 0)), self._named(role)
            message = f"Column {named} of {self.where} {fault} in row {row}; {remedy}."
            raise BadRowsError(message, bad_N, f"Column {named} {fault}")

    def parsed(self, parse: Callable[[EventTable], Parsed]) -> tuple[EventTable, Parsed]:
        """What ``parse`` makes of the table, and the table without the rows that it refuses.

        Where bad rows are errors, its error. One fault is left out after another: what a row lacks may be
        seen only where no other row hides it.
        """
        table = self
        while True:
            try:
                return table, parse(table)
            except BadRowsError as bad:
                if table.skipped is None:
                    raise
                table = table._without(bad.bad_N.fill_null(False), bad.reason)
                if not len(table):
                    raise DataError(f"No row of {self.where} can be read; the first: {bad}") from bad

    def _without(self, bad_N: pl.Series, reason: str) -> EventTable:
        number_N = np.arange(1, len(self) + 1) if self.row_N is None else self.row_N
        mask_N = bad_N.to_numpy()
        bad = self.frame.filter(bad_N).rename(dict(self.names), strict=False)
        rows = [
            SkippedRow(self.where, int(number), reason, content)
            for number, content in zip(number_N[mask_N], bad.iter_rows(named=True), strict=True)
        ]
        return replace(
            self,
            frame=self.frame.filter(~bad_N),
            row_N=number_N[~mask_N],
            skipped=(*(self.skipped or ()), *rows),
        )

    def _number(self, place: int) -> int:
        return place + 1 if self.row_N is None else int(self.row_N[place])

    def _named(self, role: str) -> str:
        """A column in a sentence, by its role, and by its name where that is another."""
        name = self.names.get(role, role)
        return repr(role) if name == role else f"{role!r} ({name})"

    def text(self, role: str) -> pl.Series:
        """A column as String, null where a value has no text; DataError where none has, as for lists."""
        import polars as pl

        dtype = self.frame[role].dtype
        if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object):
            raise DataError(f"Column {self._named(role)} of {self.where} holds {dtype}; give text.")
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
            if self.fold and role != "domain":
                column = folded(column)
            self.raise_on_bad_rows(column == "", role, "is empty", "fill or remove it")
            return _whole_or_text(column)
        if not column.dtype.is_numeric() or column.dtype.is_decimal():
            raise DataError(
                f"Column {self._named(role)} of {self.where} holds {column.dtype}; convert it to whole "
                "numbers or text."
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
            form = self.form or self.time_form()
            column = self._dates(column, form) if form.is_text else self._as_number("time")
        if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
            column = column.dt.epoch("us") / 1_000_000
        if not column.dtype.is_numeric():
            raise DataError(
                f"Column {self._named('time')} of {self.where} holds {column.dtype}; give seconds, dates or "
                "ISO text."
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
            column == MISSING_TIME, "time", "is missing (NaT)", "fill it or remove the row"
        )
        self._raise_on_other_units(column)
        whole = bool((column == column.floor()).all())
        if whole and _all_compact_dates(column.cast(pl.Int64)):
            raise DataError(
                f"Column {self._named('time')} of {self.where} holds {int(column[0])}, which looks like a "
                "date and not like seconds; write dates as 2020-12-31, or give seconds."
            )
        return column.cast(pl.Int64) if whole else column

    def _raise_on_other_units(self, column: pl.Series) -> None:
        """A BadRowsError for numbers that are no seconds, with the units that they seem to have."""
        bad_N = (column >= LATEST_SECOND) | (column <= -LATEST_SECOND)
        if bad_N.any():
            first = column.filter(bad_N)[0]
            units = mixed_units(column, first)
            mixed = f"the column seems to mix {' and '.join(units)}: give seconds in every row"
            remedy = mixed if len(units) > 1 else remedy_of(first)
            self.raise_on_bad_rows(bad_N, "time", "is no second of the next 3,000 years", remedy)

    def time_form(self) -> TimeForm:
        """How the times are written, of a column of text."""
        return TimeForm.of(self.frame["time"], self._as_number("time"))

    def _as_number(self, role: str) -> pl.Series:
        import polars as pl

        return self._decimal(role).cast(pl.Float64, strict=False)

    def _dates(self, column: pl.Series, form: TimeForm) -> pl.Series:
        """Dates and times of day out of text; null where it is neither."""
        parts = DatedText.of(column)
        differ_N = (parts.first != parts.second).fill_null(False)  # of 02/02/2020 both readings are one day
        if form.is_ambiguous and differ_N.any():
            place = int(differ_N.arg_max() or 0)
            year, first, second = parts.year[place], parts.first[place], parts.second[place]
            raise DataError(
                f"Column {self._named('time')} of {self.where} holds {column[place]!r}, which can be day and "
                f"month ({year}-{second:02}-{first:02}) or month and day ({year}-{first:02}-{second:02}); "
                "write dates as 2020-12-31, or give seconds."
            )
        with parsing_errors(f"column {self._named('time')} of {self.where}"):
            return parts.times(form.month_first, form.example)

    def numbers(self, role: str) -> pl.Series | None:
        """A rating or weight column as Float64, every value finite. None without the column."""
        import polars as pl

        if role not in self:
            return None
        column = self.frame[role]
        if not (column.dtype.is_numeric() or column.dtype == pl.String or column.dtype == pl.Null):
            raise DataError(f"Column {self._named(role)} of {self.where} holds {column.dtype}; give numbers.")
        number = (self._decimal(role) if column.dtype == pl.String else column).cast(pl.Float64, strict=False)
        bad_N = ~number.is_finite().fill_null(False)
        self.raise_on_bad_rows(bad_N, role, "is missing or no number", "fill or remove it")
        return number

    def _decimal(self, role: str) -> pl.Series:
        """A column of text with decimal points for decimal commas; DataError where a comma can be either."""
        column = self.frame[role]
        comma_N = column.str.contains(DECIMAL_COMMA).fill_null(False)
        if not comma_N.any():
            return column
        if column.filter(comma_N).str.contains(THOUSANDS).all():
            shown = column.filter(comma_N)[0].strip()
            raise DataError(
                f"Column {self._named(role)} of {self.where} holds {shown!r}, which can be "
                f"{shown.replace(',', '.')} or {shown.replace(',', '')}; write it with a point, "
                "or without a comma."
            )
        return column.str.replace(",", ".", literal=True).zip_with(comma_N, column)


def with_decimal_points(frame: pl.DataFrame, where: str, keep: Collection[str]) -> pl.DataFrame:
    """The frame with numbers in place of text columns, beside those to ``keep``, that hold nothing but
    numbers, some with a decimal comma. DataError where every comma of one could separate thousands."""
    import polars as pl

    texts = [column for column in frame if column.dtype == pl.String and column.name not in keep]
    columns = [
        EventTable(frame.select(column.name), where)
        ._decimal(column.name)
        .str.strip_chars()
        .cast(pl.Float64, strict=False)
        for column in texts
        if column.str.contains(DECIMAL_COMMA).any() and column.drop_nulls().str.contains(DECIMAL).all()
    ]
    return frame.with_columns(columns)


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
