"""What each part of a sequence model is worth: one change at a time, on Food–Kitchen in ABXI's protocol.

The last event of every user's mixed sequence is the test item and the one before the validation item; it is
ranked among 999 drawn items of its domain, drawn once, and among all. Each variant changes one part of the
base and is evaluated on validation; what is adopted is tested by :mod:`experiments.next_item`. A killed run
continues.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import CELLS, markdown, page, root
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_latest_out, with_candidates
from landbridge.datasets import catalog
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.base import Fitted, Method
from landbridge.models.sequential.sasrec import IN_AUTO, SASRec
from landbridge.training.options import FitOptions
from landbridge.version import __version__

METRICS = ("hr@10", "ndcg@10")
NEGATIVES, SEED = 999, 15
EVERY, PATIENCE = 4, 3  # epochs between validations, and how many of these without a gain end a fit
BASE = SASRec.from_settings(IN_AUTO)
PARTS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "compared within the domain": {"loss.within_domain": True},
    "full softmax": {"loss.kind": "softmax", "loss.sampled_negatives": 0},
    "256 uniform negatives": {"loss.kind": "uniform", "loss.sampled_negatives": 256},
    "gBCE, 256 uniform negatives": {"loss.kind": "gbce", "loss.sampled_negatives": 256},
    "label smoothing": {"loss.label_smoothing": 0.1},
    "cosine, temperature .1": {"loss.temperature": 0.1},
    "post-norm": {"encoder.norm": "post"},
    "ALiBi": {"encoder.positions": "alibi"},
    "time gaps": {"encoder.time_gaps": True},
    "128 factors": {"encoder.factors": 128},
    "length 100": {"encoder.max_length": 100},
    "domain embeddings": {"cross_domain.embeddings": True},
    "adapter per domain": {"cross_domain.rank": 16},
    "adapter per domain and a shared one": {"cross_domain.rank": 16, "cross_domain.shared_rank": 16},
    "own history beside": {"cross_domain.own_history": True},
    "attention penalty": {"cross_domain.cross_penalty": 1.0},
    # chosen by hand on the same validation data, where each of its changes was tried alone
    "adopted for drawn items": {
        "loss.within_domain": True,
        "loss.sampled_negatives": 256,
        "batch_size": 32,
    },
}


def main(names: list[str]) -> None:
    """The named parts, all by default; the page holds every one that is finished."""
    split = protocol()
    for label in names or PARTS:
        print(label, measured(BASE.with_settings(PARTS[label]), split), flush=True)
        _page(split)


def protocol() -> Split:
    """ABXI's: the latest event of each user, among 999 of its domain."""
    events = catalog.food_kitchen(root() / "amazon-food-kitchen")
    return with_candidates(leave_latest_out(events, seed=SEED), NEGATIVES, seed=0)


def everything_ranked(holdout: Holdout) -> Holdout:
    """The same pairs, ranked among all items."""
    targets = {name: replace(each, candidates_TC=None) for name, each in holdout.targets.items()}
    return replace(holdout, targets=targets)


def means(fitted: Fitted, holdout: Holdout) -> dict[str, dict[str, dict[str, float]]]:
    """Way of ranking -> metric -> domain -> mean."""
    ways = {"sampled": holdout, "full": everything_ranked(holdout)}
    found = {way: evaluate(fitted, pairs) for way, pairs in ways.items()}
    return {way: {metric: dict(each.means(metric)) for metric in METRICS} for way, each in found.items()}


@dataclass
class _Both:
    """Validates in both ways of ranking, and keeps what it finds."""

    holdout: Holdout
    found: list[dict[str, dict[str, dict[str, float]]]] = field(default_factory=list)

    def __call__(self, fitted: Fitted) -> float:
        self.found.append(means(fitted, self.holdout))
        return sum(overall(each) for each in self.found[-1].values())

    def best(self, way: str) -> tuple[int, dict[str, dict[str, float]]]:
        """The number of epochs that is best in one way of ranking, and its means."""
        place = int(np.argmax([overall(each[way]) for each in self.found]))
        return (place + 1) * EVERY, self.found[place][way]


def overall(metrics: Mapping[str, Mapping[str, float]]) -> float:
    """NDCG@10, mean over domains."""
    return float(np.mean(list(metrics["ndcg@10"].values())))


def _path(method: Method, split: Split) -> Path:
    key = json.dumps([method.name, method.flat(), split.valid.fingerprint, SEED, __version__], sort_keys=True)
    return CELLS / "sequence-parts" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def measured(method: Method, split: Split) -> dict[str, Any]:
    """Validation by epochs, in both ways of ranking; kept once measured."""
    path = _path(method, split)
    if not path.exists():
        both = _Both(split.valid)
        method.fit(split.train, FitOptions(SEED, validate=both, validate_every=EVERY, patience=PATIENCE))
        write_json(path, {way: both.best(way) for way in ("sampled", "full")})
    record: dict[str, Any] = read_json(path)
    return record


def _page(split: Split) -> None:
    rows = []
    for label, settings in PARTS.items():
        path = _path(BASE.with_settings(settings), split)
        if path.exists():
            rows.append({"part": label} | _row(read_json(path)))
    text = (
        f"Validation, seed {SEED}: HR@10 and NDCG@10 among {NEGATIVES} drawn items of the same domain, and "
        "NDCG@10 among all items of it, each after the number of epochs that is best for it. Each row "
        "but the last changes one part of the base, whose settings are those of `auto`'s SASRec and are not "
        "tuned further. With one seed, differences of .002 (drawn) and .001 (all) are noise."
    )
    page("sequence-parts", "The parts of a sequence model", [text, markdown(rows)], "sequence_parts")


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for way, metrics in (("sampled", METRICS), ("full", ("ndcg@10",))):
        epochs, found = record[way]
        for metric in metrics:
            row |= {f"{domain} {metric}, {way}": value for domain, value in found[metric].items()}
        row[f"epochs, {way}"] = epochs
    return row


if __name__ == "__main__":
    main(sys.argv[1:])
