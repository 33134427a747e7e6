from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from landbridge.core.threads import all_threads
from landbridge.selection.likelihood import RIDGE, Logit, logit
from landbridge.selection.pool import DEPTH, NEVER, Pool

TRUE_M = np.array([1.5, 0.7, 0.0])


def chosen_pool(pairs: int = 3000, entries: int = 20, weight_M: np.ndarray = TRUE_M) -> Pool:
    """Pairs whose items are drawn from their pools with the probabilities of Eq. (1)."""
    rng = np.random.default_rng(7)
    z_TEM = rng.normal(size=(pairs, entries + 1, 3)).astype(np.float32)
    own_T = (z_TEM @ weight_M + rng.gumbel(size=(pairs, entries + 1))).argmax(axis=1)
    own_TM = z_TEM[np.arange(pairs), own_T]
    others = np.ones((pairs, entries + 1), bool)
    others[np.arange(pairs), own_T] = False
    offsets = np.arange(pairs + 1) * entries
    domain_T, group_T = rng.integers(0, 2, pairs), rng.integers(0, 3, pairs)
    return Pool(
        offsets,
        z_TEM[others],
        own_TM,
        domain_T,
        group_T,
        np.arange(pairs),
        ("a", "b"),
        ("x", "y", "z"),
        "ndcg@5",
    )


def log_likelihood(pool: Pool, pair_P: np.ndarray, weight_M: np.ndarray) -> float:
    """Eq. (1), a pair at a time."""
    total = 0.0
    for pair in pair_P:
        z_EM = pool.z_NM[pool.offsets[pair] : pool.offsets[pair + 1]].astype(float)
        scores = np.append(z_EM @ weight_M, pool.own_TM[pair].astype(float) @ weight_M)
        total += scores[-1] - logsumexp(scores)
    return total


def slow_weights(pool: Pool, pair_P: np.ndarray, towards: Logit | None, kappa: float) -> np.ndarray:
    """The maximum of Eq. (2) by a general optimiser without derivatives of ours."""

    def loss(weight_M: np.ndarray) -> float:
        away_M = weight_M - (0 if towards is None else towards.weight_M)
        prior_MM = RIDGE * np.eye(3) + (0 if towards is None else kappa * towards.information_MM)
        return float(away_M @ prior_MM @ away_M / 2 - log_likelihood(pool, pair_P, weight_M))

    found = minimize(loss, np.full(3, 0.5), method="L-BFGS-B", bounds=[(0, None)] * 3, tol=1e-12)
    return np.asarray(found.x)


def test_weights_are_those_of_a_general_optimiser() -> None:
    pool, pairs = chosen_pool(120), np.arange(100)
    whole = logit(pool, pairs)
    np.testing.assert_allclose(whole.weight_M, slow_weights(pool, pairs, None, 0), atol=1e-3)
    part = pairs[:30]
    np.testing.assert_allclose(
        logit(pool, part, whole, 50.0).weight_M, slow_weights(pool, part, whole, 50.0), atol=1e-3
    )


def test_the_weights_behind_the_choices_are_found_again() -> None:
    pool = chosen_pool()
    found = logit(pool, np.arange(len(pool)))
    np.testing.assert_allclose(found.weight_M, TRUE_M, atol=0.1)
    np.testing.assert_allclose(found.shares_M, TRUE_M / TRUE_M.sum(), atol=0.05)


def test_the_information_is_the_second_derivative() -> None:
    pool, pairs, step = chosen_pool(60), np.arange(60), 1e-3
    found = logit(pool, pairs)
    numeric_MM = np.zeros((3, 3))
    for a, e_a in enumerate(np.eye(3) * step):
        for b, e_b in enumerate(np.eye(3) * step):
            corners = [(e_a + e_b, 1), (e_a - e_b, -1), (e_b - e_a, -1), (-e_a - e_b, 1)]
            values = [sign * log_likelihood(pool, pairs, found.weight_M + move) for move, sign in corners]
            numeric_MM[a, b] = -sum(values) / (4 * step**2)
    np.testing.assert_allclose(found.information_MM * len(pairs), numeric_MM, rtol=0.01, atol=0.05)


def test_much_kappa_keeps_the_weights_of_all_pairs_and_none_forgets_them() -> None:
    pool = chosen_pool(200)
    whole, part = logit(pool, np.arange(200)), np.arange(20)
    np.testing.assert_allclose(logit(pool, part, whole, 1e9).weight_M, whole.weight_M, atol=1e-4)
    alone_M = slow_weights(pool, part, None, 0)
    assert np.abs(logit(pool, part, whole, 1e-9).weight_M - alone_M).max() < 0.02


def test_copies_of_a_member_share_its_weight() -> None:
    pool = chosen_pool(400)
    twice = replace(
        pool,
        z_NM=pool.z_NM[:, [0, 0, 1]].copy(),
        own_TM=pool.own_TM[:, [0, 0, 1]].copy(),
        labels=("x", "w", "y"),
    )
    plain, doubled = (logit(each, np.arange(400)).weight_M for each in (pool, twice))
    assert doubled[:2].sum() == pytest.approx(plain[0], abs=0.05)


def test_a_member_that_is_wrong_has_no_weight() -> None:
    pool = chosen_pool(400, weight_M=np.array([1.5, -1.0, 0.0]))
    assert logit(pool, np.arange(400)).weight_M[1] == 0


@pytest.mark.parametrize("pairs", [0, 1])
def test_few_pairs_or_none_have_weights_that_add_up_to_one(pairs: int) -> None:
    found = logit(chosen_pool(10), np.arange(pairs))
    assert found.shares_M.sum() == pytest.approx(1)
    assert np.isfinite(found.information_MM).all()


def test_no_bit_depends_on_the_threads() -> None:
    pool, found = chosen_pool(300), []
    for threads in (1, 2):
        with all_threads(threads):
            found.append(logit(pool, np.arange(300)).weight_M)
    assert np.array_equal(*found)


def test_a_pair_is_within_reach_where_some_member_has_its_item_among_the_best() -> None:
    entries = 2 * DEPTH
    z_NM = np.tile(np.arange(entries, dtype=np.float32)[:, None], (4, 3))
    z_NM[:5] = NEVER  # of the first pair: what no list holds
    own_TM = np.float32(
        [[0, 0, entries], [entries - DEPTH + 0.5, 0, 0], [entries - DEPTH - 0.5, 0, 0], [2 * NEVER] * 3]
    )
    number = np.arange(4)
    offsets = np.arange(5) * entries
    pool = Pool(offsets, z_NM, own_TM, number * 0, number * 0, number, ("a",), ("x", "y", "z"), "ndcg@10")
    reached = pool.reached()
    assert reached.user_T.tolist() == [0, 1]
    assert np.diff(reached.offsets).tolist() == [entries - 5, entries]
    assert np.array_equal(reached.z_NM, z_NM[5 : 2 * entries])
    assert np.array_equal(reached.own_TM, own_TM[:2])
