"""Refit: fit a run's model again on its data and the events that the store has received since.

A method that supports a warm start begins with the previous model's embeddings and needs fewer epochs; every
other method is fitted from scratch. The gate compares it with the present model, and the new model is checked
before it replaces the old one in a single step, so a server that polls the folder goes from one good model to
the next.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from landbridge import store
from landbridge.core.errors import DivergenceError, SettingsError, StoreError
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.feature_table import with_features
from landbridge.models.base import Fitted, Queries
from landbridge.selection.gate import REFUSED, GateReport, gate
from landbridge.serving.events.merge import MergedData, merge_events, missing_events
from landbridge.serving.events.store import EventStore
from landbridge.training.options import FitOptions

LOOKED_AT = 256  # users whose scores are checked


@dataclass(frozen=True)
class Refit:
    """What a refit learned, and what the gate reported; None where it was left out."""

    growth: MergedData
    gate: GateReport | None

    @property
    def is_refused(self) -> bool:
        """Whether the gate refused the new model, so that nothing was saved."""
        return self.gate is not None and self.gate.decision == REFUSED


def refit(
    run: Path,
    events: EventStore,
    out: Path | None = None,
    epochs: int | None = None,
    options: FitOptions | None = None,
    *,
    gated: bool = True,
    item_features: object = None,
) -> Refit:
    """Fit the model of a run again and save it in ``out``, by default where it was: in its run folder, or as
    the new current version of its versions folder.

    ``epochs``: of the methods that go on from their last rows; the run's own setting stays as it is.
    ``gated``: a model that is worse than the present one on the latest events is not saved. Users to be
    forgotten leave the data; those whom no version knew before leave the store's list, too.
    ``item_features``: a table of item features that counts from now on, with its new items.
    """
    folder, options = out or run, options or FitOptions()
    with store.only_writer(folder):
        with store.new_run(folder) as target:
            last = store.load(run)
            _check_epochs(last, epochs)
            if item_features is not None and not last.method.uses_features:
                raise SettingsError(f"A {last.method.name} model ignores item features; leave them out.")
            heard = events.frame()
            gone = events.forgotten()  # after the events, so that no user slips in between
            data, growth = merge_events(last.history, heard, gone)
            if item_features is not None:
                data = with_features(data, item_features)

            def fitted_on(history: MultiDomain) -> Fitted:
                fitted = last.refit(history, options, epochs)
                check_serves(fitted)
                return fitted

            report = gate(last, data, fitted_on, options.seed, options.threads) if gated else None
            result = Refit(growth, report)
            if not result.is_refused:
                store.save(fitted_on(data), target, gate=None if report is None else asdict(report))
        if report is not None and result.is_refused:
            store.keep_refusal(folder, {"why": report.sentence, **asdict(report)})
        else:
            events.release(_forgotten_everywhere(gone, last, {run, folder}))
    return result


def check_serves(fitted: Fitted) -> None:
    """DivergenceError unless all that was learned, and the scores of some users, are finite numbers."""
    arrays, _ = fitted.state()
    learned = [array for array in arrays.values() if np.issubdtype(array.dtype, np.floating)]
    some = np.unique(np.linspace(0, fitted.history.n_users - 1, LOOKED_AT, dtype=np.int32))
    scores = (fitted.score(name, Queries.of_users(some)) for name in fitted.history.domain_names)
    if not all(np.isfinite(array).all() for array in (*learned, *scores)):
        raise DivergenceError("The refitted model's scores are no finite numbers; the run stays as it was.")


def _forgotten_everywhere(
    gone: Collection[str | int], last: Fitted, folders: Collection[Path]
) -> Collection[str | int]:
    """Those of the users to be forgotten that neither the last model nor any version knows: a rollback must
    not bring them back."""
    if not gone:
        return ()
    unknown = missing_events(last.history.users, gone)
    try:
        for version in chain.from_iterable(map(store.version_paths, folders)):
            unknown &= missing_events(store.known_users(version), gone)
    except StoreError:  # a version that cannot be read may know them
        return ()
    return unknown


def _check_epochs(last: Fitted, epochs: int | None) -> None:
    if epochs is None:
        return
    if epochs < 1:
        raise SettingsError(f"epochs must be 1 or more, not {epochs}.")
    if not last.warm_starts:
        raise SettingsError(
            f"A {last.method.name} model is fitted anew with the epochs of its settings; leave out --epochs."
        )
