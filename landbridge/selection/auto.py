"""``auto``: tune every candidate method with an equal budget and blend them where that pays off.

Settings and weights are chosen on validation data only. Each method proposes its candidates (``in_auto``),
and each candidate is searched within its share of the budget. Its best settings become a member of a guarded
mixture (:mod:`landbridge.selection.guard`), so that every domain and activity group gets the model or the
blend that ranks best there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from landbridge.core.deprecation import renamed_argument
from landbridge.data.splitting.holdout import Split
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.models.mixture import POPULARITY, BlendModel
from landbridge.models.popularity import Popularity
from landbridge.selection.guard import guarded
from landbridge.selection.search import Budget, tune
from landbridge.training.options import FitOptions

UNLIMITED = 1000  # trials where only the seconds are limited


@dataclass(frozen=True)
class Tuning:
    """How a method is tuned: at most ``trials`` within ``seconds`` (0 and None: no tuning), by the validation
    ``metric``. A killed search continues from the folder ``work_dir`` (None: it starts again)."""

    trials: int = 0
    seconds: float | None = None
    metric: str = "ndcg@10"
    work_dir: Path | None = None

    def within(self, name: str) -> Tuning:
        """The same with a subfolder of ``work_dir``, as every search needs a folder of its own."""
        return self if self.work_dir is None else replace(self, work_dir=self.work_dir / name)

    def best(self, method: Method, split: Split, options: FitOptions) -> Method:
        """The method with the best settings of a search, or unchanged where nothing is to be tuned."""
        if not self.trials and self.seconds is None:
            return method
        budget = Budget(self.trials or UNLIMITED, self.seconds)
        # The caller's work_dir belongs to its own fit: trials must not continue it.
        options = replace(options, work_dir=None)
        return tune(method, split, budget, options, self.metric, work_dir=self.work_dir).method


def families() -> dict[str, Method]:
    """Label -> the candidate that a search starts from: what the methods themselves propose."""
    kinds = [registry.method(name) for name in reversed(registry.names())]  # the order breaks ties of weights
    return {label: method for kind in kinds for label, method in kind.in_auto().items()}


@renamed_argument("work", "work_dir")
def auto(
    split: Split,
    options: FitOptions | None = None,
    trials: int = 0,
    seconds: float | None = None,
    work_dir: Path | None = None,
    metric: str = "ndcg@10",
) -> BlendModel:
    """Tune all candidate methods, blend them on validation data, and fit the blend on all training data.

    ``trials``: per candidate. ``seconds``: for all searches together. With neither, the candidates keep their
    default settings. ``work_dir``: a folder that keeps the searches, so that a killed call continues them.
    """
    options, candidates = options or FitOptions(), families()
    share = None if seconds is None else seconds / len(candidates)
    tuning = Tuning(trials, share, metric, work_dir)
    tuned = {label: tuning.within(label).best(method, split, options) for label, method in candidates.items()}
    members: Mapping[str, Method] = {POPULARITY: Popularity(), **tuned}
    return guarded(members, split, options, metric)
