"""The main job on real data, in about a minute: tuned models over ten genres of MovieLens beside their blend,
printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.rng import generator
from landbridge.data.splitting.holdout import Split
from landbridge.datasets.movielens import movielens_genres
from landbridge.demo.comparison import AUTO, BUDGET, SEED, Comparison, compared
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.significance import compare
from landbridge.inference import recommend
from landbridge.models.base import Fitted

if TYPE_CHECKING:
    from rich.console import Console

LIKED = 2  # films shown per other domain


def run() -> None:
    """Fetch, compare and recommend, and print it."""
    from rich.console import Console

    console = Console()
    console.print("[bold]MovieLens-1M, ten genres as domains, ratings of 4 and 5[/]")
    with console.status("fetching MovieLens-1M"):
        data = movielens_genres()
    comparison = compared(data)
    print_comparison(console, comparison)
    _print_users(console, comparison.split, comparison.blend)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """What was measured: every model, and the blend in every domain."""
    console.print(
        f"Every method had {BUDGET.trials} trials on validation data, {BUDGET.seconds:g} s in all; the last "
        "film of each user was held out and ranked among all unseen ones of its genre."
    )
    _print_models(console, comparison.evaluations)
    _print_domains(console, comparison)


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


def _print_domains(console: Console, comparison: Comparison) -> None:
    """auto in every domain against the best model that knows this domain alone."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), title="auto against the best single-domain model")
    for head in ("domain", "tests", "alone", "NDCG", "auto", "difference [95 %]", "gain"):
        table.add_column(head, justify="left" if head in ("domain", "alone") else "right", no_wrap=True)
    best = comparison.single_domain
    for row in compare(comparison.evaluations[AUTO], best).rows.to_dicts():
        gain = row["gain_percent"]
        table.add_row(
            row["domain"],
            str(row["users"]),
            best.models[row["domain"]],
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
