"""Estimates of what a policy would earn, where the truth is known because the world is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.off_policy import (
    ASSUMED,
    Estimate,
    Logged,
    Softmax,
    TopK,
    ips,
    popularity_logger,
    replay,
    snips,
    target_probabilities,
)

from .worlds import GivenScores, held_out, many, model

USERS, ITEMS = 30, 12


class World:
    """Logging policy p, evaluated policy π and mean rewards, all (U, I); known items are never shown."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        known_UI = rng.random((USERS, ITEMS)) < 0.2
        self.fitted: GivenScores = model(
            many(USERS, {"shop": ITEMS}, {"shop": [tuple(pair) for pair in np.argwhere(known_UI)]}),
            {"shop": rng.normal(size=(USERS, ITEMS))},
        )
        self.known_UI = known_UI
        self.pi_UI = softmax(self.fitted.scores["shop"], known_UI, 0.5)
        self.p_UI = softmax(rng.normal(size=(USERS, ITEMS)), known_UI, 1.5)
        self.mean_UI = rng.random((USERS, ITEMS))
        self.truth = float((self.pi_UI * self.mean_UI).sum(axis=1).mean())

    def log(self, rng: np.random.Generator, events: int = 400, shift: float = 0.0) -> Logged:
        user = rng.integers(0, USERS, events)
        item = (self.p_UI[user].cumsum(axis=1) < rng.random((events, 1))).sum(axis=1).clip(max=ITEMS - 1)
        reward = (rng.random(events) < self.mean_UI[user, item]) + shift
        return Logged("shop", user.astype(np.int32), item.astype(np.int32), self.p_UI[user, item], reward)

    def chance(self, logged: Logged) -> Any:
        return self.pi_UI[logged.user_idx, logged.item_idx]


def softmax(scores_UI: Any, known_UI: Any, temperature: float) -> Any:
    mass_UI = np.where(known_UI, 0, np.exp(np.asarray(scores_UI, float) / temperature))
    return mass_UI / mass_UI.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def repeated(world: World, kind: Callable[..., Estimate], times: int, shift: float = 0.0, **more: Any) -> Any:
    rng, found = np.random.default_rng(7), []
    for _ in range(times):
        logged = world.log(rng, shift=shift)
        found.append(kind(logged, world.chance(logged), **{"draws": 1, **more}))
    return found


@pytest.mark.parametrize("kind", [ips, snips])
def test_the_expectation_is_the_truth(world: World, kind: Callable[..., Estimate]) -> None:
    values = np.array([each.value for each in repeated(world, kind, 600)])
    allowed = 4 * values.std() / np.sqrt(len(values)) + (0.01 if kind is snips else 0)  # ratios lean a little
    assert values.mean() == pytest.approx(world.truth, abs=allowed)
    assert abs(values.mean() - world.mean_UI.mean()) > 3 * allowed or kind is snips


def test_without_weights_the_log_evaluates_its_own_policy(world: World) -> None:
    """What the correction is for: the mean reward of the log is not what the policy would earn."""
    logged = world.log(np.random.default_rng(1), 20_000)
    assert abs(logged.reward.mean() - world.truth) > 0.03
    assert abs(ips(logged, world.chance(logged)).value - world.truth) < 0.03


def test_self_normalising_lowers_the_variance(world: World) -> None:
    """Where all rewards share a constant, the sum of the weights carries most of the noise of IPS."""
    plain, own = (
        np.std([each.value for each in repeated(world, kind, 200, shift=1)]) for kind in (ips, snips)
    )
    assert own < 0.5 * plain


def test_intervals_cover_the_truth(world: World) -> None:
    found = repeated(world, ips, 200, draws=300)
    held = np.mean([each.low <= world.truth <= each.high for each in found])
    assert 0.88 <= held <= 1
    assert all(each.low <= each.value <= each.high for each in found)


def test_by_hand() -> None:
    """Weights 2, 1/2, 0 and rewards 1, 2, 5 of three users."""
    logged = log_of([(0, 1, 0.25, 1.0), (1, 0, 0.5, 2.0), (2, 1, 1.0, 5.0)])
    chance = np.array([0.5, 0.25, 0.0])
    assert ips(logged, chance).value == pytest.approx((2 + 1) / 3)
    assert snips(logged, chance).value == pytest.approx((2 + 1) / 2.5)
    assert replay(logged, chance).value == pytest.approx((0.5 + 0.5) / 0.75)
    assert ips(logged, chance).effective == pytest.approx(2.5**2 / 4.25)
    assert ips(logged, chance, clip=1).value == pytest.approx((1 + 1) / 3)
    assert snips(logged, chance, clip=1).value == pytest.approx((1 + 1) / 1.5)
    assert ips(logged, chance, clip=1).effective == pytest.approx(1.5**2 / 1.25)


def log_of(rows: list[tuple[int, int, float, float]]) -> Logged:
    user, item, propensity, reward = np.array(rows).T
    return Logged("shop", user.astype(np.int32), item.astype(np.int32), propensity, reward)


@given(seed=st.integers(0, 200), temperature=st.sampled_from([0.01, 0.5, 3.0]))
def test_softmax_by_going_through_all_items(seed: int, temperature: float) -> None:
    world = World(seed)
    every = np.argwhere(np.ones((USERS, ITEMS), bool)).astype(np.int32)
    ones = np.ones(len(every))
    logged = Logged("shop", every[:, 0], every[:, 1], ones, ones)
    found = target_probabilities(world.fitted, logged, Softmax(temperature), threads=1)
    expected = softmax(world.fitted.scores["shop"] - 3, world.known_UI, temperature).ravel()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-30)
    assert found.reshape(USERS, ITEMS).sum(axis=1) == pytest.approx(np.ones(USERS))


@pytest.mark.parametrize("k", [1, 3, 50])
def test_the_k_best_alike(world: World, k: int) -> None:
    order = np.random.default_rng(2).permutation(USERS * ITEMS)
    every = np.argwhere(np.ones((USERS, ITEMS), bool))[order].astype(np.int32)
    ones = np.ones(len(every))
    found = target_probabilities(
        world.fitted, Logged("shop", every[:, 0], every[:, 1], ones, ones), TopK(k), block=7
    )
    for (user, item), chance in zip(every.tolist(), found, strict=True):
        unseen = [i for i in range(ITEMS) if not world.known_UI[user, i]]
        best = sorted(unseen, key=lambda i: -world.fitted.scores["shop"][user, i])[:k]
        assert chance == pytest.approx(1 / len(best) if item in best else 0)


def test_a_user_who_knows_everything_is_shown_nothing() -> None:
    history = many(2, {"shop": 2}, {"shop": [(0, 0), (0, 1)]})
    logged = log_of([(0, 0, 0.5, 1.0), (1, 0, 0.5, 1.0)])
    for policy in (Softmax(), TopK(1)):
        found = target_probabilities(model(history, {"shop": [[1, 1], [1e9, 0]]}), logged, policy)
        assert found.tolist() == [0, 1]


def test_replay_is_the_mean_reward_of_what_matches(world: World) -> None:
    logged = world.log(np.random.default_rng(5), 500)
    chance = target_probabilities(world.fitted, logged, TopK(1))
    best_U = np.where(world.known_UI, -np.inf, world.fitted.scores["shop"]).argmax(axis=1)
    matches = best_U[logged.user_idx] == logged.item_idx
    assert 10 < matches.sum() < 490
    told = replay(logged, chance)
    assert told.value == pytest.approx(logged.reward[matches].mean())
    assert told.low < told.value < told.high
    assert told.effective == pytest.approx(matches.sum())


def test_replay_of_a_uniform_logger_is_snips() -> None:
    rows = [(user, item, 0.25, float(user * item)) for user in range(3) for item in range(4)]
    chance = np.random.default_rng(0).random(12)
    assert replay(log_of(rows), chance).value == pytest.approx(snips(log_of(rows), chance).value)


def test_users_are_drawn_with_all_their_events() -> None:
    """Ten events of each of twenty users, alike within a user, are no two hundred users."""
    rng = np.random.default_rng(3)
    value_U = rng.random(20)
    one = log_of([(user, 0, 1.0, value_U[user]) for user in range(20)])
    ten = log_of([(user, 0, 1.0, value_U[user]) for user in range(20) for _ in range(10)])
    a, b = ips(one, np.ones(20)), ips(ten, np.ones(200))
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    assert (a.events, b.events, b.effective) == (20, 200, pytest.approx(200))


def test_the_same_seed_the_same_interval(world: World) -> None:
    logged = world.log(np.random.default_rng(1))
    first, again, other = (snips(logged, world.chance(logged), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.001, np.nan, np.inf])
def test_propensities_that_are_none_are_refused(propensity: float) -> None:
    with pytest.raises(DataError, match="1 propensities are not above 0 and at most 1, the first of event 1"):
        log_of([(0, 0, 1.0, 0.0), (1, 0, propensity, 0.0)])


def test_what_else_is_refused(world: World) -> None:
    logged = world.log(np.random.default_rng(1), 20)
    chance = world.chance(logged)
    with pytest.raises(DataError, match="not a finite number"):
        log_of([(0, 0, 1.0, np.nan)])
    with pytest.raises(DataError, match="one event or more"):
        Logged("shop", *(np.empty(0, kind) for kind in (np.int32, np.int32, float, float)))
    with pytest.raises(DataError, match="one user, item, propensity and reward per event"):
        Logged("shop", logged.user_idx, logged.item_idx, logged.propensity[1:], logged.reward)
    with pytest.raises(DataError, match="20 events and 19"):
        ips(logged, chance[1:])
    for wrong in (chance + 1, chance * np.nan, -chance):
        with pytest.raises(DataError, match="Target probabilities must lie"):
            replay(logged, wrong)
    for kind in (ips, snips, replay):
        with pytest.raises(DataError, match="shown none of the logged items"):
            kind(logged, np.zeros(20))
    for setting in (lambda: Softmax(0), lambda: Softmax(-1), lambda: ips(logged, chance, clip=0)):
        with pytest.raises(SettingsError, match="must be above 0"):
            setting()
    with pytest.raises(SettingsError, match="k must be 1 or more, not 0"):
        target_probabilities(world.fitted, logged, TopK(0))


def test_ids_that_the_model_does_not_have_are_refused(world: World) -> None:
    for row, what in (
        ((USERS, 0, 1.0, 1.0), "user"),
        ((0, ITEMS, 1.0, 1.0), "item"),
        ((0, -1, 1.0, 1.0), "item"),
    ):
        with pytest.raises(DataError, match=f"A logged {what} lies outside"):
            target_probabilities(world.fitted, log_of([row]), TopK(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("policy", [Softmax(), TopK(1)])
def test_scores_that_are_no_numbers_are_refused(bad: float, policy: Any) -> None:
    if bad == np.inf and policy == TopK(1):
        return
    history = many(1, {"shop": 2}, {"shop": []})
    with pytest.raises(DataError, match="not a number"):
        target_probabilities(model(history, {"shop": [[bad, 0]]}), log_of([(0, 1, 0.5, 1.0)]), policy)


def test_popularity_as_a_logger(world: World) -> None:
    history = world.fitted.history
    targets = held_out(
        [(user, item) for user, item in np.argwhere(~world.known_UI)[::5].tolist()] + [seen_by(world)]
    )
    logged = popularity_logger(Holdout(history, {"shop": targets}), "shop")
    mass_I = history["shop"].item_counts + 1
    for user, item, propensity in zip(logged.user_idx, logged.item_idx, logged.propensity, strict=True):
        pool = [i for i in range(ITEMS) if not world.known_UI[user, i] or i == item]
        assert propensity == pytest.approx(mass_I[item] / mass_I[pool].sum())
    assert (logged.reward == 1).all()


def seen_by(world: World) -> tuple[int, int]:
    """A pair that is known as well, as some published splits have them."""
    user, item = np.argwhere(world.known_UI)[0].tolist()
    return user, item


def test_popularity_earns_what_popularity_earned(world: World) -> None:
    """A policy that shows what the assumed logger showed has weights of one."""
    history = world.fitted.history
    targets = held_out(np.argwhere(~world.known_UI)[::3].tolist())
    logged = popularity_logger(Holdout(history, {"shop": targets}), "shop")
    scores = np.tile(np.log(history["shop"].item_counts + 1.0), (USERS, 1))
    told = ips(logged, target_probabilities(model(history, {"shop": scores}), logged, Softmax()))
    assert (told.value, told.low, told.high) == pytest.approx((1, 1, 1))
    assert told.effective == pytest.approx(len(targets))


def test_of_takings_alone_ips_is_relative(world: World) -> None:
    """Only what was taken is kept, with reward 1: the figure is π's earnings over the logger's."""
    logged = world.log(np.random.default_rng(9), 60_000)
    kept = logged.reward > 0
    columns = (
        column[kept] for column in (logged.user_idx, logged.item_idx, logged.propensity, logged.reward)
    )
    takings = Logged("shop", *columns)
    told = ips(takings, world.chance(takings))
    ratio = world.truth / (world.p_UI * world.mean_UI).sum(axis=1).mean()
    assert abs(ratio - 1) > 0.05
    assert told.value == pytest.approx(ratio, abs=0.03)


def test_what_was_assumed_is_reported(world: World) -> None:
    holdout = Holdout(world.fitted.history, {"shop": held_out(np.argwhere(~world.known_UI)[:4].tolist())})
    for reward, ending in ((None, "snips and replay say nothing"), ([0, 1, 1, 0], "events plus one")):
        logged = popularity_logger(holdout, "shop", reward)
        text = str(ips(logged, np.full(4, 0.5)))
        assert text.startswith("ips ")
        assert "from 4 events worth " in text
        assert "assumed, and false to an unknown degree" in text
        assert ASSUMED in text
        assert text.endswith(ending)
    assert (
        str(ips(log_of([(0, 0, 1.0, 1.0)]), np.ones(1)))
        == "ips 1.0000 [1.0000, 1.0000] from 1 events worth 1"
    )
