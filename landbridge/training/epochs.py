"""The epoch loop of every method: progress, validation, early stopping and bit-exact resume, without torch.

The training state is a mapping of named arrays, and a step is a function from one state to the next, which
may be in the memory of the first. A checkpoint holds the whole state, and a resumed fit gives the same model
as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from landbridge.core.errors import StoreError
from landbridge.core.files import atomic_write, make_folder, read_arrays, write_arrays
from landbridge.core.mapped import copied
from landbridge.core.types import Arrays, Record
from landbridge.training.options import FitOptions, FittedModel

State = Arrays

FILE = "checkpoint.safetensors"
BEST = "best|"  # prefix of the best epoch's state, kept with the current one


class Checkpoints(Protocol):
    """Keeps the last epoch of a fit."""

    def last(self) -> tuple[State, list[Record], State] | None:
        """State, log and the best epoch's state as they were last kept; None for a fit from the start."""

    def keep(self, state: State, log: list[Record], best: State) -> None:
        """Replace what was kept."""


@dataclass(frozen=True)
class FolderCheckpoints:
    """Checkpoints in a file of a folder, or none. ``identity``: as of :func:`run_epochs`."""

    folder: Path | None
    identity: Mapping[str, object]

    def last(self) -> tuple[State, list[Record], State] | None:
        """As in :class:`Checkpoints`; StoreError for those of another fit."""
        if self.folder is None:
            return None
        make_folder(self.folder)  # where that fails, it fails before the first epoch
        if not (self.folder / FILE).exists():
            return None
        arrays, about = read_arrays(self.folder / FILE)
        if not isinstance(about, dict) or about.get("identity") != dict(self.identity):
            raise StoreError(
                f"The checkpoint in {self.folder} belongs to another fit (settings, data or seed differ); "
                "choose another folder or delete this one."
            )
        state = {name: array for name, array in arrays.items() if not name.startswith(BEST)}
        best = {name.removeprefix(BEST): array for name, array in arrays.items() if name.startswith(BEST)}
        return state, list(about["log"]), best

    def keep(self, state: State, log: list[Record], best: State) -> None:
        """As in :class:`Checkpoints`; StoreError where the file cannot be written."""
        if self.folder is None:
            return
        arrays = {**state, **{BEST + name: array for name, array in best.items()}}
        with atomic_write(self.folder / FILE) as temporary:
            write_arrays(temporary, arrays, {"identity": dict(self.identity), "log": log})


def run_epochs(
    title: str,
    epochs: int,
    start: Callable[[], State],
    step: Callable[[State, int], tuple[State, Record]],
    fitted: Callable[[State], FittedModel],
    options: FitOptions,
    identity: Mapping[str, object],
    checkpoints: Checkpoints | None = None,
) -> tuple[State, tuple[Record, ...]]:
    """Run ``epochs`` steps; returns the last state (with patience: the best one) and one record per epoch.

    A step may write into the arrays of its state; the model of ``fitted``, which a validation may keep, has
    arrays of its own.

    ``identity``: what a checkpoint must match to be resumed: settings, data and seed. Raises StoreError
    for a checkpoint of another fit. ``checkpoints``: where they are kept, in ``options.work_dir`` by default.
    Of several ranks, the first one reads and writes them and validates.
    """
    ranks = options.ranks
    checkpoints = checkpoints or FolderCheckpoints(options.work_dir, identity)
    state, log, best = ranks.first(checkpoints.last) or (start(), [], {})
    with options.progress.task(title, epochs) as task:
        for epoch in range(len(log), epochs):
            if _out_of_patience(log, options.patience):
                break
            state, values = step(state, epoch)
            record: Record = {"epoch": epoch, **values}
            if options.validate is not None and options.should_validate(epoch, epochs):
                record["valid"] = ranks.first(partial(_validated, options.validate, fitted, state))
                # strictly greater: of equal epochs the earliest is kept
                if options.patience and record["valid"] > max(_valid(log), default=-np.inf):
                    best = {name: copied(array) for name, array in state.items()}
            log.append(record)
            task.step(epoch + 1, dict(_numbers(record)))
            # every epoch, with the best state so far: a killed fit loses one epoch at most
            ranks.first(partial(checkpoints.keep, state, log, best if options.patience else {}))
    return (best if options.patience and best else state), tuple(log)


def _validated(
    validate: Callable[[FittedModel], float], fitted: Callable[[State], FittedModel], state: State
) -> float:
    return float(validate(fitted(state)))


def _out_of_patience(log: list[Record], patience: int | None) -> bool:
    values = _valid(log)
    return patience is not None and bool(values) and len(values) - 1 - int(np.argmax(values)) >= patience


def _valid(log: list[Record]) -> list[float]:
    return [record["valid"] for record in log if "valid" in record]


def _numbers(record: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """The numbers of a record; those of a nested mapping are called ``name, key``."""
    for name, value in record.items():
        if isinstance(value, float):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}, {key}", number) for key, number in _numbers(value))
