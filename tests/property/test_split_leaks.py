"""Nothing leaks: in every split, known and held-out rows are disjoint and together are the data."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import (
    cold_users,
    leave_last_out,
    leave_latest_out,
    leave_one_out,
    temporal,
)
from landbridge.data.vocabulary import Vocabulary

Pair = tuple[str, int, int]

SPLITS: dict[str, Callable[[MultiDomain, int], Split]] = {
    "random": lambda data, seed: leave_one_out(data, seed=seed),
    "last, keep": lambda data, seed: leave_last_out(data, future="keep", seed=seed, min_events=2),
    "latest": lambda data, seed: leave_latest_out(data, seed=seed),
    "temporal": lambda data, seed: temporal(data, valid=0.2, test=0.2),
    "cold 0": lambda data, seed: cold_users(data, share=0.3, seed=seed),
    "cold 1": lambda data, seed: cold_users(data, keep=1, share=0.5, seed=seed),
}


@st.composite
def worlds(draw: st.DrawFn) -> MultiDomain:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    users, items, names = draw(st.integers(8, 25)), draw(st.integers(2, 12)), "abc"[: draw(st.integers(2, 3))]
    domains = {}
    for name in names:
        u, i = np.nonzero(rng.random((users, items)) < draw(st.floats(0.1, 0.8)))
        times = rng.integers(0, draw(st.sampled_from([5, 10**6])), len(u))
        domains[name] = Interactions.from_events(u, i, users, items, rng.random(len(u)) + 0.1, times)
    items_of = {name: Vocabulary.of(np.arange(items)) for name in names}
    return MultiDomain(Vocabulary.of(np.arange(users)), items_of, domains)


def known_pairs(data: MultiDomain) -> set[Pair]:
    return {
        (name, user, item)
        for name, events in data.domains.items()
        for user, item in zip(events.user_idx.tolist(), events.item_idx.tolist(), strict=True)
    }


def target_pairs(holdout: Holdout) -> list[Pair]:
    return [
        (name, user, item)
        for name, targets in holdout.targets.items()
        for user, item in zip(targets.user_idx.tolist(), targets.item_idx.tolist(), strict=True)
    ]


@pytest.mark.parametrize("kind", SPLITS)
@given(data=worlds(), seed=st.integers(0, 99))
def test_nothing_leaks_and_nothing_is_lost(kind: str, data: MultiDomain, seed: int) -> None:
    try:
        split = SPLITS[kind](data, seed)
    except DataError:
        assume(False)
    everything, train = known_pairs(data), known_pairs(split.train)
    valid, test = target_pairs(split.valid), target_pairs(split.test)
    assert len(valid) == len(set(valid))
    assert len(test) == len(set(test))
    assert not train & set(valid)
    assert not known_pairs(split.test.history) & set(test)
    assert not set(valid) & set(test)
    assert train | set(valid) == known_pairs(split.test.history)
    assert train | set(valid) | set(test) == everything
    assert split.train.items == data.items
    for holdout in (split.valid, split.test):
        assert list(holdout.targets) == list(data.domain_names)
        for targets in holdout.targets.values():
            assert (np.diff(targets.user_idx) >= 0).all()


@given(data=worlds(), seed=st.integers(0, 99), keep=st.sampled_from([0, 1, 3]))
def test_cold_users_are_cold_in_one_domain_only(data: MultiDomain, seed: int, keep: int) -> None:
    try:
        split = cold_users(data, keep=keep, share=0.4, seed=seed)
    except DataError:
        assume(False)
    chosen = [
        (name, user)
        for holdout in (split.valid, split.test)
        for name, targets in holdout.targets.items()
        for user in np.unique(targets.user_idx).tolist()
    ]
    assert len({user for _, user in chosen}) == len(chosen)
    for name, user in chosen:
        column = data.domain_names.index(name)
        left, full = split.train.activity_UD[user], data.activity_UD[user]
        assert left[column] == keep
        assert np.array_equal(np.delete(left, column), np.delete(full, column))
        assert data.shared_U[user]


@given(data=worlds(), seed=st.integers(0, 99), fewest=st.integers(1, 6))
def test_nothing_of_a_user_is_later_than_their_latest(data: MultiDomain, seed: int, fewest: int) -> None:
    """Every user with enough events has one test and one validation row in all, of the greatest times."""
    try:
        split = leave_latest_out(data, seed=seed, min_events=fewest)
    except DataError:
        assume(False)
    times = times_of(data)
    events_U = data.activity_UD.sum(axis=1)
    for holdout, least in ((split.test, 1), (split.valid, 2)):
        users = sorted(user for _, user, _ in target_pairs(holdout))
        assert users == np.flatnonzero(events_U >= max(fewest, least)).tolist()
        for name, user, item in target_pairs(holdout):
            mine = [time for (other, who, what), time in times.items() if who == user]
            assert times[name, user, item] == sorted(mine)[-least]


@given(data=worlds(), seed=st.integers(0, 99), fewest=st.integers(1, 4))
def test_nothing_known_of_a_user_is_later_than_any_of_their_targets(
    data: MultiDomain, seed: int, fewest: int
) -> None:
    try:
        split = leave_last_out(data, seed=seed, min_events=fewest)
    except DataError:
        assume(False)
    times = times_of(data)
    for holdout in (split.valid, split.test):
        known, targets = known_pairs(holdout.history), target_pairs(holdout)
        assert not known & set(targets)
        for name, user, item in targets:
            mine = [times[pair] for pair in known if pair[1] == user]
            assert max(mine, default=-1) <= times[name, user, item]
    assert known_pairs(split.train) | set(target_pairs(split.valid)) <= known_pairs(split.test.history)
    test = split.test
    assert test.left_out is not None
    left = data.n_events - test.history.n_events - len(target_pairs(test))
    assert test.left_out.events == left


def times_of(data: MultiDomain) -> dict[Pair, int]:
    return {
        (name, user, item): time
        for name, events in data.domains.items()
        for user, item, time in zip(
            events.user_idx.tolist(),
            events.item_idx.tolist(),
            events.time.tolist(),
            strict=True,
        )
    }
