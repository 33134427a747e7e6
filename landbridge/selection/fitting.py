"""From what is asked for (a method, its budget for tuning, the guard, or ``auto``) to a fitted model."""

from __future__ import annotations

from pathlib import Path

from landbridge import experiment
from landbridge.data.holdout import Split
from landbridge.data.multidomain import MultiDomain
from landbridge.errors import SettingsError
from landbridge.models import registry
from landbridge.models.base import Fitted, Method
from landbridge.selection.auto import auto, tuned_method
from landbridge.selection.guard import guarded, twin_of, with_twin
from landbridge.settings import AUTO, Model, Spec
from landbridge.training.options import FitOptions


def fit(
    model: Model, split: Split, options: FitOptions, work: Path | None = None, metric: str = "ndcg@10"
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
        return method.fit(split.test.known, options)
    twin = _tuned(twin_of(method), "twin", model, split, options, work, metric)
    return guarded(with_twin(method, twin), split, options, metric)


def _tuned(
    method: Method, role: str, model: Model, split: Split, options: FitOptions, work: Path | None, metric: str
) -> Method:
    return tuned_method(method, split, options, model.trials, model.seconds, work and work / role, metric)


def of_spec(spec: Spec, split: Split | MultiDomain, options: FitOptions) -> Fitted:
    """An experiment's model: with choices made here where it asks for any, else plainly."""
    model = spec.model
    if not (model.name == AUTO or model.guard or model.trials or model.seconds):
        return experiment.plain(spec, split, options)
    if isinstance(split, MultiDomain):
        raise SettingsError(
            "auto, guard, trials and seconds choose on held-out data: give a split, or a method as it is."
        )
    if spec.fit.patience is not None:
        raise SettingsError("patience and tuning both choose the epochs: give one of them.")
    work = options.checkpoint and options.checkpoint / "search"
    return fit(model, split, options, work, spec.fit.validate_on)
