"""``auto``: every method of the house tuned with equal budgets, and blended where that pays off.

Settings and weights are chosen on validation data only. Each family is searched within its share of the
budget; its best settings become a member of a guarded mixture (:mod:`landbridge.selection.guard`), so that
every domain and activity group is served by what does best there, be it one method or several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from landbridge.data.splitting.holdout import Split
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.models.mixture import POPULARITY, BlendModel
from landbridge.models.popularity import Popularity
from landbridge.selection.guard import guarded
from landbridge.selection.search import Budget, tune
from landbridge.training.options import FitOptions


def families() -> dict[str, Method]:
    """Label -> the candidate that a search starts from: what the methods themselves propose."""
    kinds = [registry.method(name) for name in reversed(registry.names())]  # the order breaks ties of weights
    return {label: method for kind in kinds for label, method in kind.in_auto().items()}


def auto(
    split: Split,
    options: FitOptions | None = None,
    trials: int = 0,
    seconds: float | None = None,
    work: Path | None = None,
    metric: str = "ndcg@10",
) -> BlendModel:
    """The guarded mixture of the tuned families, fitted on all that is known at test time.

    ``trials`` per family (0 with no ``seconds``: all as they are), begun within ``seconds`` for all
    together. ``work``: a folder in which searches are kept, so that a killed call goes on.
    """
    options, started = options or FitOptions(), families()
    share = None if seconds is None else seconds / len(started)
    tuned = {
        label: tuned_method(method, split, options, trials, share, work and work / label, metric)
        for label, method in started.items()
    }
    members: Mapping[str, Method] = {POPULARITY: Popularity(), **tuned}
    return guarded(members, split, options, metric)


def tuned_method(
    method: Method,
    split: Split,
    options: FitOptions,
    trials: int,
    seconds: float | None,
    work: Path | None,
    metric: str = "ndcg@10",
) -> Method:
    """The method with the best settings found within the budget; as it is where there is none."""
    if not trials and seconds is None:
        return method
    budget = Budget(trials or 1000, seconds)
    found = tune(method, split, budget, replace(options, checkpoint=None), metric, storage=work)
    return found.method
