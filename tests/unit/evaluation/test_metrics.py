from __future__ import annotations

from itertools import permutations
from math import log2

import numpy as np
import pytest

from landbridge.core.errors import SettingsError
from landbridge.evaluation.metrics import Metric, gini

KINDS = ("hr", "map", "mrr", "ndcg", "precision", "recall")


def naive(kind: str, positions: list[int], cutoff: int) -> float:
    """The textbook metric of one list whose targets stand at the given 1-based positions."""
    listed = sorted(p for p in positions if p <= cutoff)
    ideal = sum(1 / log2(p + 1) for p in range(1, min(len(positions), cutoff) + 1))
    return {
        "hr": float(bool(listed)),
        "mrr": 1 / listed[0] if listed else 0.0,
        "recall": len(listed) / len(positions),
        "precision": len(listed) / cutoff,
        "ndcg": sum(1 / log2(p + 1) for p in listed) / ideal,
        "map": sum((n + 1) / p for n, p in enumerate(listed)) / len(positions),
    }[kind]


def enumerated(kind: str, scores: list[int], targets: set[int], cutoff: int) -> float:
    """Mean over all orders of the items that respect the scores."""
    values = []
    for order in permutations(range(len(scores))):
        ranked = [scores[item] for item in order]
        if ranked == sorted(scores, reverse=True):
            positions = [place + 1 for place, item in enumerate(order) if item in targets]
            values.append(naive(kind, positions, cutoff))
    return float(np.mean(values))


def stand(scores: list[int], targets: set[int]) -> tuple[list[int], list[int]]:
    above = [sum(score > scores[item] for score in scores) for item in targets]
    ties = [sum(score == scores[item] for score in scores) - 1 for item in targets]
    return above, ties


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cutoff", [1, 2, 3, 5, 9])
def test_ties_give_the_mean_over_every_order(kind: str, cutoff: int) -> None:
    worlds = [
        ([0, 0, 0, 0, 0], {0}),
        ([0, 0, 0, 0, 0], {1, 3}),
        ([0, 0, 0, 0, 0], {0, 1, 2, 3, 4}),
        ([2, 1, 1, 1, 0, 0], {1, 2, 5}),
        ([3, 3, 2, 1, 1, 1], {0, 2, 4}),
        ([1, 2, 3, 4, 5, 6], {0, 3}),
        ([7, 7, 7, 0, 0, 0], {4, 5}),
    ]
    stood = [stand(*world) for world in worlds]
    unit = np.repeat(np.arange(len(worlds)), [len(above) for above, _ in stood])
    shuffle = np.random.default_rng(1).permutation(len(unit))
    above, ties = (np.concatenate([s[part] for s in stood])[shuffle] for part in (0, 1))
    got = Metric(kind, cutoff).per_unit(unit[shuffle], above, ties)
    expected = [enumerated(kind, scores, targets, cutoff) for scores, targets in worlds]
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "others", "value"),
    [
        ("hr@10", 99, 0.10),
        ("ndcg@10", 99, 0.0454),
        ("mrr@10", 99, 0.0293),
        ("hr@10", 999, 0.010),
        ("ndcg@10", 999, 0.0045),
    ],
)
def test_a_constant_scorer_is_exactly_a_random_one(name: str, others: int, value: float) -> None:
    metric = Metric.parse(name)
    constant = metric.per_pair(np.array([0]), np.array([others]))[0]
    random = metric.per_pair(np.arange(others + 1), np.zeros(others + 1, int)).mean()
    assert constant == pytest.approx(random, abs=1e-12)
    assert constant == pytest.approx(value, abs=5e-5)


def test_one_target_by_hand() -> None:
    above, ties = np.array([0, 2, 10]), np.zeros(3, int)
    by_hand = {
        "hr@10": [1, 1, 0],
        "ndcg@10": [1, 0.5, 0],
        "mrr@10": [1, 1 / 3, 0],
        "precision@5": [0.2, 0.2, 0],
    }
    for name, values in by_hand.items():
        assert Metric.parse(name).per_pair(above, ties).tolist() == pytest.approx(values)


def test_metrics_keep_their_order() -> None:
    """MRR <= NDCG <= HR for one target, and none falls when the list grows."""
    rng = np.random.default_rng(0)
    above, ties = rng.integers(0, 40, 500), rng.integers(0, 20, 500)
    hr, ndcg, mrr = (Metric(kind, 10).per_pair(above, ties) for kind in ("hr", "ndcg", "mrr"))
    assert np.all(mrr <= ndcg + 1e-12)
    assert np.all(ndcg <= hr + 1e-12)
    for kind in ("hr", "ndcg", "mrr", "recall", "map"):
        short, long = (Metric(kind, cutoff).per_pair(above, ties) for cutoff in (10, 20))
        assert np.all(short <= long + 1e-12)


@pytest.mark.parametrize(
    "name", ["auc@10", "ndgc@10", "ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "@10"]
)
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        Metric.parse(name)


def test_the_nearest_metric_is_offered() -> None:
    with pytest.raises(SettingsError, match="did you mean 'ndcg@10'"):
        Metric.parse("ndgc@10")


def test_gini_by_hand() -> None:
    assert gini([5, 5, 5, 5]) == 0
    assert gini([0, 0, 0, 8]) == pytest.approx(3 / 4)
    assert gini([1, 3]) == pytest.approx(1 / 4)
    assert gini([0, 0]) == 0


def test_gini_is_half_the_mean_difference() -> None:
    counts = np.random.default_rng(3).integers(0, 50, 60)
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    assert gini(counts) == pytest.approx(differences / (2 * counts.mean()))


@pytest.mark.parametrize("targets", [1, 2, 3])
@pytest.mark.parametrize("tied", [3, 5])
def test_mrr_of_the_whole_ranking_is_the_mean_over_all_orders(targets: int, tied: int) -> None:
    """``tied`` items tie behind four better ones, ``targets`` of them held out."""
    orders = list(permutations(range(tied)))
    expected = np.mean([1 / (4 + 1 + min(order.index(t) for t in range(targets))) for order in orders])
    unit_T, above_T = np.zeros(targets, int), np.full(targets, 4)
    value = Metric.parse("mrr").per_unit(unit_T, above_T, np.full(targets, tied - 1))
    np.testing.assert_allclose(value, [expected])
    assert Metric.parse("mrr").per_pair(np.array([0, 1, 99]), np.array([0, 0, 0])).tolist() == [1, 0.5, 0.01]


@pytest.mark.parametrize("kind", ["hr", "map", "mrr", "ndcg", "precision", "recall"])
def test_a_cutoff_needs_no_more_memory_than_the_catalogue(kind: str) -> None:
    """The value is that of a cutoff behind the last item; a precision is divided by the cutoff given."""
    rng = np.random.default_rng(0)
    unit_T = np.repeat(np.arange(20), 3)
    above_T, ties_T = rng.integers(0, 40, 60), rng.integers(0, 3, 60)
    short, long = (Metric(kind, cutoff).per_unit(unit_T, above_T, ties_T) for cutoff in (60, 10**15))
    assert np.allclose(short * 60, long * 10**15 if kind == "precision" else long * 60, rtol=1e-12)
