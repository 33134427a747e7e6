"""The main job on real data, in a minute: MovieLens with ten genres as domains, CDIMF and its
single-domain baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.progress import Terminal
from landbridge.core.rng import generator
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_last_out
from landbridge.datasets.movielens import movielens_genres
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.evaluation.significance import compare
from landbridge.inference import recommend
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    from rich.console import Console

SEED = 7
LIKED = 2  # films shown per other domain


def run() -> None:
    """Fetch, split, train, compare and recommend, and print it."""
    from rich.console import Console

    console = Console()
    console.print("[bold]MovieLens-1M, ten genres as domains, ratings of 4 and 5[/]")
    with console.status("fetching MovieLens-1M"):
        split = leave_last_out(movielens_genres(), seed=SEED)
    options = FitOptions(seed=SEED, progress=Terminal())
    history = split.test.history
    models: dict[str, Fitted] = {
        "popularity": Popularity().fit(history),
        "alone": IALS(factors=32, alpha0=0.1, reg=0.03).fit(history, options),
        "joint": CDIMF(factors=32, alpha0=0.1, reg=0.01).fit(history, options),
    }
    evaluations = {name: evaluate(model, split.test, progress=Terminal()) for name, model in models.items()}
    _print_table(console, split, evaluations)
    _print_users(console, split, models["joint"])


def _print_table(console: Console, split: Split, evaluations: dict[str, Evaluation]) -> None:
    from rich.table import Table

    console.print("The last film of each user and domain was held out and ranked among all unseen ones.")
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in ("domain", "users", "items", "events", "NDCG\n@10\npopular", "\n\nalone", "\n\njoint"):
        table.add_column(head, justify="left" if head == "domain" else "right", no_wrap=True)
    table.add_column("HR@10\nalone,\njoint", justify="right", no_wrap=True)
    table.add_column("NDCG gain of\njoint over alone\n[95 %]", justify="right", no_wrap=True)
    ndcg = {name: evaluation.means("ndcg@10") for name, evaluation in evaluations.items()}
    hits = {name: evaluation.means("hr@10") for name, evaluation in evaluations.items()}
    for row in compare(evaluations["joint"], evaluations["alone"]).table().iter_rows(named=True):
        domain = row["domain"]
        events = split.test.history[domain]
        table.add_row(
            domain,
            f"{int((events.user_counts > 0).sum()):,}",
            f"{events.n_items:,}",
            f"{len(events):,}",
            *(_short(ndcg[name][domain]) for name in ("popularity", "alone", "joint")),
            " ".join(f"{hits[name][domain]:.2f}".lstrip("0") for name in ("alone", "joint")),
            f"{row['gain_percent']:+.0f} % [{_short(row['low'])}, {_short(row['high'])}]",
        )
    console.print(table)


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
