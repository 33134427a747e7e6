"""What a search may try for a setting: declared beside each method's settings, read by the tuner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from landbridge.core.errors import SettingsError


@dataclass(frozen=True)
class Real:
    """Any number from ``low`` to ``high``; ``log``: every order of magnitude equally often."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self)

    def nearest(self, value: Any) -> Any:
        """``value`` itself where it lies in the range, else the nearer bound."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Whole:
    """Any whole number from ``low`` to ``high``, both included; ``log`` as in :class:`Real`."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.low, int) or not isinstance(self.high, int):
            raise SettingsError(f"The range {self.low} to {self.high} of a whole number needs whole bounds.")
        _check_bounds(self)

    def nearest(self, value: Any) -> Any:
        """``value`` itself where it lies in the range, else the nearer bound."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of ``options``, in no order."""

    options: tuple[str | float | bool, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise SettingsError(f"A choice needs distinct options, one or more; not {list(self.options)}.")

    def nearest(self, value: Any) -> Any:
        """``value`` itself where it is an option, else the first one."""
        return value if value in self.options else self.options[0]


Range = Real | Whole | Choice
Space = Mapping[str, Range]


def _check_bounds(asked: Real | Whole) -> None:
    where = f"The range {asked.low} to {asked.high}"
    if not (math.isfinite(asked.low) and math.isfinite(asked.high) and asked.low < asked.high):
        raise SettingsError(f"{where} is none: low must be below high, both finite.")
    if asked.log and asked.low <= 0:
        raise SettingsError(f"{where} cannot be logarithmic: low must be above 0.")
