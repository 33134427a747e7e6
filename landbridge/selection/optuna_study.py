"""Resumable Optuna studies: a journal file that survives a kill, and reproducible suggestions.

The n-th suggestion depends only on the seed, on n and on the finished trials before it. A killed search
therefore ends with the same result: its unfinished trial is marked as failed and suggested again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import StoreError
from landbridge.core.files import locked, make_folder, read_json, write_json
from landbridge.core.rng import generator
from landbridge.core.types import Values

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL, IDENTITY = "trials.log", "identity.json"
RANDOM_TRIALS = 8  # random trials before TPE starts
WARM_TRIALS, WARM_EPOCHS = 4, 2  # before the pruner starts


@contextmanager
def open_study(folder: Path | None, identity: Values) -> Iterator[Study]:
    """Open the study of a search in ``folder`` or in memory. One process at a time; others wait.

    Raises StoreError if the folder holds a search of another ``identity`` or a damaged one.
    """
    if folder is None:
        yield _study(None)
        return
    make_folder(folder)
    # two processes would append to one journal
    with locked(folder):
        _check(folder, identity)
        study = _study(_storage(folder / JOURNAL))
        # trials of a killed process would count as running for ever
        _fail_running(study)
        yield study


def suggest(
    study: Study, seed: int, space: Mapping[str, BaseDistribution], starts: Sequence[Mapping[str, Any]]
) -> Trial:
    """The next trial; the first ones are ``starts``."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    number = len(finished_trials(study))
    chance = generator(seed, "tuning", str(number))
    random_trials = max(RANDOM_TRIALS - len(starts), 2)
    study.sampler = TPESampler(n_startup_trials=len(starts) + random_trials, seed=int(chance.integers(2**32)))
    if number < len(starts) and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(dict(starts[number]))
    return study.ask(dict(space))


def finished_trials(study: Study) -> list[FrozenTrial]:
    """The complete and pruned trials, in order."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _study(storage: BaseStorage | None) -> Study:
    import optuna

    pruner = optuna.pruners.MedianPruner(n_startup_trials=WARM_TRIALS, n_warmup_steps=WARM_EPOCHS)
    with _quiet():
        return optuna.create_study(
            storage=storage, pruner=pruner, study_name="search", direction="maximize", load_if_exists=True
        )


def _storage(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    _cut_torn_end(path)
    lock: Any = _HeldLock()
    try:
        return JournalStorage(JournalFileBackend(str(path), lock))
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}). Delete its folder and search again.") from error


class _HeldLock:
    """Does nothing: the folder is locked already, by a lock that does not outlive its process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_end(path: Path) -> None:
    """Drop an incomplete last line, which a power cut may leave: the next record would be appended to it."""
    if path.exists():
        whole = path.read_bytes().rpartition(b"\n")
        with path.open("r+b") as stream:
            stream.truncate(len(whole[0]) + len(whole[1]))


def _fail_running(study: Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _check(folder: Path, identity: Values) -> None:
    """Write the identity of a new search, or compare it with the one in the folder."""
    # through JSON, like the stored one: tuples become lists
    ours = json.loads(json.dumps(identity))
    if not (folder / IDENTITY).exists():
        if (folder / JOURNAL).exists():
            raise StoreError(f"{folder} holds trials without {IDENTITY}. Choose another folder or delete it.")
        write_json(folder / IDENTITY, ours)
        return
    try:
        theirs = read_json(folder / IDENTITY)
    except ValueError as error:
        raise StoreError(f"{folder / IDENTITY} is damaged ({error}); delete its folder.") from error
    if theirs != ours:
        differing = ", ".join(key for key in ours if theirs.get(key) != ours[key]) or "something"
        raise StoreError(
            f"{folder} holds another search ({differing} differ). Choose another folder or delete it."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna, which logs on standard error that it created a study."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
