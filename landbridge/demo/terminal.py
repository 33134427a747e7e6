"""The main job on real data, in about a minute: MovieLens with ten genres as domains, every quick method
tuned with an equal budget, and the blend of them beside each.

The split knows nothing of the future: one event per user is held out, the latest of all domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.progress import Terminal
from landbridge.core.rng import generator
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.datasets.movielens import movielens_genres
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.evaluation.significance import compare
from landbridge.inference import recommend
from landbridge.models.base import Fitted
from landbridge.selection.auto import Tuning, candidates, simple_members, tuned_candidates
from landbridge.selection.guard import guarded
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    from rich.console import Console

SEED = 7
FAMILIES = (
    "popularity",
    "itemknn",
    "ease",
    "ials",
    "cdimf",
)  # without torch, which the demo does not install
BUDGET = Tuning(trials=6, seconds=40.0)
# what the search of experiments/default.py arrives at on this data; the demo's own search starts from it
STARTS = {label: {"alpha0": 0.1, "reg": 20.0} for label in ("alone", "joined", "cdimf")}
AUTO = "auto"
LIKED = 2  # films shown per other domain


def run() -> None:
    """Fetch, split, tune, compare and recommend, and print it."""
    from rich.console import Console

    console = Console()
    console.print("[bold]MovieLens-1M, ten genres as domains, ratings of 4 and 5[/]")
    with console.status("fetching MovieLens-1M"):
        split = leave_latest_out(movielens_genres(), seed=SEED)
    options = FitOptions(seed=SEED, progress=Terminal())
    proposed = candidates(split.train, FAMILIES)
    starts = {label: method.with_settings(STARTS.get(label, {})) for label, method in proposed.items()}
    tuned, kept = tuned_candidates(starts, split, options, BUDGET)
    console.print(
        f"Every method had {BUDGET.trials} trials on validation data, {BUDGET.seconds:g} s in all; the last "
        "film of each user was held out and ranked among all unseen ones of its genre."
    )
    blend = guarded(tuned, split, options, simple=simple_members(tuned), fitted=kept)
    models = {label: method.fit(split.test.history, options) for label, method in tuned.items()}
    evaluations = {
        label: replace(evaluate(model, split.test), name=label)
        for label, model in {**models, AUTO: blend}.items()
    }
    single = {label: evaluations[label] for label in simple_members(tuned)}
    _print_models(console, evaluations)
    _print_domains(console, split, evaluations[AUTO], single)
    _print_users(console, split, blend)


def _print_models(console: Console, evaluations: Mapping[str, Evaluation]) -> None:
    """The mean over domains of every model, the best one last."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("mean over domains", "NDCG@10", "HR@10"):
        table.add_column(head, justify="left" if head == "mean over domains" else "right", no_wrap=True)
    means = {label: _mean(evaluation, "ndcg@10") for label, evaluation in evaluations.items()}
    for label in sorted(means, key=means.__getitem__):
        table.add_row(label, _short(means[label]), _short(_mean(evaluations[label], "hr@10")))
    console.print(table)


def _print_domains(
    console: Console, split: Split, auto: Evaluation, single: Mapping[str, Evaluation]
) -> None:
    """auto in every domain against the best model that knows this domain alone."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), title="auto against the best single-domain model")
    for head in ("domain", "tests", "alone", "NDCG", "auto", "difference [95 %]", "gain"):
        table.add_column(head, justify="left" if head in ("domain", "alone") else "right", no_wrap=True)
    for domain in split.test.targets:
        best = max(single, key=lambda label: single[label].means("ndcg@10").get(domain, 0.0))
        rows = compare(auto, single[best]).rows.filter(domain=domain).to_dicts()
        for row in rows:
            gain = row["gain_percent"]
            table.add_row(
                domain,
                str(row["users"]),
                best,
                _short(row["b"]),
                _short(row["a"]),
                f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
                "" if gain is None else f"{gain:+.0f} %",
            )
    console.print(table)


def _mean(evaluation: Evaluation, metric: str) -> float:
    return float(np.mean(list(evaluation.means(metric).values())))


def _short(value: float) -> str:
    """Three digits without the leading zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def _print_users(console: Console, split: Split, joint: Fitted) -> None:
    """Three users: what the joint model recommends in a domain and what they liked in the others."""
    history = split.test.history
    active = np.flatnonzero((history.activity_UD > 0).sum(axis=1) >= 4)
    # users with few events show best what other domains add
    quiet = active[np.argsort(history.activity_UD[active].sum(axis=1), kind="stable")][: len(active) // 2]
    chosen = np.sort(generator(SEED, "demo").choice(quiet, size=3, replace=False))
    for user_idx, domain in zip(chosen, history.domain_names, strict=False):
        user = history.users.ids[user_idx]
        films = recommend(joint, domain, [user], k=5)
        console.print(
            f"\n[bold]User {user}[/] liked in other domains: {_liked(split, domain, int(user_idx))}"
        )
        console.print(f"  {domain}: " + "; ".join(films["title"].to_list()))


def _liked(split: Split, domain: str, user_idx: int) -> str:
    history = split.test.history
    parts = []
    for name in history.domain_names:
        start, stop = history[name].by_user.offsets[user_idx : user_idx + 2]
        titles = history.titles[name][history[name].by_user.columns[start:stop]][:LIKED]
        if name != domain and len(titles):
            parts.append(f"{', '.join(titles)} ({name})")
    return "; ".join(parts)
