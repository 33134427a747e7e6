from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import shelves, uneven

from landbridge.data.activity import ACTIVITY
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.data.splitting.splits import leave_one_out, with_candidates
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import evaluate
from landbridge.evaluation.metrics import Metric
from landbridge.models.als.feature_map import OFF
from landbridge.models.als.ials import IALS
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.popularity import Popularity, PopularityModel
from landbridge.selection import blend
from landbridge.selection.pool import Pool, build_pool
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
METHODS = {"popularity": Popularity(), "alone": IALS(4, epochs=2), "joined": IALS(4, "joined", epochs=2)}


def simple_trials() -> blend.BlendTrials:
    """Random values of 300 pairs of two domains and five activity groups, under 6 rules."""
    rng = np.random.default_rng(3)
    return blend.BlendTrials(
        rng.random((300, 6)).astype(np.float32),
        np.zeros((6, 2 * len(ACTIVITY), 3), np.float32),
        rng.integers(0, 2, 300),
        rng.integers(0, 5, 300),
        rng.integers(0, 80, 300),
        ("a", "b"),
        ("x", "y", "z"),
    )


def planted_pool(entries: int = 12) -> Pool:
    """400 pairs whose item the first member ranks well in domain a, the second in b, the third nowhere."""
    rng = np.random.default_rng(0)
    domain_T = rng.integers(0, 2, 400)
    z_NM = rng.normal(size=(400 * entries, 3)).astype(np.float32)
    own_TM = rng.normal(size=(400, 3)).astype(np.float32)
    own_TM[np.arange(400), domain_T] += 2
    offsets = np.arange(401) * entries
    group_T, user_T = rng.integers(0, 3, 400), np.arange(400)
    return Pool(offsets, z_NM, own_TM, domain_T, group_T, user_T, ("a", "b"), ("x", "y", "z"), "ndcg@5")


def test_greedy_selection_is_that_of_every_prefix_tried_by_hand() -> None:
    pool = planted_pool()
    pairs, count_M, best = np.flatnonzero(pool.domain_T == 0), np.zeros(3), (-1.0, np.zeros(3))
    for step in range(6):
        trials = [(count_M + one) / (step + 1) for one in np.eye(3)]
        means = [float(pool.values(weights[None], pairs).mean(dtype=np.float64)) for weights in trials]
        count_M = count_M + np.eye(3)[int(np.argmax(means))]
        if max(means) > best[0] + 1e-9:
            best = (max(means), count_M / count_M.sum())
    np.testing.assert_allclose(pool.greedy(pairs, 6), best[1], rtol=1e-6)


@pytest.mark.parametrize("rule", ["greedy domain", "likeliest domain"])
def test_rules_of_domains_learn_what_each_domain_wants(rule: str) -> None:
    tried = blend.blend_trials(planted_pool(), 0)
    domain = len(tried.labels) + blend.BLENDS.index(rule)
    weight_CM = tried.weight_RCM[domain]
    assert weight_CM[0].argmax() == 0
    assert weight_CM[len(ACTIVITY)].argmax() == 1
    np.testing.assert_allclose(tried.weight_RCM.sum(axis=2), 1, rtol=1e-5)
    mean_R = tried.value_TR.mean(axis=0)
    assert mean_R[domain] > mean_R[: len(tried.labels)].max() + 0.05


def test_cross_fitting_gives_luck_no_credit() -> None:
    """Members that are all noise: greedy weights look better than chance where they were made, not here."""
    rng = np.random.default_rng(1)
    pool = planted_pool()
    noise = replace(
        pool,
        z_NM=rng.normal(size=pool.z_NM.shape).astype(np.float32),
        own_TM=rng.normal(size=pool.own_TM.shape).astype(np.float32),
    )
    chosen_M = noise.greedy(np.arange(len(noise)), 40)
    optimistic = noise.values(chosen_M[None]).mean()
    honest = blend.blend_trials(noise, 0).value_TR[:, len(noise.labels)].mean()
    assert honest < optimistic


@pytest.mark.parametrize("metric", ["ndcg@5", "auc"])
@pytest.mark.parametrize("candidates", [0, 12])
def test_every_blend_is_evaluated_as_if_it_were_served(candidates: int, metric: str) -> None:
    split = leave_one_out(uneven(users=120), seed=1)
    split = with_candidates(split, candidates, seed=2) if candidates else split
    members = {label: method.fit(split.train, ONE) for label, method in METHODS.items()}
    pool = build_pool(members, split.valid, "ndcg@5", threads=1)
    about = {label: {"method": method.name, "settings": {}} for label, method in METHODS.items()}
    for weight_M in np.random.default_rng(0).dirichlet(np.ones(len(METHODS)), 6):
        weights = dict(zip(METHODS, weight_M.tolist(), strict=True))
        everywhere = {name: dict.fromkeys(ACTIVITY, weights) for name in split.train.domain_names}
        served = BlendModel(split.train, Mixture(about, everywhere), (), members)
        rows = evaluate(served, split.valid, threads=1).rows
        expected = Metric.parse("ndcg@5").per_pair(rows["above"].to_numpy(), rows["ties"].to_numpy())
        values = pool.values(weight_M[None])[:, 0]
        order = np.lexsort((rows["user"].to_numpy(), rows["domain"].to_numpy()))
        own = np.lexsort((pool.user_T, pool.domain_T))
        # sums in another order may swap what differs in the last bit
        assert np.mean(np.abs(values[own] - expected[order]) > 1e-6) < 0.02


@pytest.mark.parametrize("metric", ["ndcg@5", "auc"])
@pytest.mark.parametrize("candidates", [0, 12])
@pytest.mark.parametrize("feature_reg", [1.0, OFF])
def test_what_no_list_holds_is_below_all_as_in_an_evaluation(
    feature_reg: float, candidates: int, metric: str
) -> None:
    """Held out: items that users have and new ones, by turns, which only a member with features lists."""
    data = shelves()
    user_T = np.arange(data.n_users, dtype=np.int32)
    item_T = np.where(user_T % 2, 20 + user_T % 20, (user_T * 7) % 20).astype(np.int32)
    every_TI = np.tile(np.arange(40, dtype=np.int32), (len(user_T), 1))
    drawn_TC = np.random.default_rng(0).permuted(every_TI, axis=1)[:, :candidates]
    targets = Targets(user_T, item_T, drawn_TC if candidates else None)
    holdout = Holdout(data, dict.fromkeys(data.domain_names, targets))
    methods = {"popularity": Popularity(), "joined": IALS(4, "joined", epochs=2, feature_reg=feature_reg)}
    popular, joined = (method.fit(data, ONE) for method in methods.values())
    assert isinstance(popular, PopularityModel)
    rare = replace(popular, score_I={name: -score_I for name, score_I in popular.score_I.items()})
    members = {"popularity": rare, "joined": joined}  # new items first
    pool = build_pool(members, holdout, metric, threads=1)
    about = {label: {"method": method.name, "settings": method.flat()} for label, method in methods.items()}
    for share in (0.0, 0.3, 1.0):
        weights = {"popularity": 1 - share, "joined": share}
        everywhere = {name: dict.fromkeys(ACTIVITY, weights) for name in data.domain_names}
        served = BlendModel(data, Mixture(about, everywhere), (), members)
        assert served.unlisted("food").any() == (feature_reg == OFF)
        rows = evaluate(served, holdout, threads=1).rows
        above, ties, others = (rows[name].to_numpy() for name in ("above", "ties", "candidates"))
        expected = Metric.parse(metric).per_pair(above, ties, others)
        values = pool.values([list(weights.values())])[:, 0]
        own = np.lexsort((pool.user_T, pool.domain_T))
        order = np.lexsort((rows["user"].to_numpy(), rows["domain"].to_numpy()))
        assert np.mean(np.abs(values[own] - expected[order]) > 1e-6) < 0.02


def test_threads_change_nothing() -> None:
    split = leave_one_out(uneven(users=120), seed=1)
    members = {label: method.fit(split.train, ONE) for label, method in METHODS.items()}
    one, two = (build_pool(members, split.valid, threads=n) for n in (1, 2))
    assert np.array_equal(one.single_TM, two.single_TM)
    assert np.array_equal(one.greedy(np.arange(len(one)), 9), two.greedy(np.arange(len(two)), 9))


def test_a_member_alone_is_one_of_the_rules() -> None:
    pool = planted_pool()
    tried = blend.blend_trials(pool, 0)
    assert np.array_equal(tried.value_TR[:, :3], pool.single_TM)
    for place in range(3):
        assert tried.weight_RCM[place, 0].tolist() == np.eye(3)[place].tolist()


def test_estimates_are_drawn_towards_domain_group_and_all() -> None:
    tried, kappa = simple_trials(), 25.0
    sums = blend.CellSums.of(tried.cell_T, tried.value_TR, tried.cells)
    value_CR = blend.estimates(sums, kappa)

    def drawn(mask_T: np.ndarray, towards_R: np.ndarray) -> np.ndarray:
        return (tried.value_TR[mask_T].sum(axis=0) + kappa * towards_R) / (mask_T.sum() + kappa)

    mean_R = tried.value_TR.mean(axis=0, dtype=float)
    for domain in range(2):
        for group in range(len(ACTIVITY)):
            d_T, g_T = tried.domain_T == domain, tried.group_T == group
            towards_R = drawn(d_T, mean_R) + drawn(g_T, mean_R) - mean_R
            expected_R = drawn(d_T & g_T, towards_R)
            np.testing.assert_allclose(value_CR[domain * len(ACTIVITY) + group], expected_R, rtol=1e-5)


def test_little_shrinkage_trusts_the_cell_and_much_the_whole() -> None:
    tried = simple_trials()
    sums = blend.CellSums.of(tried.cell_T, tried.value_TR, tried.cells)
    seen = sums.count_C > 0
    own_CR = sums.total_CR[seen] / sums.count_C[seen, None]
    np.testing.assert_allclose(blend.estimates(sums, 1e-9)[seen], own_CR, rtol=1e-6)
    np.testing.assert_allclose(
        blend.estimates(sums, 1e12), np.tile(tried.value_TR.mean(axis=0), (tried.cells, 1)), rtol=1e-5
    )


def test_standard_errors_against_the_sum_over_pairs() -> None:
    tried, kappa, base = simple_trials(), 40.0, 2
    sums = blend.CellSums.of(tried.cell_T, tried.value_TR, tried.cells)
    k_CT = blend.pair_shares(sums.count_C, kappa)[:, tried.cell_T]
    delta_TR = tried.value_TR.astype(float) - tried.value_TR[:, [base]]
    np.testing.assert_allclose(k_CT @ tried.value_TR, blend.estimates(sums, kappa), rtol=1e-5)
    delta_TR -= delta_TR.mean(axis=0)
    expected = np.sqrt(k_CT**2 @ delta_TR**2)
    np.testing.assert_allclose(blend.standard_errors(tried, kappa, base), expected, rtol=1e-4, atol=1e-9)


def test_the_standard_error_of_one_cell_is_that_of_a_mean() -> None:
    tried = replace(simple_trials(), domain_T=np.zeros(300, int), group_T=np.zeros(300, int))
    error_R = blend.standard_errors(tried, 1e-9, 0)[0]
    spread = np.std(tried.value_TR[:, 3] - tried.value_TR[:, 0])
    assert error_R[3] == pytest.approx(spread / np.sqrt(300), rel=1e-4)


def test_kappa_is_small_where_groups_differ_and_large_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    tried = replace(simple_trials(), value_TR=rng.normal(0, 1, (300, 6)).astype(np.float32))
    liked_T = (tried.group_T % 2 == 0).astype(int)
    split_TR = np.zeros((300, 6), np.float32)
    split_TR[np.arange(300), liked_T] = 3
    noise_TR = tried.value_TR + np.float32([0, 0, 0, 0, 1.0, 0])
    different, _ = blend.chosen_kappa(replace(tried, value_TR=split_TR + 0.1 * tried.value_TR), 0)
    alike, _ = blend.chosen_kappa(replace(tried, value_TR=noise_TR), 0)
    assert different < alike


def test_planted_transfer_wants_the_joint_model_in_the_sparse_domain() -> None:
    world = planted_transfer()
    members = {
        "alone": IALS(8).fit(world.split.train, ONE),
        "joined": IALS(8, "joined").fit(world.split.train, ONE),
    }
    pool = build_pool(members, world.split.valid, threads=1)
    sparse = np.flatnonzero(pool.domain_T == pool.domains.index("sparse"))
    assert pool.greedy(sparse, 10)[pool.labels.index("joined")] >= 0.5
