"""Is our SASRec as good as good implementations are? MovieLens-1M, every user's last two ratings held out.

    python -m experiments.sasrec [variant … | blend | anew]

One domain, all ratings, all unseen films ranked. As in the paper, the model learns from all but the
last two ratings of every user, is validated on the last but one, and gets that one, too, when it is tested on
the last. Of the variants that have been learned, the one that is best on validation is tested, and blended
with the other models by weights chosen on validation, as `auto` does (``blend`` in place of variants); both
once more when it is fitted anew, for as many epochs, on all but the last rating, as the other models are
(``anew``). Run again after a kill, it continues with the epoch it was in.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.sequence_ours import ratings
from experiments.common import CELLS, cell, chosen, grid, kept_blend, markdown, page, settings_text
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.evaluation.evaluate import Evaluation, Validator, evaluate
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.linear.sequential_rules import SequentialRules
from landbridge.models.mixture import POPULARITY, BlendModel, Mixture
from landbridge.models.popularity import Popularity
from landbridge.models.sequential.sasrec import SASRec
from landbridge.selection.auto import simple_members
from landbridge.store.runs import load, save
from landbridge.training.options import FitOptions

RUN = CELLS / "sasrec"
METRICS = ("hr@10", "ndcg@10")
PUBLISHED = {"FuXi-α": "0.1813", "SASRec of RecTools": "0.1779"}  # by this protocol, of one model each
SEED = 15
WIDE = {"encoder.factors": 128, "encoder.max_length": 200, "encoder.dropout": 0.3, "batch_size": 32}
VARIANTS: Mapping[str, Method] = {
    name: SASRec.from_settings({"epochs": 200} | changed)
    for name, changed in {
        "64 factors, 50 events": {"lr": 2e-3},
        "128 factors, 200 events": WIDE,
        "128 factors, 200 events, dropout .2": WIDE | {"encoder.dropout": 0.2},
        "128 factors, 200 events, dropout .5": WIDE | {"encoder.dropout": 0.5},
    }.items()
}
EVERY, PATIENCE = 2, 4
ALS = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.03, 0.1, 0.3)}
RECENT = {"rank_exponent": (0.0, 0.5, 1.0, 1.5)}  # how much of a user's latest events counts more
EASES = RECENT | {"reg": (100.0, 300.0, 1000.0, 3000.0)}
KNNS = RECENT | {"shrinkage": (0.0, 50.0, 500.0), "similarity": ("none", "bm25"), "neighbours": (50, 200)}
RULES = {
    "window": (10, 30),
    "source_exponent": (0.7, 1.0),
    "rank_exponent": (1.0, 1.5),
    "neighbours": (100, 500),
}
BLEND, OWN = "all blended", "SASRec"


class Clock:
    """The progress of a fit: the processor time of every epoch, a line each in a file that outlives it."""

    def __init__(self, kept: Path) -> None:
        self.kept, self.end = kept, time.process_time()

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Clock]:
        """The fit begins, or goes on."""
        self.end = time.process_time()
        yield self

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        """An epoch is over."""
        before, self.end = self.end, time.process_time()
        with self.kept.open("a") as file:
            file.write(f"{self.end - before}\n")
        print(done, {key: round(float(value), 4) for key, value in facts.items()}, flush=True)

    @property
    def epoch(self) -> float:
        """Seconds, the median."""
        return statistics.median(map(float, self.kept.read_text().split()))


def main(names: list[str]) -> None:
    """Learn the named variants, all by default, or take up what has been learned, and write the page."""
    split = leave_latest_out(ratings("movielens-1m"))
    steps: dict[str, Callable[[], None]] = {
        **{name: partial(_learned, name, split) for name in VARIANTS},
        "blend": lambda: _blended(split, _learned_model(split), "blend"),
        "anew": lambda: _blended(split, _anew(split), "blend-anew"),
    }
    for name in names or steps:
        steps[name]()
        _publish(split)


def _publish(split: Split) -> None:
    """The page: of all variants that were learned the validation, of the best one the test."""
    reported = {name: read_json(_folder(name) / "fit.json") for name in VARIANTS if _is_learned(name)}
    best, others = _best(), _simple(split)
    folder = _folder(best)
    tests = {
        f"{BLEND}, anew": folder / "blend-anew.parquet",
        BLEND: folder / "blend.parquet",
        f"SASRec, {best}, anew": folder / "anew.parquet",
        f"SASRec, {best}": folder / "test.parquet",
    }
    evaluated = {name: Evaluation.read(file) for name, file in tests.items() if file.exists()} | {
        name: cell(method, split.test, SEED, "test")[0] for name, method in others.items()
    }
    settings = "; ".join(f"{name} {settings_text(method)}" for name, method in others.items())
    page(
        "sasrec",
        "SASRec on MovieLens-1M",
        [
            "All ratings as one domain; every user's last rating is the test, the one before validation; all "
            "unseen films are ranked; one seed, one thread. SASRec learns from what is before both and is "
            "given the validation rating when it is tested, as in its paper; the others "
            "are fitted anew with it, settings from validation, and so is SASRec where the table says "
            f"`anew`. The variant of SASRec that is best on validation is tested. `{BLEND}`: of that and the "
            "simple models, with weights chosen on validation by activity, as `auto` does; `anew` with "
            f"SASRec fitted anew. Settings: {settings}.",
            markdown([_row(name, each) for name, each in evaluated.items()] + _published()),
            "The variants. `s`: processor time of an epoch, the median.",
            markdown([_fit_row(name, each) for name, each in reported.items()]),
        ],
    )


def _published() -> list[dict[str, Any]]:
    """Rows of published figures."""
    return [{"model": f"{name}, published", "ndcg@10": figure} for name, figure in PUBLISHED.items()]


def _best() -> str:
    """The learned variant that is best on validation."""
    learned = [name for name in VARIANTS if _is_learned(name)]
    return max(learned, key=lambda name: read_json(_folder(name) / "fit.json")["validation"])


def _simple(split: Split) -> dict[str, Method]:
    """What needs no network, tuned on validation."""
    grids: dict[str, list[Any]] = {
        "sequential rules": grid(SequentialRules(), **RULES),
        "item-kNN": grid(ItemKNN(sharing="joined"), **KNNS),
        "EASE": grid(EASE(sharing="joined", form="auto"), **EASES),
        "ALS, 128 factors": grid(IALS(factors=128, sharing="joined"), **ALS),
    }
    tuned = {name: chosen(methods, split, seed=SEED)[0] for name, methods in grids.items()}
    return tuned | {POPULARITY: Popularity()}


def _learned_model(split: Split) -> Fitted:
    """The best variant as it was learned, with the validation ratings in its history."""
    return replace(load(_folder(_best()) / "model"), history=split.test.history)


def _anew(split: Split) -> Fitted:
    """The best variant fitted on all that is known at test time, for its epochs, and tested."""
    name, history = _best(), split.test.history
    folder = _folder(name)
    method = VARIANTS[name].with_settings({"epochs": read_json(folder / "fit.json")["best"]})
    clock = Clock(folder / "seconds-anew")
    options = FitOptions(seed=SEED, threads=1, work_dir=folder / "anew", progress=clock)
    fitted = method.fit(history, options)
    evaluate(fitted, split.test).write(folder / "anew.parquet")
    return fitted


def _blended(split: Split, sasrec: Fitted, stem: str) -> None:
    """Test the blend of a fitted SASRec and the simple models fitted on all that is known at test time."""
    name, history = _best(), split.test.history
    mixture = _mixture(name, split)
    fitted = {OWN: sasrec} | {
        each: method.fit(history, FitOptions(SEED)) for each, method in _simple(split).items()
    }
    members = {label: fitted[label] for label in mixture.members}
    blend = BlendModel(history, mixture, (), members)
    evaluate(blend, split.test).write(_folder(name) / f"{stem}.parquet")


def _mixture(name: str, split: Split) -> Mixture:
    """The blend of the variant and the simple models, decided on validation once."""
    simple = _simple(split)
    methods = {OWN: VARIANTS[name], **simple}

    def fitted() -> dict[str, Fitted]:
        others = {label: each.fit(split.train, FitOptions(SEED)) for label, each in simple.items()}
        return {OWN: load(_folder(name) / "model"), **others}

    path = _folder(name) / "mixture.json"
    return kept_blend(path, methods, fitted, split.valid, simple_members(methods), SEED)


def _folder(name: str) -> Path:
    return RUN / name.replace(",", "").replace(" ", "-")


def _is_learned(name: str) -> bool:
    return (_folder(name) / "fit.json").exists()


def _learned(name: str, split: Split) -> None:
    """Train a variant unless that is done, and keep its test figures and what it took."""
    if _is_learned(name):
        return
    folder, method = _folder(name), VARIANTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(folder / "seconds")
    options = FitOptions(
        seed=SEED,
        threads=1,
        validate=Validator(split.valid, threads=1),
        patience=PATIENCE,
        validate_every=EVERY,
        work_dir=folder / "checkpoint",
        progress=clock,
    )
    fitted = method.fit(split.valid.history, options)
    save(fitted, folder / "model")
    evaluate(replace(fitted, history=split.test.history), split.test).write(folder / "test.parquet")
    log = [dict(record) for record in fitted.log]
    validation = max(record["valid"] for record in log if "valid" in record)
    facts = {"epochs": len(log), "best": asdict(method.stopped(fitted.log))["epochs"]}
    write_json(folder / "fit.json", facts | {"validation": validation, "epoch": clock.epoch, "log": log})


def _fit_row(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "variant": name,
        "validation ndcg@10": f"{facts['validation']:.4f}",
        "epochs": facts["epochs"],
        "best after": facts["best"],
        "s": f"{facts['epoch']:.1f}",
        "minutes in all": f"{facts['epochs'] * facts['epoch'] / 60:.0f}",
        "settings": settings_text(VARIANTS[name]),
    }


def _row(name: str, evaluation: Evaluation) -> dict[str, Any]:
    rows = {row["metric"]: row for row in evaluation.summary(METRICS).iter_rows(named=True)}
    return {"model": name} | {
        metric: f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]" for metric, row in rows.items()
    }


if __name__ == "__main__":
    main(sys.argv[1:])
