"""Is our SASRec as good as good implementations are? MovieLens-1M, every user's last two ratings held out.

    python -m experiments.sasrec

One domain, all ratings, all unseen films ranked. As in the paper, the model learns from all but the
last two ratings of every user, is validated on the last but one, and gets that one, too, when it is tested on
the last. Run again after a kill, it continues with the epoch it was in.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.sequence_ours import ratings
from experiments.common import cell, chosen, grid, markdown, page, settings_text
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.evaluation.evaluate import Evaluation, Validator, evaluate
from landbridge.models.als.ials import IALS
from landbridge.models.popularity import Popularity
from landbridge.models.sequential.sasrec import SASRec
from landbridge.training.options import FitOptions

RUN = Path("runs/sasrec")
METRICS = ("hr@10", "ndcg@10")
AIM = {"hr@10": 0.25, "ndcg@10": 0.14}  # what good implementations reach at least, by this protocol
METHOD, SEED = SASRec(epochs=200, lr=2e-3, precision="bfloat16"), 15
EVERY, PATIENCE = 2, 4
ALS = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.03, 0.1, 0.3)}


class Clock:
    """The progress of a fit: the processor time of every epoch, a line each in a file that outlives it."""

    def __init__(self, kept: Path) -> None:
        self.kept, self.end = kept, time.process_time()

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Clock]:
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


def main() -> None:
    """Learn, or take up what has been learned, and write the page."""
    split = leave_latest_out(ratings("movielens-1m"))
    sasrec, reported = _learned(split)
    als, _ = chosen(grid(IALS(factors=128, sharing="joined"), **ALS), split, seed=SEED)
    others = {"ALS, 128 factors": als, "popularity": Popularity()}
    evaluated = {"SASRec": sasrec} | {
        name: cell(method, split.test, SEED, "test")[0] for name, method in others.items()
    }
    page(
        "sasrec",
        "SASRec on MovieLens-1M",
        [
            "All ratings as one domain; every user's last rating is the test, the one before validation; all "
            "unseen films are ranked; one seed, one thread. SASRec learns from what is before both and is "
            "given the validation rating when it is tested, as published implementations do it; the others "
            f"are fitted anew with it, settings from validation. SASRec: {settings_text(METHOD)}, in time: "
            f"{reported['epochs']} epochs, the best of validation after {reported['best']}, "
            f"{reported['epoch']:.1f} s of processor time per epoch (median), "
            f"{reported['epochs'] * reported['epoch'] / 60:.0f} minutes in all. {settings_text(als)}.",
            markdown([_row(name, each) for name, each in evaluated.items()] + [{"model": "the aim", **AIM}]),
        ],
    )


def _learned(split: Split) -> tuple[Evaluation, Mapping[str, Any]]:
    """Its test figures and what it took, kept."""
    kept, reported = RUN / "test.parquet", RUN / "fit.json"
    if not reported.exists():
        RUN.mkdir(parents=True, exist_ok=True)
        validate, clock = Validator(split.valid, threads=1), Clock(RUN / "seconds")
        options = FitOptions(
            seed=SEED,
            threads=1,
            validate=validate,
            patience=PATIENCE,
            validate_every=EVERY,
            work_dir=RUN / "checkpoint",
            progress=clock,
        )
        fitted = METHOD.fit(split.valid.history, options)
        evaluation = evaluate(replace(fitted, history=split.test.history), split.test)
        evaluation.write(kept)
        log = [dict(record) for record in fitted.log]
        best = asdict(METHOD.stopped(fitted.log))["epochs"]
        reported.write_text(json.dumps({"epochs": len(log), "best": best, "epoch": clock.epoch, "log": log}))
    return Evaluation.read(kept), json.loads(reported.read_text())


def _row(name: str, evaluation: Evaluation) -> dict[str, Any]:
    rows = {row["metric"]: row for row in evaluation.summary(METRICS).iter_rows(named=True)}
    return {"model": name} | {
        metric: f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]" for metric, row in rows.items()
    }


if __name__ == "__main__":
    main()
