"""The guard and auto on four data sets: does no domain lose to its single-domain baseline, is auto the best?

Every family is tuned with the same number of trials on validation data; single methods, the guarded CDIMF
and auto are then fitted on all that is known at test time and tested once per seed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from experiments.common import CELLS, SEEDS, cell, markdown, over_domains, page, root, sample, settings_text
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_last_out, with_candidates
from landbridge.datasets import catalog
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import Evaluation, over_seeds
from landbridge.evaluation.significance import Comparison, compare
from landbridge.models.base import Method
from landbridge.models.mixture import POPULARITY, SINGLE_DOMAIN, Mixture
from landbridge.models.popularity import Popularity
from landbridge.selection.auto import Tuning, candidates
from landbridge.selection.guard import decide, mixture_of
from landbridge.training.options import FitOptions
from landbridge.version import __version__

TRIALS, METRIC = 8, "ndcg@10"
GUARDED = (POPULARITY, SINGLE_DOMAIN, "cdimf")
DEFAULTS = "cdimf, defaults"
LARGE = ("movielens-1m", "sport-cloth")  # tuned on some of the validation pairs, weights chosen on all
SOME = 2500
DATA: Mapping[str, tuple[int, Callable[[], Split]]] = {
    "food-kitchen": (
        64,
        lambda: leave_last_out(catalog.food_kitchen(root() / "amazon-food-kitchen"), seed=15),
    ),
    "ciao": (64, lambda: leave_last_out(catalog.ciao(root() / "ciao"), seed=15)),
    "movielens-1m": (64, lambda: leave_last_out(catalog.movielens_genres(), seed=15)),
    "sport-cloth": (
        192,
        lambda: with_candidates(read_published(root() / "amazon-sport-cloth-warm"), 999, seed=0),
    ),
}


def main(names: list[str]) -> None:
    """The named data sets, all by default; the page holds every one that was ever finished."""
    for name in names or DATA:
        factors, read = DATA[name]
        _study(name, factors, read())


def _study(name: str, factors: int, split: Split) -> None:
    methods = _tuned(name, factors, split)
    evaluated = {label: _tested(dict.fromkeys(SEEDS, method), split) for label, method in methods.items()}
    evaluated[DEFAULTS] = _tested(
        dict.fromkeys(SEEDS, replace(candidates(split.train)["cdimf"], factors=factors)), split
    )
    served = {seed: _mixtures(methods, split, seed) for seed in SEEDS}
    for label in ("guarded cdimf", "auto"):
        evaluated[label] = _tested({seed: mixtures[label] for seed, mixtures in served.items()}, split)
    evaluated = {label: replace(evaluation, name=label) for label, evaluation in evaluated.items()}
    page(f"guard-{name}", f"The guard and auto on {name}", _parts(evaluated, methods), f"guard {name}")


def _tuned(name: str, factors: int, split: Split) -> dict[str, Method]:
    """Every family with its best settings on validation data."""
    options, tuned = FitOptions(seed=SEEDS[0]), {}
    split = replace(split, valid=sample(split.valid, SOME, SEEDS[0])) if name in LARGE else split
    for label, method in candidates(split.train).items():
        start = replace(method, factors=factors)
        tuning = Tuning(TRIALS, work_dir=CELLS / "tuning" / name / label)
        tuned[label] = tuning.best(start, split, options)
        print(name, tuned[label], flush=True)
    return {POPULARITY: Popularity(), **tuned}


def _mixtures(methods: Mapping[str, Method], split: Split, seed: int) -> dict[str, Mixture]:
    """What the guard serves of CDIMF, and auto, decided with one seed; kept once decided."""
    key = json.dumps([{k: asdict(m) for k, m in methods.items()}, split.valid.fingerprint, seed, __version__])
    path = CELLS / "decisions" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not path.exists():
        options = FitOptions(seed=seed)
        members = {label: method.fit(split.train, options) for label, method in methods.items()}
        few = {label: members[label] for label in GUARDED}
        decided = {"guarded cdimf": few, "auto": members}
        made = {
            name: mixture_of(methods, decide(some, split.valid, options)) for name, some in decided.items()
        }
        write_json(path, {name: asdict(mixture) for name, mixture in made.items()})
    return {name: Mixture(**settings) for name, settings in read_json(path).items()}


def _tested(methods: Mapping[int, Method], split: Split) -> Evaluation:
    return over_seeds({seed: cell(method, split.test, seed, "test")[0] for seed, method in methods.items()})


def _parts(evaluated: Mapping[str, Evaluation], methods: Mapping[str, Method]) -> list[str]:
    whole = {label: over_domains(evaluation) for label, evaluation in evaluated.items()}
    singles = [label for label in methods if label != POPULARITY]
    best = max(singles, key=lambda label: whole[label].means(METRIC)["all domains"])
    protocol = evaluated["auto"].protocol
    ranking = "full ranking" if protocol == "full" else f"sampled {protocol}"
    return [
        f"{METRIC.upper()}, {ranking}; a user's figure is the mean over {len(SEEDS)} model seeds, intervals "
        "(95 %) over users, p by Wilcoxon with Holm over each table. Every family had "
        f"{TRIALS} trials on validation data (at most {SOME:,} pairs per domain of {' and '.join(LARGE)}).",
        _means(evaluated, whole),
        "## Is a domain worse than its single-domain baseline?\n\n"
        + _reported([compare(evaluated["guarded cdimf"], evaluated[SINGLE_DOMAIN])]),
        f"## auto against the best single method ({best}) and plain CDIMF\n\n"
        + _reported(
            [compare(x["auto"], x[label]) for label in (best, DEFAULTS) for x in (whole, evaluated)],
        ),
        "## By activity, over all domains\n\n"
        + _reported([compare(whole["auto"], whole[label], by="activity") for label in methods]),
        "## With and without a duplicate item in the user's other domains\n\n"
        + _reported([compare(evaluated["auto"], evaluated[best], by="duplicate")]),
        "Settings found: "
        + "; ".join(f"{label} {settings_text(method)}" for label, method in methods.items())
        + ".",
    ]


def _means(evaluated: Mapping[str, Evaluation], whole: Mapping[str, Evaluation]) -> str:
    rows: list[dict[str, Any]] = []
    for label, evaluation in evaluated.items():
        row: dict[str, Any] = {"model": label}
        for metric in ("hr@10", METRIC):
            row[f"all {metric}"] = whole[label].means(metric)["all domains"]
            if len(evaluation.means(metric)) < 4:
                row |= {f"{name} {metric}": value for name, value in evaluation.means(metric).items()}
        rows.append(row)
    return markdown(rows)


def _reported(comparisons: list[Comparison]) -> str:
    return "```\n" + "\n\n".join(map(str, comparisons)) + "\n```"


if __name__ == "__main__":
    main(sys.argv[1:])
