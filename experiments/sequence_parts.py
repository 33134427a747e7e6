"""What each part of a sequence model is worth: one change at a time, on Food–Kitchen in ABXI's protocol.

The last event of every user's mixed sequence is the test item and the one before the validation item; it is
ranked among 999 drawn items of its domain, drawn once, and among all. Each variant changes one part of the
base, with several seeds; epochs are chosen on validation. A killed run continues.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import CELLS, SEEDS, markdown, page, root
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out, with_candidates
from landbridge.datasets import catalog
from landbridge.evaluation.evaluate import Evaluation, Validator, evaluate
from landbridge.models.base import Method
from landbridge.models.sequential.sasrec import SASRec
from landbridge.training.options import FitOptions
from landbridge.version import __version__

METRICS = ("hr@10", "ndcg@10")
NEGATIVES = 999
EVERY, PATIENCE = 2, 4  # epochs between validations, and how many of these without a gain end a fit
BASE = SASRec.from_settings(
    {
        "encoder.dropout": 0.5,
        "loss.kind": "sampled",
        "loss.sampled_negatives": 512,
        "loss.within_domain": True,
        "epochs": 60,
    }
)
PARTS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "all domains compared": {"loss.within_domain": False},
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
}


def main(names: list[str]) -> None:
    """The named parts, all by default; the page holds every one that is finished."""
    split = protocol()
    for label in names or PARTS:
        for seed in SEEDS:
            print(label, seed, _measured(BASE.with_settings(PARTS[label]), split, seed), flush=True)
        _page(split)


def protocol() -> Split:
    """ABXI's: the latest event of each user, among 999 of its domain."""
    events = catalog.food_kitchen(root() / "amazon-food-kitchen")
    return with_candidates(leave_latest_out(events, seed=15), NEGATIVES, seed=0)


def everything_ranked(split: Split) -> Split:
    """The same pairs, ranked among all items."""
    halves = (
        replace(part, targets={name: replace(t, candidates_TC=None) for name, t in part.targets.items()})
        for part in (split.valid, split.test)
    )
    return Split(*halves)


def _path(method: Method, split: Split, seed: int) -> Path:
    key = json.dumps([method.name, method.flat(), split.test.fingerprint, seed, __version__], sort_keys=True)
    return CELLS / "sequence-parts" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def _measured(method: Method, split: Split, seed: int) -> dict[str, Any]:
    """Epochs chosen on validation, then a fit on all that is known at test time; kept once measured."""
    path = _path(method, split, seed)
    if not path.exists():
        validate = Validator(split.valid, "ndcg@10")
        options = FitOptions(seed=seed, validate=validate, validate_every=EVERY, patience=PATIENCE)
        log = method.fit(split.train, options).log
        stopped = method.stopped([record for record in log if "valid" in record])
        fitted = stopped.fit(split.test.history, FitOptions(seed=seed))
        found = {
            "epochs": stopped.flat()["epochs"],
            "valid": max(record["valid"] for record in log if "valid" in record),
            "sampled": _means(evaluate(fitted, split.test)),
            "full": _means(evaluate(fitted, everything_ranked(split).test)),
        }
        write_json(path, found)
    record: dict[str, Any] = read_json(path)
    return record


def _means(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    return {metric: dict(evaluation.means(metric)) for metric in METRICS}


def _page(split: Split) -> None:
    rows = []
    for label, settings in PARTS.items():
        paths = [_path(BASE.with_settings(settings), split, seed) for seed in SEEDS]
        if all(path.exists() for path in paths):
            rows.append({"part": label} | _row([read_json(path) for path in paths]))
    text = (
        f"Test, mean (standard deviation over {len(SEEDS)} seeds): HR@10 and NDCG@10 among {NEGATIVES} drawn "
        "items of the same domain, and NDCG@10 among all items of it. Each row changes one part of the base, "
        "whose settings are not tuned further; epochs by validation. Published for ABXI: HR@10/NDCG@10 "
        ".324/.197 in Food, .244/.143 in Kitchen (Bian et al., WWW 2025, five seeds)."
    )
    page("sequence-parts", "The parts of a sequence model", [text, markdown(rows)], "sequence_parts")


def _row(records: list[dict[str, Any]]) -> dict[str, Any]:
    row = {"epochs": "/".join(str(record["epochs"]) for record in records)}
    for kind, metrics in (("sampled", METRICS), ("full", ("ndcg@10",))):
        for metric in metrics:
            for domain in records[0][kind][metric]:
                values = [record[kind][metric][domain] for record in records]
                row[f"{domain} {metric}, {kind}"] = f"{np.mean(values):.4f} ({np.std(values, ddof=1):.4f})"
    return row


if __name__ == "__main__":
    main(sys.argv[1:])
