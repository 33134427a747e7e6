"""From what is asked for (a method, its budget for tuning, the guard, or ``auto``) to a fitted model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from landbridge.config import AUTO, ModelSettings, Spec
from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.models import registry
from landbridge.models.base import Fitted, Method
from landbridge.selection.auto import auto, tuned_method
from landbridge.selection.guard import guarded, single_domain_of, with_single_domain
from landbridge.training.options import FitOptions


def fit(
    model: ModelSettings, split: Split, options: FitOptions, work: Path | None = None, metric: str = "ndcg@10"
) -> Fitted:
    """Choose on ``split.valid`` what there is to choose, and fit on all that is known at test time.

    ``work``: a folder for searches, so that a killed call goes on where it was.
    """
    if model.name == AUTO:
        if model.settings:
            raise SettingsError(
                "auto chooses the settings itself: name a method for these settings, or give none."
            )
        return auto(split, options, model.trials, model.seconds, work, metric)
    method = _tuned(
        registry.method(model.name).from_settings(model.settings),
        "method",
        model,
        split,
        options,
        work,
        metric,
    )
    if not model.guard:
        return method.fit(split.test.history, options)
    twin = _tuned(single_domain_of(method), "twin", model, split, options, work, metric)
    return guarded(with_single_domain(method, twin), split, options, metric)


def _tuned(
    method: Method,
    role: str,
    model: ModelSettings,
    split: Split,
    options: FitOptions,
    work: Path | None,
    metric: str,
) -> Method:
    return tuned_method(method, split, options, model.trials, model.seconds, work and work / role, metric)


def fit_spec(spec: Spec, split: Split | MultiDomain, options: FitOptions) -> Fitted:
    """An experiment's model: with choices made here where it asks for any, else plainly."""
    model = spec.model
    if not (model.name == AUTO or model.guard or model.trials or model.seconds):
        return _plain(spec, split, options)
    if isinstance(split, MultiDomain):
        raise SettingsError(
            "auto, guard, trials and seconds choose on held-out data: give a split, or a method as it is."
        )
    if spec.fit.patience is not None:
        raise SettingsError("patience and tuning both choose the epochs: give one of them.")
    work = options.checkpoint and options.checkpoint / "search"
    return fit(model, split, options, work, spec.fit.validate_on)


def _plain(spec: Spec, split: Split | MultiDomain, options: FitOptions) -> Fitted:
    """The spec's method with its settings, the number of epochs chosen on validation where asked for."""
    method = registry.method(spec.model.name).from_settings(spec.model.settings)
    if isinstance(split, MultiDomain):
        return method.fit(split, options.within("fit"))
    if spec.fit.patience is not None and method.has_epochs:
        method = _with_best_epochs(method, split, spec, options.within("choose"))
    return method.fit(split.test.history, options.within("fit"))


def _with_best_epochs(method: Method, split: Split, spec: Spec, options: FitOptions) -> Method:
    """Choose the number of epochs on validation data alone; the model reported is then fitted anew."""
    from landbridge.evaluation.evaluate import Validator

    validate = Validator(split.valid, spec.fit.validate_on, options.threads)
    options = replace(options, validate=validate, patience=spec.fit.patience)
    return method.stopped(method.fit(split.train, options).log)
