"""Does balancing pay against a control that is tuned as well? Every side has the same number of trials.

    python -m experiments.adc_tuned [ciao food-kitchen] [--trials 24] [--seeds 10]

A side is a way of weighing the domains in ADC. Learning rate, epochs and penalty are searched for each of
them on the validation rows, together with what is its own: α and η of GradNorm, a weight of the loss or a
learning rate per domain. The best of each is fitted with all seeds and evaluated on the test rows. A killed
run continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.adc import SPLIT, STUDIES
from experiments.common import CELLS, cell, markdown, page, settings_text
from landbridge.core.progress import Terminal
from landbridge.data.splitting.holdout import Split
from landbridge.evaluation.evaluate import Evaluation, evaluate, over_seeds
from landbridge.evaluation.significance import compare, compare_over_domains, holm
from landbridge.models.base import Method
from landbridge.models.popularity import Popularity
from landbridge.models.search_space import Real, Space, Whole
from landbridge.models.towers.adc import ADC, PUBLISHED, Balance
from landbridge.selection.search import Budget, tune
from landbridge.studies.ablation.plan import source_of
from landbridge.studies.benchmark import jobs
from landbridge.training.options import FitOptions

DATA = ("ciao", "food-kitchen")
METRIC, TRIALS, SEEDS, TUNING_SEED = "ndcg@10", 24, 10, 15
PATIENCE = 2  # of the six validations of a trial
EQUAL, POPULARITY = "equal weights", "popularity"
COMMON: Space = {
    "lr": Real(3e-4, 3e-3, log=True),
    "epochs": Whole(6, 60, log=True),
    "reg": Real(1e-6, 1e-1, log=True),
}
GRADNORM: Space = {"balance.alpha": Real(0.0, 3.0), "balance.lr": Real(0.005, 0.5, log=True)}
TENFOLD = Real(0.1, 10.0, log=True)
TEXT = (
    "NDCG@10 over the whole catalogue, mean over the domains, test rows. Each side of the table had "
    "{trials} trials of the same search on the validation rows, over the learning rate, the epochs, the "
    "penalty, and what is its own: α and η of GradNorm, a weight or a learning rate per domain. Differences "
    "are against {equal}, tuned as well; intervals (95 %) and p by a bootstrap over users, with all their "
    "domains, and seeds; Holm over the data set."
)


@dataclass(frozen=True)
class Side:
    """A way of weighing the domains, and what is searched beside ``COMMON``."""

    balance: Balance
    space: Space


def main() -> None:
    """Search, fit and write the page of the named data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=DATA, help="data sets, all by default")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each side")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the first so many seeds")
    given = parser.parse_args()
    parts = [TEXT.format(trials=given.trials, equal=EQUAL)]
    for name in given.names:
        parts += [f"## {name}, {given.seeds} seeds", *_study(name, given.trials, range(1, given.seeds + 1))]
    page("adc-tuned", "ADC against controls with the same budget", parts, "adc_tuned")


def sides(names: Sequence[str]) -> dict[str, Side]:
    """Label -> side, for these domains."""
    ones = dict.fromkeys(names, 1.0)
    return {
        EQUAL: Side(Balance("fixed", weights=ones), {}),
        "weights per domain": Side(
            Balance("fixed", weights=ones), {f"balance.weights.{name}": TENFOLD for name in names}
        ),
        "rates per domain": Side(
            Balance("rates", rates=ones), {f"balance.rates.{name}": TENFOLD for name in names}
        ),
        "GradNorm as printed": Side(PUBLISHED, GRADNORM),
        "GradNorm, our reading": Side(Balance(), GRADNORM),
    }


def _study(name: str, trials: int, seeds: Sequence[int]) -> list[str]:
    source = {"name": name, "split": SPLIT, "candidates": [0], **STUDIES[name].data}
    split = jobs.prepared_split(source_of(source, ADC.name))
    tuned = {
        label: _tuned(name, label, side, split, trials)
        for label, side in sides(split.valid.history.domain_names).items()
    }
    evaluations = {label: _of_seeds(method, split, seeds) for label, method in tuned.items()}
    popularity = evaluate(Popularity().fit(split.test.history), split.test)
    settings = "\n".join(f"- {label}: {settings_text(method)}" for label, method in tuned.items())
    return [
        markdown(_rows(evaluations, popularity)),
        "NDCG@10 by domain; a star is a difference from equal weights with p below .05 after Holm's "
        "correction over the domains of that line:",
        markdown(_by_domain(evaluations)),
        f"Chosen settings:\n\n{settings}",
    ]


def _tuned(name: str, label: str, side: Side, split: Split, trials: int) -> Method:
    method = ADC(balance=side.balance, **STUDIES[name].settings)
    options = FitOptions(seed=TUNING_SEED, patience=PATIENCE, progress=Terminal())
    folder = CELLS / "adc-tuned" / name / f"{label.replace(' ', '-').replace(',', '')}-{trials}"
    found = tune(method, split, Budget(trials), options, METRIC, {**COMMON, **side.space}, folder)
    print(f"{name} {label} {found.value:.4f} {settings_text(found.method)}", flush=True)
    return found.method


def _of_seeds(method: Method, split: Split, seeds: Sequence[int]) -> Evaluation:
    return over_seeds({seed: cell(method, split.test, seed, "test")[0] for seed in seeds})


def _rows(evaluations: Mapping[str, Evaluation], popularity: Evaluation) -> list[dict[str, Any]]:
    compared = {
        label: compare_over_domains(evaluation, evaluations[EQUAL], METRIC)
        for label, evaluation in evaluations.items()
        if label != EQUAL
    }
    corrected = dict(zip(compared, holm(np.array([row["p"] for row in compared.values()])), strict=True))
    rows = [
        {"side": POPULARITY, "mean": _mean(popularity)},
        {"side": EQUAL, "mean": _mean(evaluations[EQUAL])},
    ]
    return rows + [
        {
            "side": label,
            "mean": row["a"],
            "difference [95 %]": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
            "gain": f"{row['gain_percent']:+.1f} %",
            "p": f"{corrected[label]:.2g}",
        }
        for label, row in compared.items()
    ]


def _by_domain(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    rows = [{"side": EQUAL, **_figures(evaluations[EQUAL], {})}]
    for label, evaluation in evaluations.items():
        if label != EQUAL:
            found = compare(evaluation, evaluations[EQUAL], METRIC).rows
            sure = {row["domain"]: "*" for row in found.rows(named=True) if row["p_holm"] < 0.05}
            rows.append({"side": label, **_figures(evaluation, sure)})
    return rows


def _figures(evaluation: Evaluation, stars: Mapping[str, str]) -> dict[str, str]:
    means = evaluation.means(METRIC)
    return {name: f"{mean:.4f}".replace("0.", ".", 1) + stars.get(name, "") for name, mean in means.items()}


def _mean(evaluation: Evaluation) -> float:
    return float(np.mean(list(evaluation.means(METRIC).values())))


if __name__ == "__main__":
    main()
