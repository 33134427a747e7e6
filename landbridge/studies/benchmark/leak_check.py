"""The leak check: a method that learns from shuffled data must do no better than chance.

All of a user's items in a domain (known, validation and test alike) are replaced by as many distinct items
drawn at random. Whichever pattern a method learns from the other users, the test item is then equally likely
at every
rank among the user's unseen items, so each pair's metric has an exact mean and variance, and users are
independent. A method that does better has seen the test pairs. T held-out pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landbridge.config import ModelSettings
from landbridge.core.rng import generator
from landbridge.core.types import Float64, Int64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.evaluation.metrics import Metric
from landbridge.selection.fitting import fit
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

SURE = 0.001  # a difference from chance that is less likely than this is a leak


@dataclass(frozen=True, eq=False)
class LeakCheck:
    """``rows``: domain, metric, pairs, mean, chance (its exact mean under random order), z (difference in
    standard errors under chance), p (Bernstein's bound, two-sided, corrected for the domains)."""

    rows: pl.DataFrame
    name: str

    @property
    def passed(self) -> bool:
        """Whether every domain is at chance."""
        return bool((self.rows["p"] >= SURE).all())

    @property
    def verdict(self) -> str:
        """What the check found, in one sentence."""
        if self.passed:
            return f"{self.name} is at chance on shuffled data: nothing leaks."
        worst = self.rows.sort("p", maintain_order=True).row(0, named=True)
        return (
            f"{self.name} has {worst['metric']} {worst['mean']:.4f} in {worst['domain']!r} on shuffled data, "
            f"where chance is {worst['chance']:.4f} (p {worst['p']:.1g}): test pairs reach its fit."
        )


def leak_check(
    model: ModelSettings,
    split: Split,
    options: FitOptions,
    metric: str = "ndcg@10",
    work_dir: Path | None = None,
) -> LeakCheck:
    """Fit on the shuffled split and evaluate every held-out pair alone, against the whole catalogue."""
    import polars as pl

    from landbridge.evaluation.evaluate import evaluate

    mixed = shuffled(split, options.seed)
    fitted = fit(model, mixed, options, work_dir)
    rows = evaluate(fitted, mixed.test, threads=options.threads).rows
    parts = rows.partition_by("domain", maintain_order=True)
    table = pl.DataFrame([_against_chance(part, Metric.parse(metric)) for part in parts])
    # Bonferroni over the domains
    table = table.with_columns(p=(pl.col("p") * len(parts)).clip(upper_bound=1.0))
    return LeakCheck(table.insert_column(1, pl.Series("metric", [metric] * len(parts))), model.name)


def shuffled(split: Split, seed: int) -> Split:
    """The split with every user's items replaced by random ones: the same item by the same everywhere,
    different ones by different ones. Candidates are dropped, and so is one list over all domains."""
    moves = {name: _Move.drawn(split, name, seed) for name in split.test.history.domain_names}
    return Split(_moved(split.valid, moves), _moved(split.test, moves))


def chance(metric: Metric, candidates_T: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Mean and variance of each pair's metric when its rank among ``candidates`` others is random, (T,)."""
    others_T = np.asarray(candidates_T, np.int64)
    places = np.arange(min(metric.cutoff, int(others_T.max(initial=0)) + 1))
    square_K = np.cumsum(metric.per_pair(places, np.zeros_like(places)) ** 2)
    # a tie with all others is a random rank: the metric's own expectation over ties
    mean_T = metric.per_pair(np.zeros_like(others_T), others_T)
    second_T = square_K[np.minimum(others_T, len(places) - 1)] / (others_T + 1)
    return mean_T, second_T - mean_T**2


@dataclass(frozen=True, eq=False)
class _Move:
    """The new item of every (user, item) pair of one domain; pairs are coded user · items + item."""

    pair_N: Int64
    item_N: Int64
    n_items: int

    @classmethod
    def drawn(cls, split: Split, name: str, seed: int) -> _Move:
        n_items = split.test.history[name].n_items
        pair_N = np.unique(
            np.concatenate(
                [
                    part.user_idx.astype(np.int64) * n_items + part.item_idx
                    for holdout in (split.valid, split.test)
                    for part in (holdout.history[name], holdout.targets.get(name))
                    if part is not None
                ]
            )
        )
        return cls(
            pair_N, _distinct(pair_N // n_items, n_items, generator(seed, "leak check", name)), n_items
        )

    def of(self, part: Interactions | Targets) -> Int64:
        # the same code for a pair in every part, so a held-out pair moves with its history
        pair = part.user_idx.astype(np.int64) * self.n_items + part.item_idx
        return self.item_N[np.searchsorted(self.pair_N, pair)]


def _distinct(user_N: Int64, n_items: int, rng: np.random.Generator) -> Int64:
    """A random item for every entry, no item twice for one user, (N,); ``user_N`` is sorted.

    Repeated items are drawn again until there are none; who has more than half of the catalogue, for whom
    that would take long, gets the start of a random order of it.
    """
    item_N = rng.integers(0, n_items, len(user_N))
    users, first, count = np.unique(user_N, return_index=True, return_counts=True)
    busy = np.flatnonzero(2 * count > n_items)
    for place in busy:
        item_N[first[place] : first[place] + count[place]] = rng.permutation(n_items)[: count[place]]
    left_N = np.flatnonzero(~np.isin(user_N, users[busy]))
    again_N = left_N
    while len(again_N):
        item_N[again_N] = rng.integers(0, n_items, len(again_N))
        pair_N = user_N[left_N] * n_items + item_N[left_N]
        # all but the first of equal pairs are drawn again
        again_N = np.delete(left_N, np.unique(pair_N, return_index=True)[1])
    return item_N


def _moved(holdout: Holdout, moves: Mapping[str, _Move]) -> Holdout:
    targets = {
        name: Targets(part.user_idx, moves[name].of(part).astype(np.int32), time=part.time)
        for name, part in holdout.targets.items()
    }
    return Holdout(_moved_events(holdout.history, moves), targets)


def _moved_events(history: MultiDomain, moves: Mapping[str, _Move]) -> MultiDomain:
    return history.with_events(
        {
            name: Interactions.from_events(
                events.user_idx,
                moves[name].of(events),
                events.n_users,
                events.n_items,
                events.weight,
                events.time,
            )
            for name, events in history.domains.items()
        }
    )


def _against_chance(rows: pl.DataFrame, metric: Metric) -> dict[str, object]:
    value_T = metric.per_pair(rows["above"].to_numpy(), rows["ties"].to_numpy())
    mean_T, variance_T = chance(metric, rows["candidates"].to_numpy())
    excess, variance = float((value_T - mean_T).sum()), float(variance_T.sum())
    # Bernstein's inequality: valid for any distribution in [0, 1], where a normal approximation fails for
    # rare hits
    bound = np.exp(-(excess**2) / (2 * (variance + abs(excess) / 3))) if excess else 1.0
    return {
        "domain": rows["domain"][0],
        "pairs": len(rows),
        "mean": float(value_T.mean()),
        "chance": float(mean_T.mean()),
        "z": excess / variance**0.5 if variance > 0 else 0.0,
        "p": min(1.0, 2 * float(bound)),
    }
