"""The energy of a piece of work: measured by the processor's counters where they can be read, else estimated.

    E = P t    (1)

t: seconds of processor of this process and its ended children; P: :data:`WATTS`, for one busy core with its
share of memory and losses. The counters are RAPL's (Running Average Power Limit, Linux): joules of whole
packages, so that other work on the machine is included. Graphics processors are in neither figure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

WATTS = 10.0  # of a busy core: servers of 100 to 300 W with 16 to 64 cores draw 5 to 15
JOULES_PER_KWH = 3.6e6
COUNTERS = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")  # AMD's processors have the same name there


@dataclass(frozen=True)
class Energy:
    """``seconds`` of processor; ``joules`` of the packages meanwhile, None where the system does not say."""

    seconds: float
    joules: float | None

    @property
    def kwh(self) -> float:
        """Kilowatt hours, measured or by Eq. (1)."""
        return (self.seconds * WATTS if self.joules is None else self.joules) / JOULES_PER_KWH  # Eq. (1)

    def sentence(self) -> str:
        """The figure, and how it came about."""
        how = (
            f"estimated as {self.seconds:,.1f} s of processor at {WATTS:g} W a core"
            if self.joules is None
            else f"measured by RAPL: whole processors, other work on the machine included; "
            f"{self.seconds:,.1f} s of processor were this process's"
        )
        return f"{1000 * self.kwh:.3g} Wh, {how}. Graphics processors are not included."


@dataclass(frozen=True)
class Meter:
    """Measures from when it is made."""

    started: float = field(default_factory=lambda: _processor_seconds())
    counted: Mapping[Path, int] = field(default_factory=lambda: _counters())

    def read(self) -> Energy:
        """The energy since then."""
        now = _counters()
        used = [_difference(path, before, now[path]) for path, before in self.counted.items() if path in now]
        return Energy(_processor_seconds() - self.started, sum(used) / 1e6 if used else None)


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _counters() -> dict[Path, int]:
    """Microjoules of each package; only the system's administrator may read them on most machines."""
    packages = sorted(COUNTERS.glob("*")) if COUNTERS.is_dir() else []
    read = {path: _number(path / "energy_uj") for path in packages if PACKAGE.fullmatch(path.name)}
    return {path: value for path, value in read.items() if value is not None}


def _difference(path: Path, before: int, now: int) -> int:
    """A counter begins anew after its largest value."""
    return now - before if now >= before else now - before + (_number(path / "max_energy_range_uj") or before)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
