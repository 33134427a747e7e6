"""The epoch loop of every method: progress, validation, early stopping and bit-exact resume, without torch.

The training state is a mapping of named arrays, and a step is a function from one state to the next. A
checkpoint therefore holds the whole state, and a resumed fit gives the same model as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from landbridge.core.errors import StoreError
from landbridge.core.files import atomic_write, make_folder, read_arrays, write_arrays
from landbridge.core.types import Arrays, Record
from landbridge.training.options import FitOptions, FittedModel

State = Arrays

FILE = "checkpoint.safetensors"
BEST = "best|"  # prefix of the best epoch's state, kept with the current one


def run_epochs(
    title: str,
    epochs: int,
    start: Callable[[], State],
    step: Callable[[State, int], tuple[State, Record]],
    fitted: Callable[[State], FittedModel],
    options: FitOptions,
    identity: Mapping[str, object],
) -> tuple[State, tuple[Record, ...]]:
    """Run ``epochs`` steps; returns the last state (with patience: the best one) and one record per epoch.

    ``identity``: what a checkpoint must match to be resumed: settings, data and seed. Raises StoreError
    for a checkpoint of another fit.
    """
    state, log, best = _resume(options.work_dir, identity) or (start(), [], {})
    with options.progress.task(title, epochs) as task:
        for epoch in range(len(log), epochs):
            if _out_of_patience(log, options.patience):
                break
            state, values = step(state, epoch)
            record: Record = {"epoch": epoch, **values}
            if options.validate is not None and options.should_validate(epoch, epochs):
                record["valid"] = float(options.validate(fitted(state)))
                # strictly greater: of equal epochs the earliest is kept
                if record["valid"] > max(_valid(log), default=-np.inf):
                    best = state
            log.append(record)
            task.step(epoch + 1, dict(_numbers(record)))
            # every epoch, with the best state so far: a killed fit loses one epoch at most
            _save(options.work_dir, identity, state, log, best if options.patience else {})
    return (best if options.patience and best else state), tuple(log)


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


def _save(
    folder: Path | None, identity: Mapping[str, object], state: State, log: list[Record], best: State
) -> None:
    if folder is None:
        return
    arrays = {**state, **{BEST + name: array for name, array in best.items()}}
    with atomic_write(folder / FILE) as temporary:
        write_arrays(temporary, arrays, {"identity": dict(identity), "log": log})


def _resume(folder: Path | None, identity: Mapping[str, object]) -> tuple[State, list[Record], State] | None:
    if folder is None:
        return None
    make_folder(folder)  # where that fails, it fails before the first epoch
    if not (folder / FILE).exists():
        return None
    arrays, about = read_arrays(folder / FILE)
    if not isinstance(about, dict) or about.get("identity") != dict(identity):
        raise StoreError(
            f"The checkpoint in {folder} belongs to another fit (settings, data or seed differ); "
            "choose another folder or delete this one."
        )
    state = {name: array for name, array in arrays.items() if not name.startswith(BEST)}
    best = {name.removeprefix(BEST): array for name, array in arrays.items() if name.startswith(BEST)}
    return state, list(about["log"]), best
