from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import uneven

from landbridge.data.activity import ACTIVITY
from landbridge.data.splitting.splits import leave_one_out, with_candidates
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import evaluate
from landbridge.evaluation.metrics import Metric
from landbridge.models.als.ials import IALS
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.popularity import Popularity
from landbridge.selection import blend
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
METHODS = {"popularity": Popularity(), "alone": IALS(4, epochs=2), "joined": IALS(4, "joined", epochs=2)}


def simple_trials() -> blend.BlendTrials:
    """Random values of 300 pairs of two domains and five activity groups, under 6 weight vectors."""
    rng = np.random.default_rng(3)
    return blend.BlendTrials(
        rng.random((300, 6)).astype(np.float32),
        blend.simplex(3, 2),
        rng.integers(0, 2, 300),
        rng.integers(0, 5, 300),
        rng.integers(0, 80, 300),
        ("a", "b"),
        ("x", "y", "z"),
    )


@pytest.mark.parametrize(("members", "steps", "count"), [(1, 3, 1), (2, 4, 5), (3, 10, 66), (4, 7, 120)])
def test_the_simplex_is_whole(members: int, steps: int, count: int) -> None:
    weight_WM = blend.simplex(members, steps)
    assert weight_WM.shape == (count, members)
    assert len(np.unique(weight_WM.round(5), axis=0)) == count
    np.testing.assert_allclose(weight_WM.sum(axis=1), 1, rtol=1e-6)
    assert (weight_WM >= 0).all()


@pytest.mark.parametrize("metric", ["ndcg@5", "auc"])
@pytest.mark.parametrize("candidates", [0, 12])
def test_every_blend_is_evaluated_as_if_it_were_served(candidates: int, metric: str) -> None:
    split = leave_one_out(uneven(users=120), seed=1)
    split = with_candidates(split, candidates, seed=2) if candidates else split
    members = {label: method.fit(split.train, ONE) for label, method in METHODS.items()}
    tried = blend.evaluate_blends(members, split.valid, metric, threads=1)
    about = {label: {"method": method.name, "settings": {}} for label, method in METHODS.items()}
    for w in np.random.default_rng(0).choice(len(tried.weight_WM), 6, replace=False):
        weights = dict(zip(METHODS, tried.weight_WM[w].tolist(), strict=True))
        everywhere = {name: dict.fromkeys(ACTIVITY, weights) for name in split.train.domain_names}
        served = BlendModel(split.train, Mixture(about, everywhere), (), members)
        rows = evaluate(served, split.valid, threads=1).rows
        counts = (rows[name].to_numpy() for name in ("above", "ties", "candidates"))
        expected = Metric.parse(metric).per_pair(*counts)
        # sums in another order may swap what differs in the last bit
        assert np.mean(np.abs(tried.value_TW[:, w] - expected) > 1e-6) < 0.02


def test_threads_change_nothing() -> None:
    split = leave_one_out(uneven(users=120), seed=1)
    members = {label: method.fit(split.train, ONE) for label, method in METHODS.items()}
    one, two = (blend.evaluate_blends(members, split.valid, threads=n) for n in (1, 2))
    assert np.array_equal(one.value_TW, two.value_TW)


def test_a_member_alone_is_one_of_the_vectors() -> None:
    tried = simple_trials()
    for column, label in enumerate(tried.labels):
        assert tried.weight_WM[tried.only(label)].tolist() == np.eye(3)[column].tolist()


def test_estimates_are_drawn_towards_domain_group_and_all() -> None:
    tried, kappa = simple_trials(), 25.0
    sums = blend.CellSums.of(tried.cell_T, tried.value_TW, tried.cells)
    value_CW = blend.estimates(sums, kappa)

    def drawn(mask_T: np.ndarray, towards_W: np.ndarray) -> np.ndarray:
        return (tried.value_TW[mask_T].sum(axis=0) + kappa * towards_W) / (mask_T.sum() + kappa)

    mean_W = tried.value_TW.mean(axis=0, dtype=float)
    for domain in range(2):
        for group in range(len(ACTIVITY)):
            d_T, g_T = tried.domain_T == domain, tried.group_T == group
            towards_W = drawn(d_T, mean_W) + drawn(g_T, mean_W) - mean_W
            expected_W = drawn(d_T & g_T, towards_W)
            np.testing.assert_allclose(value_CW[domain * len(ACTIVITY) + group], expected_W, rtol=1e-5)


def test_little_shrinkage_trusts_the_cell_and_much_the_whole() -> None:
    tried = simple_trials()
    sums = blend.CellSums.of(tried.cell_T, tried.value_TW, tried.cells)
    seen = sums.count_C > 0
    own_CW = sums.total_CW[seen] / sums.count_C[seen, None]
    np.testing.assert_allclose(blend.estimates(sums, 1e-9)[seen], own_CW, rtol=1e-6)
    np.testing.assert_allclose(
        blend.estimates(sums, 1e12), np.tile(tried.value_TW.mean(axis=0), (tried.cells, 1)), rtol=1e-5
    )


def test_standard_errors_against_the_sum_over_pairs() -> None:
    tried, kappa, base = simple_trials(), 40.0, 2
    sums = blend.CellSums.of(tried.cell_T, tried.value_TW, tried.cells)
    k_CT = blend.pair_shares(sums.count_C, kappa)[:, tried.cell_T]
    delta_TW = tried.value_TW.astype(float) - tried.value_TW[:, [base]]
    np.testing.assert_allclose(k_CT @ tried.value_TW, blend.estimates(sums, kappa), rtol=1e-5)
    delta_TW -= delta_TW.mean(axis=0)
    expected = np.sqrt(k_CT**2 @ delta_TW**2)
    np.testing.assert_allclose(blend.standard_errors(tried, kappa, base), expected, rtol=1e-4, atol=1e-9)


def test_the_standard_error_of_one_cell_is_that_of_a_mean() -> None:
    tried = replace(simple_trials(), domain_T=np.zeros(300, int), group_T=np.zeros(300, int))
    error_W = blend.standard_errors(tried, 1e-9, 0)[0]
    spread = np.std(tried.value_TW[:, 3] - tried.value_TW[:, 0])
    assert error_W[3] == pytest.approx(spread / np.sqrt(300), rel=1e-4)


def test_kappa_is_small_where_groups_differ_and_large_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    tried = replace(simple_trials(), value_TW=rng.normal(0, 1, (300, 6)).astype(np.float32))
    liked_T = (tried.group_T % 2 == 0).astype(int)
    split_TW = np.zeros((300, 6), np.float32)
    split_TW[np.arange(300), liked_T] = 3
    noise_TW = tried.value_TW + np.float32([0, 0, 0, 0, 1.0, 0])
    different, _ = blend.chosen_kappa(replace(tried, value_TW=split_TW + 0.1 * tried.value_TW), 0)
    alike, _ = blend.chosen_kappa(replace(tried, value_TW=noise_TW), 0)
    assert different < alike


def test_planted_transfer_wants_the_joint_model_in_the_sparse_domain() -> None:
    world = planted_transfer()
    members = {
        "alone": IALS(8).fit(world.split.train, ONE),
        "joined": IALS(8, "joined").fit(world.split.train, ONE),
    }
    tried = blend.evaluate_blends(members, world.split.valid, threads=1)
    sparse = tried.domains.index("sparse")
    best = tried.value_TW[tried.domain_T == sparse].mean(axis=0).argmax()
    assert tried.weight_WM[best, tried.labels.index("joined")] > 0.6
