"""Search spaces: the values that tuning may try for a setting, declared beside the settings of a method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from landbridge.core.errors import SettingsError

Option = str | float | bool


@dataclass(frozen=True)
class Real:
    """A number from ``low`` to ``high``; ``log``: every order of magnitude is equally likely."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self)

    @property
    def size(self) -> float:
        """How many values there are."""
        return math.inf

    def nearest(self, value: float) -> float:
        """``value`` if it lies in the range, else the nearer bound."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``, both included; ``log`` as in :class:`Real`."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.low, int) or not isinstance(self.high, int):
            raise SettingsError(
                f"The bounds of a whole number must be whole numbers, not {self.low} and {self.high}."
            )
        _check_bounds(self)

    @property
    def options(self) -> tuple[int, ...]:
        """All values."""
        return tuple(range(self.low, self.high + 1))

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.high - self.low + 1

    def nearest(self, value: float) -> float:
        """``value`` if it lies in the range, else the nearer bound."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of ``options``, which have no order."""

    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise SettingsError(
                f"A choice needs at least one option and no option twice, not {list(self.options)}."
            )

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.options)

    def nearest(self, value: Option) -> Option:
        """``value`` if it is an option, else the first option."""
        return value if value in self.options else self.options[0]


Range = Real | Whole | Choice
Space = Mapping[str, Range]


def _check_bounds(range_: Real | Whole) -> None:
    low, high = range_.low, range_.high
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"low must be below high and both finite, not {low} and {high}.")
    if range_.log and low <= 0:
        raise SettingsError(f"low must be above 0 for a logarithmic range, not {low}.")
