"""What ``landbridge fit`` without options serves, beside each of its candidates tuned alone.

On every data set the candidates are tuned as ``auto`` does, in its default budget; the same settings are then
fitted on all that is known at test time with three seeds and tested once, each candidate alone and the blend
that ``auto`` makes of them, several seeds at once (``--jobs``), each on its share of the cores. A killed run
continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from experiments import across, default_page, rows
from experiments.common import CELLS, PAGES, SEEDS, root, selected_studies, settings_text
from experiments.default_page import AUTO, METRIC
from experiments.one_list import lists
from landbridge.core.executors import executor_of
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_last_out, leave_latest_out, with_candidates
from landbridge.datasets import catalog
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import evaluate
from landbridge.evaluation.protocols import Scorer
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.pairwise.lightgcn import LightGCN
from landbridge.models.registry import method as method_named
from landbridge.selection.auto import DEFAULT, Tuning, candidates, simple_members, tuned_candidates
from landbridge.selection.guard import decided
from landbridge.training.options import FitOptions

ONE_LIST = ("food-kitchen", "movielens-1m", "ciao")  # also tested in one list over all domains
FOLDER, CHOICES = CELLS / "default", PAGES / "choices"
RIVALS: Mapping[str, Method] = {  # tuned and tested beside the candidates, but no candidates of auto
    "lightgcn": LightGCN(),
    "lightgcn joined": LightGCN(sharing="joined"),
}
STUDIES: Mapping[str, Callable[[], Split]] = {
    "food-kitchen": lambda: leave_latest_out(catalog.food_kitchen(root() / "amazon-food-kitchen"), seed=15),
    "food-kitchen, last per domain": lambda: leave_last_out(
        catalog.food_kitchen(root() / "amazon-food-kitchen"), future="keep", seed=15
    ),
    "movielens-1m": lambda: leave_latest_out(catalog.movielens_genres(), seed=15),
    "movielens-1m, last per domain": lambda: leave_last_out(
        catalog.movielens_genres(), future="keep", seed=15
    ),
    "ciao": lambda: leave_latest_out(catalog.ciao(root() / "ciao"), seed=15),
    "ciao, last per domain": lambda: leave_last_out(catalog.ciao(root() / "ciao"), future="keep", seed=15),
    "sport-cloth, 1 + 999": lambda: with_candidates(
        read_published(root() / "amazon-sport-cloth-warm"), 999, seed=0
    ),
    "sport-cloth": lambda: read_published(root() / "amazon-sport-cloth-warm"),
    "game-video, cold": lambda: read_published(root() / "amazon-game-video-cold", shared_users=1736),
}


def main(names: list[str], jobs: int) -> None:
    """Run the named studies, all by default; the pages hold every one that was ever finished."""
    for name in names:
        _study(name, jobs)
        _publish(name)
        default_page.main()
        across.main()


def _folder(name: str) -> Path:
    return FOLDER / name.replace(",", "").replace(" ", "-").replace("+", "")


def _choice(name: str) -> Path:
    """The tuned candidates and the blend of a study."""
    return CHOICES / f"{_folder(name).name}.json"


def _study(name: str, jobs: int) -> None:
    split = STUDIES[name]()
    chosen(name, split)
    _rivals(name, split)
    left = [seed for seed in SEEDS if not _rows(name, seed).exists()]
    for seed in executor_of(jobs).map(partial(_tested, name), left):
        print(name, seed, flush=True)


def _rows(name: str, seed: int) -> Path:
    return _folder(name) / f"{seed}.parquet"


def _lists_rows(name: str, seed: int) -> Path:
    return _folder(name) / f"{seed}-lists.parquet"


def _rivals(name: str, split: Split) -> dict[str, Method]:
    """The tuned rivals; each has the trials of a candidate and an equal share of a candidates' budget."""
    path = _folder(name) / "rivals.json"
    if not path.exists():
        seconds = len(RIVALS) * DEFAULT.seconds / len(candidates(split.train))
        tuning = Tuning(DEFAULT.trials, seconds, METRIC, _folder(name) / "search")
        write_json(path, _stored(tuned_candidates(RIVALS, split, FitOptions(seed=SEEDS[0]), tuning)[0]))
    return _methods(read_json(path))


def _stored(methods: Mapping[str, Method]) -> dict[str, Any]:
    return {label: [method.name, method.flat()] for label, method in methods.items()}


def _methods(stored: Mapping[str, Any]) -> dict[str, Method]:
    return {label: method_named(kind).from_settings(own) for label, (kind, own) in stored.items()}


def chosen(name: str, split: Split) -> tuple[dict[str, Method], Mixture]:
    """The tuned candidates, and the blend of them, decided once for these pairs."""
    path = _choice(name)
    stored = read_json(path) if path.exists() else {}
    if stored.get("pairs") != split.valid.fingerprint:
        began, options = time.perf_counter(), FitOptions(seed=SEEDS[0])
        tuning = Tuning(DEFAULT.trials, DEFAULT.seconds, METRIC, _folder(name) / "search")
        members, fitted = tuned_candidates(candidates(split.train), split, options, tuning, jobs=2)
        searched = time.perf_counter()
        mixture, _ = decided(members, split, options, METRIC, simple_members(members), fitted)
        facts = {"search": searched - began, "decisions": time.perf_counter() - searched}
        stored = {
            "pairs": split.valid.fingerprint,
            "members": _stored(members),
            "mixture": asdict(mixture),
            "seconds": facts,
        }
        write_json(path, stored)
    return _methods(stored["members"]), Mixture.from_settings(stored["mixture"])


def _tested(name: str, seed: int) -> int:
    """Fit everything on what is known at test time; one row per model and held-out pair."""
    split = STUDIES[name]()
    members, mixture = chosen(name, split)
    history, seconds = split.test.history, {}
    fitted: dict[str, Fitted] = {}
    for label, method in {**members, **_rivals(name, split)}.items():
        began = time.perf_counter()
        fitted[label] = method.fit(history, FitOptions(seed=seed))
        seconds[label] = time.perf_counter() - began
    blend = BlendModel(history, mixture, (), {label: fitted[label] for label in mixture.members})
    models = {**fitted, AUTO: blend}
    if name in ONE_LIST:
        _evaluated(lists(blend, fitted), split.across().test, seed).write_parquet(_lists_rows(name, seed))
    write_json(_rows(name, seed).with_suffix(".json"), seconds)
    _evaluated(models, split.test, seed).write_parquet(_rows(name, seed))
    return seed


def _evaluated(scorers: Mapping[str, Scorer], holdout: Holdout, seed: int) -> pl.DataFrame:
    """The rows of every scorer's evaluation, with columns ``model`` and ``seed``."""
    return pl.concat(
        evaluate(scorer, holdout).rows.with_columns(model=pl.lit(label), seed=pl.lit(seed))
        for label, scorer in scorers.items()
    )


def _publish(name: str) -> None:
    """Keep the rows and what else the pages say beside the pages."""
    members, rivals = read_json(_choice(name)), read_json(_folder(name) / "rivals.json")
    methods = _methods(members["members"] | rivals)
    facts = {
        "name": name,
        "place": list(STUDIES).index(name),
        "settings": {label: settings_text(method) for label, method in methods.items()},
        "rivals": list(rivals),
        "trials": DEFAULT.trials,
        "seconds": members["seconds"],
        "fit seconds": read_json(_folder(name) / f"{SEEDS[0]}.json"),
    }
    rows.publish(default_page.NAME, _folder(name).name, _all_seeds(name, _rows), facts)
    if name in ONE_LIST:
        rows.publish(across.NAME, _folder(name).name, _all_seeds(name, _lists_rows), facts)


def _all_seeds(name: str, file: Callable[[str, int], Path]) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(file(name, seed)) for seed in SEEDS)


if __name__ == "__main__":
    main(*selected_studies(__doc__, STUDIES))
