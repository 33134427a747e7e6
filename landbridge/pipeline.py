"""The pipeline of an experiment: read -> split -> fit -> save -> evaluate. No other file runs all of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge import store
from landbridge.config import AUTO, Spec
from landbridge.core.energy import Energy, Meter
from landbridge.core.errors import SettingsError, StoreError
from landbridge.core.files import is_temporary
from landbridge.core.parallel import Executor
from landbridge.core.progress import Progress, Silent
from landbridge.core.sizes import parse_bytes
from landbridge.data.counts import Counts
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.datasets.prepare import PreparedData, prepare, threads
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.evaluation.metrics import Metric
from landbridge.models import registry
from landbridge.models.base import Fitted
from landbridge.planning.estimate import beyond, free_memory, warnings
from landbridge.planning.machine import of_this_machine
from landbridge.reports.card import card
from landbridge.selection.fitting import check, fit_spec
from landbridge.training.options import FitOptions
from landbridge.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    import polars as pl

Fit = Callable[[Spec, Split | MultiDomain, FitOptions], Fitted]
KEPT_WHILE_FITTING = ("checkpoint.safetensors", "trials.log", "identity.json")
# of a party, :mod:`landbridge.federation.journal`
_JOURNAL = re.compile(r"session\.key|codes\.safetensors|round-\d+\.(safetensors|survivors\.json)")


@dataclass(frozen=True, eq=False)
class Run:
    """The result of an experiment. Without a split there is no holdout and no evaluation.

    ``fitted``: the model to serve. The evaluation is of a model that did not know the test events; where the
    experiment deploys, ``fitted`` is the same method fitted on all events.
    """

    fitted: Fitted
    holdout: Holdout | None
    evaluation: Evaluation | None


def run(
    spec: Spec,
    out: Path | None = None,
    *,
    resume: bool = False,
    versioned: bool = False,
    progress: Progress | None = None,
    fit: Fit = fit_spec,
    executor: Executor | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Run an experiment and save it in the run folder ``out`` (None: save nothing).

    In a versions folder it becomes the current version; ``versioned`` begins such a folder. The folder
    ``OUT.checkpoint`` beside it is the work_dir of the fit; with ``resume`` a killed run continues from it.
    ``fit``: trains the model, in this process or with others. ``executor`` and ``ranks``: as in
    :class:`FitOptions`; the first rank alone reports and saves, the others return the same result.
    Raises StoreError if another fit is writing the same run.
    """
    check(spec.model)
    _check_user_features(spec)
    _check_ranks(spec, ranks)
    for name in (*spec.evaluate.metrics, spec.fit.validate_on):
        Metric.parse(name)  # a wrong name is an error before anything is fitted
    progress = progress if progress is not None and ranks.leads else Silent()
    if out is None or not ranks.leads:
        return _run(spec, None, progress, fit, (executor, ranks))
    with store.only_writer(out) as work_dir:
        if not resume:
            # else a checkpoint of an earlier fit with other settings would be an error
            _empty(work_dir)
        with store.new_run(out, versioned=versioned) as folder:
            result = _run(spec, folder, progress, fit, (executor, ranks), work_dir)
        _empty(work_dir)
    return result


def _run(
    spec: Spec,
    out: Path | None,
    progress: Progress,
    fit: Fit,
    where: tuple[Executor | None, Ranks],
    work_dir: Path | None = None,
) -> Run:
    meter, (executor, ranks) = Meter(), where
    data = prepare(spec)
    for sentence in data.remarks:
        progress.note(sentence)
    for sentence in _expected(spec, data):
        progress.note(sentence)
    options = FitOptions(
        spec.fit.seed, threads(spec), progress=progress, work_dir=work_dir, executor=executor, ranks=ranks
    )
    fitted = fit(spec, data.events if data.split is None else data.split, options)
    if data.events.shares_items and not fitted.method.uses_products:
        progress.note(f"{fitted.method.name} with these settings ignores which items are shared.")
    if data.events.item_features is not None and not fitted.method.uses_features:
        progress.note(
            f"{fitted.method.name} with these settings ignores the features of items and lists no new ones."
        )
    if data.events.user_features is not None and not fitted.method.uses_user_features:
        progress.note(f"{fitted.method.name} with these settings ignores the features of users.")
    holdout = None if data.split is None else data.split.test
    if holdout is None:
        evaluation = None
    else:
        evaluation = evaluate(fitted, holdout, threads=threads(spec), progress=progress)
        if spec.fit.deploy:
            fitted = fitted.fit_on(data.events, options.within("deploy"))
    if out is not None:
        _save(out, spec, Run(fitted, holdout, evaluation), meter.read())
    return Run(fitted, holdout, evaluation)


def _check_user_features(spec: Spec) -> None:
    """SettingsError for a method that would ignore the features of users; auto has methods that do not."""
    model = spec.model
    if spec.data.user_features is None or model.name == AUTO or model.settings_of is not None:
        return
    if not registry.method(model.name).from_settings(model.settings).uses_user_features:
        raise SettingsError(
            f"{model.name} takes no user features with these settings; use ials or cdimf, or leave out "
            "user_features."
        )


def _check_ranks(spec: Spec, ranks: Ranks) -> None:
    """SettingsError for what several ranks would each do in full, or would end at different times."""
    model = spec.model
    if ranks.number == 1 or model.settings_of is not None:
        return
    if model.name == AUTO or model.trials or model.seconds:
        raise SettingsError(
            "torchrun divides the training of one network: name it with --model, and leave out the search."
        )
    if not registry.method(model.name).needs.startswith("extra neural"):
        raise SettingsError(
            f"{model.name} is no network, and torchrun divides the training of networks only: start the fit "
            "without torchrun."
        )


def _expected(spec: Spec, data: PreparedData) -> Sequence[str]:
    """What a fit of one method will take, where that is much; of a search its budget says it."""
    model = spec.model
    if model.name == AUTO or model.settings_of is not None or model.trials or model.seconds:
        return ()
    method = registry.method(model.name).from_settings(model.settings)
    counts, machine = Counts.of(data.events), of_this_machine()
    bound = () if spec.data.memory is None else beyond(method, counts, machine, parse_bytes(spec.data.memory))
    return *bound, *warnings(method, counts, machine, free_memory())


def evaluate_saved(path: Path, progress: Progress | None = None) -> Evaluation:
    """The evaluation of a saved run on the test data stored with it.

    A deployed model knows the test events, so what was measured before is returned, not computed again.
    """
    path = store.run_folder(path)
    if store.deployed(path):
        return Evaluation.read(store.attached(path, "evaluation"))
    fitted = store.load(path)
    holdout = store.load_holdout(path, fitted.history)
    evaluation = evaluate(fitted, holdout, progress=progress or Silent())
    # a run that may only be read, of another user or on a read-only disk, is evaluated all the same
    if os.access(path, os.W_OK):
        store.attach(path, "evaluation", "parquet", evaluation.write)
    return evaluation


def diversity_of_saved(path: Path) -> pl.DataFrame:
    """Coverage and diversity of a saved run's lists for its test users; StoreError for a deployed one.

    The lists of a deployed model are no longer those that the test part was evaluated on.
    """
    from landbridge.evaluation.diversity import diversity

    path = store.run_folder(path)
    fitted = store.load(path)
    return diversity(fitted, store.load_holdout(path, fitted.history))


def _save(out: Path, spec: Spec, run: Run, energy: Energy) -> None:
    store.save(run.fitted, out, deployed=spec.fit.deploy)
    store.attach(out, "experiment", "toml", lambda file: file.write_bytes(spec.toml()))
    text = card(run.fitted, run.evaluation, spec.evaluate.metrics, energy, deployed=spec.fit.deploy)
    store.attach(out, "card", "md", lambda file: file.write_text(text, encoding="utf-8"))
    if run.holdout is not None and run.evaluation is not None:
        store.save_holdout(out, run.holdout)
        store.attach(out, "evaluation", "parquet", run.evaluation.write)


def _empty(work_dir: Path) -> None:
    """Remove the files of a fit from its work_dir; refuse if the folder holds any other file."""
    # reversed: files before the folders that hold them
    inside = sorted(work_dir.rglob("*"), reverse=True)
    if foreign := [path for path in inside if path.is_file() and not _is_work_file(path)]:
        raise StoreError(
            f"{work_dir} holds files that no fit wrote ({foreign[0].name}). Move the folder away."
        )
    for path in inside:
        path.rmdir() if path.is_dir() else path.unlink()


def _is_work_file(path: Path) -> bool:
    return path.name in KEPT_WHILE_FITTING or is_temporary(path) or _JOURNAL.fullmatch(path.name) is not None
