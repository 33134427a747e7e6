"""Shuffled data teach nothing: honest methods are at chance on them, and those that peek are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import timed, uneven

from landbridge.config import ModelSettings
from landbridge.core.settings import schema
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import cold_users, leave_one_out, with_candidates
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.metrics import Metric
from landbridge.models import registry
from landbridge.models.base import Fitted
from landbridge.models.popularity import Popularity, PopularityModel
from landbridge.studies.benchmark import leak_check as leak
from landbridge.studies.benchmark.leak_check import chance, leak_check, shuffled
from landbridge.training.options import FitOptions

METHODS = [name for name in registry.names() if name != "mixture"]
OPTIONS = FitOptions(seed=2, threads=1)


@pytest.fixture(scope="module")
def split() -> Split:
    split = planted_transfer(domains=2).split
    return Split(with_times(split.valid), with_times(split.test))


def with_times(holdout: Holdout) -> Holdout:
    return replace(holdout, history=timed(holdout.history))


def small(name: str) -> ModelSettings:
    sizes = {"factors": 8, "epochs": 3}
    names = [key for key in schema(registry.method(name)) if key.rpartition(".")[2] in sizes]
    return ModelSettings(name=name, settings={key: sizes[key.rpartition(".")[2]] for key in names})


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_of_the_house_are_at_chance(name: str, split: Split) -> None:
    found = leak_check(small(name), split, OPTIONS)
    assert found.passed, found.verdict
    assert found.verdict == f"{name} is at chance on shuffled data: nothing leaks."
    assert set(found.rows["domain"]) == set(split.test.targets)
    assert (found.rows["z"].abs() < 4).all()


def test_a_guarded_method_is_at_chance(split: Split) -> None:
    assert leak_check(small("cdimf").model_copy(update={"guard": True}), split, OPTIONS).passed


class Peeking(PopularityModel):
    """Knows every user's test items."""

    pairs: Any

    def list_scores(self, domain: str, queries: Any) -> Any:
        return self.score(domain, queries)

    def score(self, domain: str, queries: Any) -> Any:
        scores_BI = super().score(domain, queries)
        wanted = self.pairs[domain]
        for row, user in enumerate(queries.user_idx):
            scores_BI[row, wanted.item_idx[wanted.user_idx == user]] += 1000
        return scores_BI


def test_a_method_that_is_given_the_test_pairs_fails(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def peeks(model: ModelSettings, mixed: Split, options: FitOptions, work_dir: Any) -> Fitted:
        honest = Popularity().fit(mixed.test.history)
        fitted = Peeking(honest.history, honest.method, (), honest.score_I)
        object.__setattr__(fitted, "pairs", mixed.test.targets)
        return fitted

    monkeypatch.setattr(leak, "fit", peeks)
    found = leak_check(ModelSettings(name="popularity"), split, OPTIONS)
    assert not found.passed
    assert "test pairs reach its fit" in found.verdict
    assert (found.rows["mean"] == 1).all()


def test_a_method_that_counts_test_events_fails(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much weaker than knowing whose they are: only how often each item is tested."""

    def counts(model: ModelSettings, mixed: Split, options: FitOptions, work_dir: Any) -> Fitted:
        honest = Popularity().fit(mixed.test.history)
        tested = {
            name: np.bincount(targets.item_idx, minlength=mixed.test.history[name].n_items).astype(np.float32)
            for name, targets in mixed.test.targets.items()
        }
        return PopularityModel(honest.history, honest.method, (), tested)

    monkeypatch.setattr(leak, "fit", counts)
    assert not leak_check(ModelSettings(name="popularity"), split, OPTIONS).passed


@pytest.mark.parametrize("name", ["ndcg@10", "hr@3", "mrr@50", "recall@5"])
def test_chance_by_going_through_all_places(name: str) -> None:
    metric, others = Metric.parse(name), np.array([0, 1, 4, 9, 30])
    mean_T, variance_T = chance(metric, others)
    for place, n in enumerate(others):
        values = metric.per_pair(np.arange(n + 1), np.zeros(n + 1, int))
        assert mean_T[place] == pytest.approx(values.mean())
        assert variance_T[place] == pytest.approx(values.var(), abs=1e-12)


def test_shuffling_keeps_how_many_and_who_and_drops_what() -> None:
    data = uneven(weighted=True)
    split = with_candidates(leave_one_out(data, min_events=3), 3)
    mixed = shuffled(split, 4)
    for name, events in split.test.history.domains.items():
        after = mixed.test.history[name]
        assert np.array_equal(events.user_counts, after.user_counts)
        assert np.array_equal(np.sort(events.weight), np.sort(after.weight))
        assert not np.array_equal(events.item_idx, after.item_idx)
        targets, held = mixed.test.targets[name], mixed.valid.targets[name]
        assert np.array_equal(targets.user_idx, split.test.targets[name].user_idx)
        assert targets.candidates_TC is None
        assert not after.contains(targets.user_idx, targets.item_idx).any()
        assert not mixed.train[name].contains(held.user_idx, held.item_idx).any()
        assert after.contains(held.user_idx, held.item_idx).all()  # validation is known at test time
        assert after.contains(mixed.train[name].user_idx, mixed.train[name].item_idx).all()
    assert shuffled(split, 4).test.history.fingerprint == mixed.test.history.fingerprint
    assert shuffled(split, 5).test.history.fingerprint != mixed.test.history.fingerprint


@pytest.mark.parametrize("divide", [leave_one_out, cold_users])
def test_z_is_neither_biased_nor_too_wide(divide: Any) -> None:
    """Over 60 shuffles of skewed data; popularity would be far from chance on the data as they are."""
    rng = np.random.default_rng(0)
    shape = {"a": (40, 55), "b": (25, 40)}
    data = uneven(shape)
    split = divide(data, seed=int(rng.integers(100)))
    z = [
        figure
        for seed in range(60)
        for figure in leak_check(ModelSettings(name="popularity"), split, FitOptions(seed, 1), "mrr@10").rows[
            "z"
        ]
    ]
    assert abs(np.mean(z)) < 4 / np.sqrt(len(z))
    assert 0.7 < np.std(z) < 1.3


def test_a_lucky_hit_is_no_proof() -> None:
    """One of eight pairs comes first among 501: nearly eight standard errors, and it happens."""
    rows = pl.DataFrame(
        {"domain": ["d"] * 8, "above": [0] + [9] * 7, "ties": [0] * 8, "candidates": [500] * 8}
    )
    found = leak._against_chance(rows, Metric.parse("hr@1"))
    assert found["z"] > 7
    assert found["p"] > 0.1
    many = leak._against_chance(rows.with_columns(above=0), Metric.parse("hr@1"))
    assert many["p"] < leak.SURE


@pytest.mark.parametrize("n_items", [9, 40])
def test_random_items_are_distinct_for_each_user_and_reach_all(n_items: int) -> None:
    user_N = np.repeat(np.arange(300), np.tile([1, 4, 9], 100))
    item_N = leak._distinct(user_N, n_items, np.random.default_rng(0))
    assert len(np.unique(user_N * n_items + item_N)) == len(user_N)
    assert item_N.min() == 0
    assert item_N.max() == n_items - 1
    few_N = item_N[np.isin(user_N % 3, [0, 1])]
    expected = len(few_N) / n_items
    assert np.abs(np.bincount(few_N, minlength=n_items) - expected).max() < 5 * np.sqrt(expected)
