"""Times are seconds since 1970. Numbers of another unit are recognised by their size."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import polars as pl

BEFORE_1990 = 631_152_000  # seconds, 1 January 1990
LATEST_SECOND = 100_000_000_000  # the year 5138, in milliseconds 1973: a larger number is no second
MISSING_TIME = int(np.iinfo(np.int64).min)  # NumPy's NaT as a number


class TimeUnit(NamedTuple):
    """``per_second``: how many of them a second has."""

    name: str
    per_second: int

    def is_recent(self, number: pl.Series) -> pl.Series:
        """Where a number of this unit is a time from 1990 on; no number is that in two units."""
        return (number >= BEFORE_1990 * self.per_second) & (number < LATEST_SECOND * self.per_second)


SECONDS = TimeUnit("seconds", 1)
FINER = (TimeUnit("milliseconds", 10**3), TimeUnit("microseconds", 10**6), TimeUnit("nanoseconds", 10**9))
UNITS = (SECONDS, *FINER)


def unit_of(number: float) -> TimeUnit | None:
    """The first unit in which a number is a time within 3,000 years of 1970; None where it is in none."""
    return next((unit for unit in UNITS if abs(number) < LATEST_SECOND * unit.per_second), None)


def remedy_of(number: float) -> str:
    """What to do with a number that is no second."""
    unit = unit_of(number)
    if unit in FINER and number != MISSING_TIME:
        return f"if these are {unit.name}, divide by {unit.per_second:,}"
    return "give seconds since 1970"


def mixed_units(column: pl.Series, number: float) -> list[str]:
    """The units of a column's times, ``number`` among them; one, or none, where all may be of one unit."""
    import polars as pl

    own, number_N = unit_of(number), column.cast(pl.Float64)
    return [unit.name for unit in UNITS if unit == own or unit.is_recent(number_N).any()]
