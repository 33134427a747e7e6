"""Every formula against slow loops, worlds with known answers, and what must not change anything."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from worlds import dense, of_tables, uneven

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.synthetic import planted_transfer
from landbridge.studies.transfer import compatibility as module
from landbridge.studies.transfer.compatibility import (
    STEPS,
    aligned,
    cka,
    co_preference,
    kernel,
    matched,
    predicted,
    r2,
    relief,
    spearman,
    transferability,
)
from landbridge.training.options import FitOptions

SYMMETRIC = ("shared", "activity", "match", "match_z", "cka", "cka_z")
EVERYBODY = np.ones((9, 9), bool)
ALONE = {"factors": 4, "epochs": 2, "permutations": 10}


def row(rows: pl.DataFrame, source: str, target: str) -> dict[str, Any]:
    return rows.row(by_predicate=(pl.col("source") == source) & (pl.col("target") == target), named=True)


def random_kernels(seed: int, size: int = 9) -> tuple[Any, Any]:
    """Symmetric whole numbers with zero diagonals and many ties."""
    raw = np.random.default_rng(seed).integers(0, 4, (2, size, size)).astype(float)
    pair = raw + raw.transpose(0, 2, 1)
    pair[:, range(size), range(size)] = 0
    return pair[0], pair[1]


def moved(events: Interactions, users: Any = None, items: Any = None) -> Interactions:
    """The events with other numbers for users or items."""
    user_idx = events.user_idx if users is None else users[events.user_idx]
    item_idx = events.item_idx if items is None else items[events.item_idx]
    return Interactions.from_events(user_idx, item_idx, events.n_users, events.n_items)


# formulas


def test_kernel_loop_by_loop() -> None:
    events = uneven()["a"]
    users = np.flatnonzero(events.user_counts > 0)[:15]
    x = dense(events)[users]
    share = np.mean([x[u] / x[u].sum() for u in range(15)], axis=0)
    slow = np.zeros((15, 15))
    for u, v in permutations(range(15), 2):
        for i in np.flatnonzero(x[u] * x[v]):
            slow[u, v] += 1 / (x[u].sum() * x[v].sum() * share[i])
    found = kernel(events, users)
    np.testing.assert_allclose(found, slow * STEPS / slow.max(), atol=0.5001)
    assert found.max() == STEPS
    assert np.array_equal(found, np.rint(found))


def test_a_user_meets_the_others_as_often_as_popularity_says() -> None:
    """With their own term, the mean of K over all users is 1 for all users, before rounding."""
    events = uneven()["a"]
    users = np.flatnonzero(events.user_counts > 0)
    a = dense(events)[users] / events.user_counts[users][:, None]
    share = a.mean(axis=0)
    whole = (a[:, share > 0] / share[share > 0]) @ a[:, share > 0].T
    np.testing.assert_allclose(whole.mean(axis=1), 1)
    np.fill_diagonal(whole, 0)
    np.testing.assert_allclose(kernel(events, users) / STEPS, whole / whole.max(), atol=1 / STEPS)


@pytest.mark.parametrize("seed", range(4))
def test_match_pair_by_pair(seed: int) -> None:
    first, second = random_kernels(seed)
    level = np.random.default_rng(seed + 50).integers(0, 3, 9)
    right = pairs = 0.0
    for u, v in combinations(range(9), 2):
        if level[u] != level[v]:
            continue
        pairs += 1
        others = [w for w in range(9) if w not in (u, v)]
        evidence = sum((first[u, w] - first[v, w]) * (second[u, w] - second[v, w]) for w in others)
        right += 1.0 if evidence > 0 else 0.5 if evidence == 0 else 0.0
    assert matched(first, second, level[:, None] == level) == pytest.approx(right / pairs, abs=1e-12)


@given(st.integers(0, 1000))
def test_match_is_one_half_over_all_permutations(seed: int) -> None:
    first, second = random_kernels(seed, 5)
    orders = [np.array(order) for order in permutations(range(5))]
    figures = [matched(first, second[np.ix_(order, order)], EVERYBODY[:5, :5]) for order in orders]
    assert np.mean(figures) == pytest.approx(0.5, abs=1e-12)


@given(st.integers(0, 1000))
def test_match_is_symmetric_and_blind_to_the_order_of_users(seed: int) -> None:
    first, second = random_kernels(seed)
    order = np.random.default_rng(seed).permutation(9)
    turned = [side[np.ix_(order, order)] for side in (first, second)]
    found = matched(first, second, EVERYBODY)
    assert matched(second, first, EVERYBODY) == found
    assert matched(*turned, EVERYBODY) == pytest.approx(found, abs=1e-12)


def test_the_same_table_matches_itself() -> None:
    events = uneven()["a"]
    users = np.flatnonzero(events.user_counts > 0)
    own = kernel(events, users)
    assert matched(own, own, np.ones_like(own, bool)) == 1


def test_without_peers_nothing_is_distinguished() -> None:
    assert matched(*random_kernels(0), np.eye(9, dtype=bool)) == 0.5


def test_permutations_leave_busy_users_busy() -> None:
    level = np.random.default_rng(0).integers(0, 4, 50)
    order = module._among_equals(level, np.random.default_rng(1))
    assert sorted(order) == list(range(50))
    assert np.array_equal(level[order], level)
    assert not np.array_equal(order, np.arange(50))


def test_cka_by_its_kernels() -> None:
    """‖XᵀY‖² is the inner product of the two users' kernels."""
    x, y = (np.random.default_rng(0).normal(size=(30, size)) for size in (4, 6))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    first, second = x @ x.T, y @ y.T
    slow = np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2))
    assert cka(x, y) == pytest.approx(slow)
    assert cka(x, x) == pytest.approx(1)


def test_r2_by_leaving_out_one_user_after_the_other() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(25, 3))
    y = x @ rng.normal(size=(3, 5)) + rng.normal(size=(25, 5))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    ridge = module.RIDGE * np.sum(x**2) / 3
    missed = spread = 0.0
    for u in range(25):
        rest = np.arange(25) != u
        mean_x, mean_y = x[rest].mean(axis=0), y[rest].mean(axis=0)
        near = (x[rest] - mean_x).T @ (x[rest] - mean_x) + ridge * np.eye(3)
        weights = np.linalg.solve(near, (x[rest] - mean_x).T @ (y[rest] - mean_y))
        missed += np.sum((y[u] - mean_y - (x[u] - mean_x) @ weights) ** 2)
        spread += np.sum((y[u] - mean_y) ** 2)
    assert r2(x, y) == pytest.approx(1 - missed / spread)
    assert 0.3 < r2(x, y) < 1


@given(st.integers(0, 1000))
def test_alignment_does_not_depend_on_a_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 20, 4))
    turned = [side @ np.linalg.qr(rng.normal(size=(4, 4)))[0] for side in (x, y)]
    plain = aligned(x.astype(np.float32), y.astype(np.float32), 3, np.random.default_rng(0))
    other = aligned(*(side.astype(np.float32) for side in turned), 3, np.random.default_rng(0))
    assert other == pytest.approx(plain, rel=1e-3, abs=1e-5)


def test_alignment_sees_a_rotated_copy_and_no_strangers() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    copy = (x @ np.linalg.qr(rng.normal(size=(6, 6)))[0]).astype(np.float32)
    same, strangers = aligned(x, copy, 50, rng), aligned(x, copy[rng.permutation(300)], 50, rng)
    assert same.cka == pytest.approx(1, abs=1e-5)
    assert min(same.forward, same.backward) > 0.95
    assert same.cka_z > 10
    assert abs(strangers.cka_z) < 3
    assert max(strangers.forward, strangers.backward) < 0.02


def test_r2_has_a_direction() -> None:
    """Two factors follow from four, but not four from two."""
    rng = np.random.default_rng(4)
    wide = rng.normal(size=(400, 4))
    wide -= wide.mean(axis=0)
    assert r2(wide, wide[:, :2]) > 0.95
    assert r2(wide[:, :2], wide) < 0.6
    found = aligned(wide.astype(np.float32), wide[:, :2].astype(np.float32), 3, rng)
    assert found.forward > found.backward + 0.2


def test_r2_is_of_the_target_from_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "aligned", lambda *_: module.Alignment(0.5, 1.0, forward=0.3, backward=0.1))
    rows = transferability(uneven(), **ALONE).rows
    assert row(rows, "a", "b")["r2"] == 0.3
    assert row(rows, "b", "a")["r2"] == 0.1


def test_factors_that_are_nothing_align_with_nothing() -> None:
    none, some = np.zeros((30, 3)), np.random.default_rng(0).normal(size=(30, 3))
    assert cka(none, some) == r2(none, some) == r2(some, none) == 0


def test_rank_correlation_is_scipys() -> None:
    one, other = np.random.default_rng(0).integers(0, 5, (2, 40))
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert spearman(one, np.ones(40)) == 0


def test_relief_and_prediction_by_hand() -> None:
    """One user with 3 own and 5 more events, one with 0 and 8: ½ - ⅓ and 1 - ⅓."""
    assert relief(np.array([5, 8]), np.array([3, 0])) == pytest.approx((1 / 6 + 2 / 3) / 2)
    assert predicted(0.8, 0.2, 0.5, 0.3) == pytest.approx(0.5 * (0.6 + 0.2) * 0.5 * 0.3)
    assert predicted(0.0, -9.0, 1.0, 1.0) == -1
    assert predicted(None, None, 1.0, 1.0) == 0


# worlds


def test_a_planted_helper_is_found() -> None:
    rows = transferability(planted_transfer().split.train).rows
    helped, useless = row(rows, "dense_0", "sparse"), row(rows, "sparse", "dense_0")
    assert helped["match"] > 0.9
    assert helped["match_z"] > 10
    assert row(rows, "dense_0", "dense_1")["r2"] > 0.9
    best = rows.sort("predicted", descending=True).head(2)
    assert set(best["target"]) == {"sparse"}
    assert useless["predicted"] < 0.05 < helped["predicted"]


@pytest.mark.parametrize("seed", range(3))
def test_independent_domains_with_shared_users_are_strangers(seed: int) -> None:
    """Popular items and busy users in both, taste in neither."""
    rng = np.random.default_rng(seed)
    busy_U, popular_I = rng.lognormal(size=200), rng.lognormal(size=60)
    tables = {}
    for name in ("a", "b"):
        chance_UI = np.minimum(0.08 * busy_U[:, None] * rng.permutation(popular_I), 1)
        tables[name] = Interactions.from_events(*np.nonzero(rng.random((200, 60)) < chance_UI), 200, 60)
    found = row(transferability(of_tables(tables)).rows, "a", "b")
    assert found["activity"] > 0.3
    assert abs(found["match_z"]) < 3
    assert abs(found["match"] - 0.5) < 0.1
    assert abs(found["predicted"]) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_busy_users_with_items_of_their_own_share_no_taste(seed: int) -> None:
    """In both domains casual users take from one half of the items, busy ones from the other."""
    rng = np.random.default_rng(seed)
    size_U = rng.choice([4, 16], 200)
    tables = {}
    for name in ("a", "b"):
        liked = [rng.permutation(40)[:size] + 40 * (size == 16) for size in size_U]
        tables[name] = Interactions.from_events(
            np.repeat(np.arange(200), size_U), np.concatenate(liked), 200, 80
        )
    everybody = np.arange(200)
    kernels = [kernel(table, everybody) for table in tables.values()]
    assert matched(*kernels, np.ones((200, 200), bool)) > 0.7
    match, z = co_preference(tables["a"], tables["b"], everybody, 30, rng)
    assert abs(match - 0.5) < 0.1
    assert abs(z) < 3


def test_colliding_ids_look_like_no_co_preference() -> None:
    train = planted_transfer().split.train
    strangers = np.random.default_rng(2).permutation(train.n_users)
    mixed = train.with_events({**train.domains, "dense_1": moved(train["dense_1"], users=strangers)})
    rows = transferability(mixed).rows
    for pair in (("dense_0", "dense_1"), ("dense_1", "dense_0"), ("dense_1", "sparse")):
        found = row(rows, *pair)
        assert abs(found["match_z"]) < 3
        assert found["r2"] < 0.02
        assert abs(found["predicted"]) < 0.02
    assert row(rows, "dense_0", "sparse")["match"] > 0.9


def test_counts_of_shared_users_and_events() -> None:
    data = uneven()
    rows = transferability(data, **ALONE).rows
    assert rows.select("source", "target").rows() == list(permutations("abc", 2))
    active = {name: data[name].user_counts > 0 for name in data.domain_names}
    for source, target in permutations("abc", 2):
        found, both = row(rows, source, target), active[source] & active[target]
        assert found["shared"] == both.sum()
        assert found["share"] == pytest.approx(both.sum() / active[target].sum())
        assert found["per_user"] == pytest.approx(len(data[target]) / active[target].sum())
        counts = data[source].user_counts[both], data[target].user_counts[both]
        assert found["activity"] == pytest.approx(spearmanr(*counts).statistic)
        assert found["relief"] == pytest.approx(relief(*counts))
        assert found["predicted"] == predicted(found["match"], found["r2"], found["share"], found["relief"])
        mirrored = row(rows, target, source)
        assert all(found[name] == mirrored[name] for name in SYMMETRIC)


def test_too_few_shared_users_say_nothing() -> None:
    data = uneven({"a": (40, 60), "b": (25, 60), "c": (30, 60)})
    few, none = (np.flatnonzero(data["b"].user_counts)[:size] for size in (10, 0))
    tables = {
        name: data["b"].take(np.isin(data["b"].user_idx, kept)) for name, kept in (("b", few), ("c", none))
    }
    rows = transferability(of_tables({"a": data["a"], **tables}), **ALONE).rows
    for pair, shared in ((("a", "b"), 10), (("b", "a"), 10), (("a", "c"), 0), (("c", "b"), 0)):
        found = row(rows, *pair)
        assert found["shared"] == shared
        assert [found[name] for name in ("match", "match_z", "cka", "cka_z", "r2")] == [None] * 5
        assert found["predicted"] == 0
    assert row(rows, "a", "c")["activity"] is None


# what must not matter


@pytest.fixture(scope="module")
def planted() -> MultiDomain:
    return planted_transfer(users=160, items=80, domains=2).split.train


def test_other_numbers_for_the_items_change_nothing(planted: MultiDomain) -> None:
    order = np.random.default_rng(1).permutation(80)
    other = planted.with_events({**planted.domains, "dense_0": moved(planted["dense_0"], items=order)})
    first, second = (row(transferability(data).rows, "dense_0", "sparse") for data in (planted, other))
    for name in ("shared", "share", "activity", "relief", "per_user"):
        assert first[name] == second[name]
    assert first["match"] == pytest.approx(second["match"], abs=1e-3)
    assert first["cka"] == pytest.approx(second["cka"], abs=0.05)  # iALS starts elsewhere


def test_other_numbers_for_the_users_change_nothing(planted: MultiDomain) -> None:
    order = np.random.default_rng(2).permutation(160)
    other = planted.with_events({name: moved(e, users=order) for name, e in planted.domains.items()})
    first, second = (transferability(data).rows for data in (planted, other))
    for name in ("shared", "share", "activity", "relief", "match", "cka", "r2", "predicted"):
        np.testing.assert_allclose(first[name], second[name], atol=1e-4)


def test_the_weights_of_events_do_not_count() -> None:
    data, weighted = uneven(), uneven(weighted=True)
    plain = data.with_events(
        {
            name: Interactions.from_events(e.user_idx, e.item_idx, e.n_users, e.n_items)
            for name, e in weighted.domains.items()
        }
    )
    first, second = (transferability(each, **ALONE).rows for each in (plain, weighted))
    assert first["match"].equals(second["match"])


def test_the_seed_alone_decides(planted: MultiDomain) -> None:
    found = [
        transferability(planted, FitOptions(seed, threads), users=60).rows
        for seed, threads in ((1, 1), (1, 2), (2, 1))
    ]
    assert (
        found[0]
        .drop("cka", "cka_z", "r2", "predicted")
        .equals(found[1].drop("cka", "cka_z", "r2", "predicted"))
    )
    np.testing.assert_allclose(found[0]["predicted"], found[1]["predicted"], rtol=1e-5)
    assert found[0]["match"][0] != found[2]["match"][0]


def test_at_most_so_many_users_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def watched(source: Any, target: Any, users_S: Any, *rest: Any) -> tuple[float, float]:
        sizes.append(len(users_S))
        return co_preference(source, target, users_S, *rest)

    monkeypatch.setattr(module, "co_preference", watched)
    transferability(uneven(), users=25, **ALONE)
    assert max(sizes) == 25


def test_bad_questions_are_sentences() -> None:
    with pytest.raises(DataError, match="there is only 'a'"):
        transferability(uneven().select(["a"]))
    with pytest.raises(SettingsError, match="users must be between 20 and 2048, not 5"):
        transferability(uneven(), users=5)
    with pytest.raises(SettingsError, match="permutations must be 2 or more"):
        transferability(uneven(), permutations=1)
