"""The Optuna side of a search: a study in a journal that outlives a kill, and questions that repeat.

The n-th question depends on the seed, on n and on the finished trials before it, so it does not matter how
often a search was killed in between: a trial that was under way is failed and asked again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import MissingExtraError, StoreError
from landbridge.core.files import locked, read_json, write_json
from landbridge.core.rng import generator

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL, IDENTITY = "trials.log", "identity.json"
RANDOM_TRIALS = 8  # before the sampler trusts what it has seen
WARM_TRIALS, WARM_EPOCHS = 4, 2  # before anything is pruned


@contextmanager
def open_study(folder: Path | None, identity: Mapping[str, Any]) -> Iterator[Study]:
    """The study of a search, in ``folder`` or in memory; one process at a time, the next one waits.

    StoreError where the folder holds a search of another ``identity``, or a damaged one.
    """
    _require_optuna()
    if folder is None:
        yield _study(None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _check(folder, identity)
        study = _study(_storage(folder / JOURNAL))
        _fail_running(study)
        yield study


def suggest(
    study: Study, seed: int, space: Mapping[str, BaseDistribution], start: Mapping[str, Any]
) -> Trial:
    """The next trial; the first one is ``start``."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    number = len(finished_trials(study))
    chance = generator(seed, "tuning", str(number))
    study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=int(chance.integers(2**32)))
    if number == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(dict(start))
    return study.ask(dict(space))


def finished_trials(study: Study) -> list[FrozenTrial]:
    """The trials that count, in order: complete or pruned."""
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
        raise StoreError(f"{path} is damaged ({error}); delete its folder and search anew.") from error


class _HeldLock:
    """Says yes: the whole folder is locked already, and by a lock that no kill leaves behind."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_end(path: Path) -> None:
    """A power cut may leave half a line, to which the next one would be glued."""
    if path.exists():
        whole = path.read_bytes().rpartition(b"\n")
        with path.open("r+b") as stream:
            stream.truncate(len(whole[0]) + len(whole[1]))


def _fail_running(study: Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _check(folder: Path, identity: Mapping[str, Any]) -> None:
    """Keep the identity of a new search; refuse to go on with another one's."""
    ours = json.loads(json.dumps(identity))
    if not (folder / IDENTITY).exists():
        if (folder / JOURNAL).exists():
            raise StoreError(f"{folder} holds trials without {IDENTITY}; give another folder or delete it.")
        write_json(folder / IDENTITY, ours)
        return
    try:
        theirs = read_json(folder / IDENTITY)
    except ValueError as error:
        raise StoreError(f"{folder / IDENTITY} is damaged ({error}); delete its folder.") from error
    if theirs != ours:
        differing = ", ".join(key for key in ours if theirs.get(key) != ours[key]) or "something"
        raise StoreError(
            f"The search in {folder} is another one ({differing} differ); give another folder or delete it."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says on standard error that it has made a study."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingExtraError("Tuning needs Optuna: pip install 'landbridge[tune]'") from None
