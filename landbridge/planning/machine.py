"""The constants of a machine: seconds of one operation of each kind on one thread, what a process takes.

They are measured once by :func:`landbridge.planning.calibration.measured` and kept in the user's cache
folder, or in a file that is named; until then they are defaults, of machines like that on which
docs/results/estimate.md was measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from landbridge.core.errors import StoreError
from landbridge.core.files import make_folder, read_json, write_json
from landbridge.core.types import Record, Values
from landbridge.models.cost import Work

FILE = "machine.json"


@dataclass(frozen=True)
class Process:
    """What every process takes before it fits: seconds until then, with compiled code in its cache, and
    bytes; and what torch adds to both."""

    seconds: float = 1.0
    bytes: float = 1.8e8
    torch_seconds: float = 1.5
    torch_bytes: float = 2.2e8


@dataclass(frozen=True)
class Machine:
    """``unit``: seconds of one operation of each kind; ``measured``: whether on this machine."""

    unit: Work
    process: Process
    measured: bool = False


T = TypeVar("T", Work, Process)
UNIT = Work(
    product=1.5e-11,
    factorisation=3.4e-11,
    eigen=8.3e-10,
    tile=1.8e-11,
    triangle=5e-09,
    vector=7.7e-11,
    step=6.7e-11,
    find=9e-08,
    adam=4.7e-09,
    normal=9.3e-09,
    stream=6.2e-11,
    scatter=2.2e-09,
    lookup=1.1e-09,
    meet=5e-09,
    power=5.6e-09,
    offer=6.8e-09,
    list=2.5e-07,
    sort=7.1e-08,
    draw=1.7e-07,
    row=2.9e-08,
    network=1.8e-11,
    pointwise=6.7e-10,
    exponential=1.7e-09,
    call=3.3e-06,
)
DEFAULT = Machine(UNIT, Process())


def cache_file() -> Path:
    """Where the constants of this machine are kept."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("landbridge")) / FILE


def of_this_machine(file: Path | None = None) -> Machine:
    """The constants in ``file``; without one those that were measured here, else the defaults.

    StoreError for a file that is missing, none of ours, or of another version.
    """
    path = cache_file() if file is None else file
    if not path.exists():
        if file is None:
            return DEFAULT
        raise StoreError(f"There is no file {path}; landbridge plan --calibrate --machine {path} writes it.")
    try:
        return from_record(read_json(path))
    except (TypeError, KeyError, ValueError) as error:
        raise StoreError(
            f"{path} holds no constants of this version; run landbridge estimate --calibrate."
        ) from error


def keep(machine: Machine, file: Path | None = None) -> Path:
    """Write the constants of a machine to ``file``, by default to the user's cache folder; where."""
    path = cache_file() if file is None else file
    make_folder(path.parent)
    write_json(path, as_record(machine))
    return path


def as_record(machine: Machine) -> Record:
    """The constants as JSON has them."""
    return {"unit": asdict(machine.unit), "process": asdict(machine.process)}


def from_record(kept: Values) -> Machine:
    """The inverse of ``as_record``; TypeError, KeyError or ValueError for anything else."""
    return Machine(_made(Work, kept["unit"]), _made(Process, kept["process"]), True)


def _made(kind: type[T], values: Values) -> T:
    names = {entry.name for entry in fields(kind)}
    if set(values) != names or not all(
        isinstance(each, int | float) and each >= 0 for each in values.values()
    ):
        raise ValueError(values)
    return kind(**values)
