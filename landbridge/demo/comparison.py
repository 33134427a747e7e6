"""What both demos measure: ten genres of MovieLens as domains, every quick method tuned with an equal budget,
and the blend of them, all on the last film of each user.

The split knows nothing of the future: one event per user is held out, the latest of all domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from landbridge.core.progress import Terminal
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.evaluation.evaluate import Evaluation, best_by_domain, evaluate
from landbridge.models.mixture import BlendModel
from landbridge.selection.auto import Tuning, candidates, simple_members, tuned_candidates
from landbridge.selection.guard import guarded
from landbridge.training.options import FitOptions

SEED = 7
# without torch, which the demo does not install
FAMILIES = ("popularity", "itemknn", "ease", "ials", "cdimf")
BUDGET = Tuning(trials=6, seconds=32.0)
# what the search of experiments/default.py arrives at on this data; the demo's own search starts from it
STARTS = {label: {"alpha0": 0.1, "reg": 20.0} for label in ("alone", "joined", "cdimf")}
AUTO = "auto"


@dataclass(frozen=True, eq=False)
class Comparison:
    """``blend``: fitted on the history of the split's test part. ``evaluations``: label -> that of each tuned
    model, and of the blend as ``AUTO``. ``single_domain``: in every domain that of the best model which knows
    this domain alone; it is chosen on the test part itself, so that a gain over it is rather too small."""

    split: Split
    blend: BlendModel
    evaluations: Mapping[str, Evaluation]
    single_domain: Evaluation


def options() -> FitOptions:
    """How everything is fitted."""
    return FitOptions(seed=SEED, progress=Terminal())


def compared(data: MultiDomain) -> Comparison:
    """Split, tune, blend, fit and evaluate."""
    split = leave_latest_out(data, seed=SEED)
    proposed = candidates(split.train, FAMILIES)
    starts = {label: method.with_settings(STARTS.get(label, {})) for label, method in proposed.items()}
    tuned, kept = tuned_candidates(starts, split, options(), BUDGET)
    simple = simple_members(tuned)
    blend = guarded(tuned, split, options(), simple=simple, fitted=kept)
    left_out = {label: method for label, method in tuned.items() if label not in blend.members}
    others = {label: method.fit(split.test.history, options()) for label, method in left_out.items()}
    evaluations = {
        label: replace(evaluate(model, split.test), name=label)
        for label, model in {**blend.members, **others, AUTO: blend}.items()
    }
    return Comparison(split, blend, evaluations, best_by_domain([evaluations[label] for label in simple]))
