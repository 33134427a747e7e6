"""How a column writes its times as text. What holds for a whole column is summed over blocks of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# the order of day and month differs by country
DAY_MONTH = r"^\s*(?<first>\d{1,2})[/.-](?<second>\d{1,2})[/.-](?<year>\d{4}|\d{2})(?<rest>[T\s].*)?$"


@dataclass(frozen=True)
class TimeForm:
    """``filled``, ``numbers``: how many cells have text, and a number. ``first_over_12``, ``second_over_12``:
    whether that part of any date such as 13/01/2020 can be no month. ``example``: the first date of a column
    that is read in blocks."""

    filled: int = 0
    numbers: int = 0
    first_over_12: bool = False
    second_over_12: bool = False
    example: str | None = None

    @classmethod
    def of(cls, text: pl.Series, number: pl.Series) -> TimeForm:
        """The form of some cells; ``number``: the same, null where they are no number."""
        parts = DatedText.of(text)
        return cls(
            len(text) - text.null_count(),
            len(number) - number.null_count(),
            bool((parts.first > 12).any()),
            bool((parts.second > 12).any()),
        )

    def __add__(self, other: TimeForm) -> TimeForm:
        return TimeForm(
            self.filled + other.filled,
            self.numbers + other.numbers,
            self.first_over_12 or other.first_over_12,
            self.second_over_12 or other.second_over_12,
            self.example or other.example,
        )

    @property
    def is_text(self) -> bool:
        """Whether the cells are dates; a few odd ones do not change what a column is."""
        return 2 * self.numbers < self.filled

    @property
    def month_first(self) -> bool:
        """Whether the month stands before the day."""
        return self.second_over_12 and not self.first_over_12

    @property
    def is_ambiguous(self) -> bool:
        """Whether nothing says which of two numbers is the month."""
        return not (self.first_over_12 or self.second_over_12)


@dataclass(frozen=True, eq=False)
class DatedText:
    """Cells of text, and where they are dates such as 13/01/2020 their parts, null elsewhere; all (N,)."""

    text: pl.Series
    first: pl.Series
    second: pl.Series
    year: pl.Series
    rest: pl.Series

    @classmethod
    def of(cls, text: pl.Series) -> DatedText:
        """The parts of each cell."""
        import polars as pl

        parts = text.str.extract_groups(DAY_MONTH).struct.unnest()
        first, second = (parts[name].cast(pl.Int64, strict=False) for name in ("first", "second"))
        return cls(text, first, second, parts["year"], parts["rest"])

    def times(self, month_first: bool, example: str | None = None) -> pl.Series:
        """The times, null where a cell is none. polars takes all to be written as the first one it reads,
        which is ``example`` where that is given."""
        import polars as pl

        iso = self._iso(month_first)
        if example is None:
            return iso.str.to_datetime(strict=False)
        before = DatedText.of(pl.Series([example], dtype=pl.String))._iso(month_first)
        return pl.concat([before.alias("time"), iso.alias("time")]).str.to_datetime(strict=False)[1:]

    def example(self) -> str | None:
        """The first cell that is a date, in either order of day and month."""
        import polars as pl

        try:
            is_date_N = self.times(True).is_not_null() | self.times(False).is_not_null()
        except pl.exceptions.ComputeError:  # polars reads no cell at all
            return None
        return str(self.text[int(is_date_N.arg_max() or 0)]) if is_date_N.any() else None

    def _iso(self, month_first: bool) -> pl.Series:
        import polars as pl

        day, month = (self.second, self.first) if month_first else (self.first, self.second)
        columns = {"year": self.year, "month": month, "day": day, "rest": self.rest}
        iso = pl.DataFrame({name: column.alias(name) for name, column in columns.items()}).select(
            pl.when(pl.col("year").str.len_chars() == 2).then("20" + pl.col("year")).otherwise("year")
            + "-" + pl.col("month").cast(pl.String).str.zfill(2)
            + "-" + pl.col("day").cast(pl.String).str.zfill(2) + pl.col("rest").fill_null("")
        ).to_series()  # fmt: skip
        return iso.zip_with(iso.is_not_null(), self.text)
