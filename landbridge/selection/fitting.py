"""Fit the model that an experiment names: a method, tuned or not, with or without the guard, or ``auto``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from landbridge.config import AUTO, ModelSettings, Spec
from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import validation_only
from landbridge.models import registry
from landbridge.models.base import Fitted, Method
from landbridge.selection.auto import Tuning, auto
from landbridge.selection.guard import guarded, single_domain_of, with_single_domain
from landbridge.training.options import FitOptions


def check(model: ModelSettings) -> None:
    """SettingsError for an unknown method or a setting it cannot take; nothing is read or written."""
    if model.name != AUTO:
        registry.method(model.name).from_settings(model.settings)
    elif model.settings:
        raise SettingsError(
            "auto chooses the settings itself: name a method for these settings, or give none."
        )


def fit(
    model: ModelSettings,
    split: Split,
    options: FitOptions,
    work_dir: Path | None = None,
    metric: str = "ndcg@10",
    jobs: int = 1,
) -> Fitted:
    """Choose settings and weights on ``split.valid``, then fit on the whole history of ``split.test``.

    ``work_dir``: a folder for searches, so that a killed call continues them. ``jobs``: as in ``auto``.
    """
    check(model)
    if model.name == AUTO:
        return auto(split, options, model.trials, model.seconds, work_dir, metric, model.families, jobs)
    tuning = Tuning(model.trials or 0, model.seconds, metric, work_dir)
    given = registry.method(model.name).from_settings(model.settings)
    method = tuning.within("method").best(given, split, options)
    if not model.guard:
        return method.fit(split.test.history, options)
    baseline = tuning.within("single_domain").best(single_domain_of(method), split, options)
    return guarded(with_single_domain(method, baseline), split, options, metric)


def fit_spec(spec: Spec, split: Split | MultiDomain, options: FitOptions) -> Fitted:
    """Fit an experiment's model; open settings, epochs and weights are chosen on validation data."""
    model = spec.model
    if model.settings_of is not None:
        from landbridge import store

        data = split.test.history if isinstance(split, Split) else split
        return store.load(model.settings_of).fit_on(data, options.within("fit"))
    if not (model.name == AUTO or model.guard or model.trials or model.seconds):
        return _plain(spec, split, options)
    if isinstance(split, MultiDomain):
        split = validation_only(split, seed=spec.split.seed)
    if spec.fit.patience is not None:
        raise SettingsError("patience and tuning both choose the number of epochs. Give only one of them.")
    # a search has its own folder: its identity differs from that of the fit
    work_dir = options.work_dir and options.work_dir / "search"
    return fit(model, split, options, work_dir, spec.fit.validate_on, spec.fit.jobs)


def _plain(spec: Spec, split: Split | MultiDomain, options: FitOptions) -> Fitted:
    """Fit the method as it is; with ``patience`` the number of epochs is chosen on validation data."""
    method = registry.method(spec.model.name).from_settings(spec.model.settings)
    if isinstance(split, MultiDomain):
        return method.fit(split, options.within("fit"))
    if spec.fit.patience is not None and method.has_epochs:
        method = _with_best_epochs(method, split, spec, options.within("choose"))
    return method.fit(split.test.history, options.within("fit"))


def _with_best_epochs(method: Method, split: Split, spec: Spec, options: FitOptions) -> Method:
    """Choose the number of epochs on validation data; the reported model is then fitted from scratch."""
    from landbridge.evaluation.evaluate import Validator

    validate = Validator(split.valid.to_validate(options.seed), spec.fit.validate_on, options.threads)
    options = replace(options, validate=validate, patience=spec.fit.patience)
    return method.stopped(method.fit(split.train, options).log)
