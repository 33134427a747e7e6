"""The settings that the default budget finds, beside those of 64 trials per candidate without a clock.

The candidates of ``auto`` are searched with 64 trials each; these settings and the ones that
``experiments.default`` found in the default budget are fitted on what is known at test time with three seeds
and tested once. Rows are kept in docs/results/search-budget.jsonl; a killed run continues.
"""

from __future__ import annotations

import sys
import time
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from experiments.common import CELLS, SEEDS, cell, kept, kept_rows, markdown, page, refitted, settings_text
from experiments.default import STUDIES, chosen
from experiments.default_page import METRIC
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.evaluation.evaluate import Evaluation
from landbridge.models.base import Method
from landbridge.models.registry import method as method_named
from landbridge.selection.auto import DEFAULT, Tuning, candidates
from landbridge.training.options import FitOptions

TRIALS = 64
DATA = ("food-kitchen", "sport-cloth")
PAGE = "search-budget"
FOLDER = CELLS / PAGE


def main(names: list[str]) -> None:
    """Search, compare and write the page; it holds the candidates that are finished."""
    for name in names or DATA:
        split = STUDIES[name]()
        quick, _ = chosen(name, split)
        for label, start in candidates(split.train).items():
            made = partial(_compared, name, label, start, quick[label], split)
            print(kept(PAGE, {"data": name, "candidate": label}, made), flush=True)
            _page(kept_rows(PAGE))


def _compared(name: str, label: str, start: Method, quick: Method, split: Split) -> dict[str, Any]:
    long, seconds = _searched(name, label, start, split)
    return {**_row(quick, long, seconds, split), "searched": str(date.today())}


def _searched(name: str, label: str, start: Method, split: Split) -> tuple[Method, float]:
    """The best of 64 trials, and the seconds they took; kept once found."""
    folder = FOLDER / name / label.replace(" ", "-")
    path = folder.with_suffix(".json")
    if not path.exists():
        began = time.perf_counter()
        best = Tuning(TRIALS, None, METRIC, folder).best(start, split, FitOptions(seed=SEEDS[0]))
        write_json(path, [best.name, best.flat(), time.perf_counter() - began])
    kind, settings, seconds = read_json(path)
    return method_named(kind).from_settings(settings), seconds


def _row(quick: Method, long: Method, seconds: float, split: Split) -> dict[str, Any]:
    valid = [_mean(cell(method, split.valid, SEEDS[0], "valid")[0]) for method in (quick, long)]
    test = [
        float(np.mean([_mean(evaluation) for evaluation, _ in refitted(method, split)]))
        for method in (quick, long)
    ]
    return {
        "validation, default": valid[0],
        f"validation, {TRIALS}": valid[1],
        "share": f"{100 * valid[0] / valid[1]:.1f} %",
        "test, default": test[0],
        f"test, {TRIALS}": test[1],
        "share on test": f"{100 * test[0] / test[1]:.1f} %",
        f"{TRIALS} trials, s": f"{seconds:.0f}",
        "settings of the long search": settings_text(long),
    }


def _mean(evaluation: Evaluation) -> float:
    return float(np.mean(list(evaluation.means(METRIC).values())))


def _page(rows: list[dict[str, Any]]) -> None:
    text = (
        f"{METRIC.upper()}, mean over domains. `default`: the settings found by `experiments.default`, "
        f"{DEFAULT.trials} trials within an equal share of {DEFAULT.seconds:g} s; `{TRIALS}`: so many trials "
        "without a clock, from the same starting points. Test: fitted on what is known at test time, mean of "
        f"{len(SEEDS)} seeds. Aim: 97 % on validation. A share above 100 % on test says that more search "
        "fits the noise of the validation data."
    )
    page(PAGE, "Settings found in the default budget", [text, markdown(rows)], "search_budget")


if __name__ == "__main__":
    main(sys.argv[1:])
