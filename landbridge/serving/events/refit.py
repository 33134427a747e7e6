"""Refit: fit a run's model again on its data and the events that the store has received since.

A method that supports a warm start begins with the previous model's embeddings and needs fewer epochs; every
other method is fitted from scratch. The new model is checked before it replaces the old one in a single step,
so a server that polls the folder goes from one good model to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from landbridge import store
from landbridge.core.errors import DivergenceError, SettingsError, StoreError
from landbridge.core.files import exclusive_lock
from landbridge.models.base import Fitted, Queries
from landbridge.serving.events.merge import MergedData, merge_events, missing_events
from landbridge.serving.events.store import EventStore
from landbridge.training.options import FitOptions

LOOKED_AT = 256  # users whose scores are checked


def refit(
    run: Path,
    events: EventStore,
    out: Path | None = None,
    epochs: int | None = None,
    options: FitOptions | None = None,
) -> MergedData:
    """Fit the model of a run folder again and keep it in ``out``, or in its own folder.

    ``epochs``: of the methods that go on from their last rows; the run's own setting stays as it is. Users
    to be forgotten leave the data, and whom the run did not know before leaves the store's list, too.
    """
    folder = out or run
    with _alone(folder):
        last = store.load(run)
        _check_epochs(last, epochs)
        heard = events.frame()
        gone = events.forgotten()  # after the events, so that no user slips in between
        data, growth = merge_events(last.history, heard, gone)
        fitted = last.refit(data, options or FitOptions(), epochs)
        check_serves(fitted)
        store.save(fitted, folder)
        events.release(missing_events(last.history.users, gone))
    return growth


def check_serves(fitted: Fitted) -> None:
    """DivergenceError unless all that was learned, and the scores of some users, are finite numbers."""
    arrays, _ = fitted.state()
    learned = [array for array in arrays.values() if np.issubdtype(array.dtype, np.floating)]
    some = np.unique(np.linspace(0, fitted.history.n_users - 1, LOOKED_AT, dtype=np.int32))
    scores = (fitted.score(name, Queries.of_users(some)) for name in fitted.history.domain_names)
    if not all(np.isfinite(array).all() for array in (*learned, *scores)):
        raise DivergenceError("The refitted model's scores are no finite numbers; the run stays as it was.")


def _check_epochs(last: Fitted, epochs: int | None) -> None:
    if epochs is None:
        return
    if epochs < 1:
        raise SettingsError(f"epochs must be 1 or more, not {epochs}.")
    if not last.warm_starts:
        raise SettingsError(
            f"A {last.method.name} model is fitted anew with the epochs of its settings; leave out --epochs."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one fit or refit at a time writes a run folder."""
    claim = folder.with_name(f"{folder.name}.checkpoint")
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(claim))
        except BlockingIOError:
            raise StoreError(
                f"Another fit is writing {folder}; wait for it or give another folder."
            ) from None
        try:
            yield
        finally:
            with suppress(OSError):  # it stays where a killed fit left the way so far
                claim.rmdir()
