"""Splits by hand: which rows are held out, and what is refused."""

import numpy as np
import pytest

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.data.splitting.splits import (
    cold_users,
    leave_last_out,
    leave_latest_out,
    leave_one_out,
    temporal,
    with_candidates,
)
from landbridge.data.vocabulary import Vocabulary


def world(events: dict[str, list[tuple[int, int, int]]], timed: bool = True) -> MultiDomain:
    """Domains of (user, item, time) rows over ten users and ten items."""
    tables = {}
    for name, rows in events.items():
        users, items, times = np.array(rows).T
        tables[name] = Interactions.from_events(users, items, 10, 10, None, times if timed else None)
    ten = Vocabulary.of(np.arange(10))
    return MultiDomain(ten, dict.fromkeys(tables, ten), tables)


def pairs(split: Split, part: str, name: str) -> list[tuple[int, int]]:
    targets = getattr(split, part).targets[name]
    return list(zip(targets.user_idx.tolist(), targets.item_idx.tolist(), strict=True))


SMALL = world({"a": [(0, 5, 30), (0, 1, 10), (0, 3, 20), (1, 2, 7), (1, 4, 6), (2, 9, 1)], "b": [(0, 0, 1)]})


def test_last_takes_the_latest_and_the_one_before() -> None:
    split = leave_last_out(SMALL, future="keep")
    assert pairs(split, "test", "a") == [(0, 5), (1, 2), (2, 9)]
    assert pairs(split, "valid", "a") == [(0, 3), (1, 4)]
    assert pairs(split, "test", "b") == [(0, 0)]
    assert split.train["a"].item_idx.tolist() == [1]
    assert split.test.history["a"].user_counts[:3].tolist() == [2, 1, 0]


def test_min_events_spares_users_with_fewer() -> None:
    split = leave_last_out(SMALL, future="keep", min_events=2)
    assert pairs(split, "test", "a") == [(0, 5), (1, 2)]
    assert pairs(split, "valid", "a") == [(0, 3)]
    assert pairs(split, "test", "b") == []


def test_latest_takes_one_event_per_user_over_all_domains() -> None:
    data = world(
        {
            "a": [(0, 5, 30), (0, 1, 10), (1, 2, 7), (1, 4, 6), (2, 9, 1), (2, 8, 2)],
            "b": [(0, 0, 20), (1, 3, 8), (2, 7, 3), (3, 1, 1), (3, 2, 2)],
            "c": [(1, 6, 9), (1, 7, 1)],
        }
    )
    split = leave_latest_out(data)
    assert {name: pairs(split, "test", name) for name in "abc"} == {
        "a": [(0, 5)],
        "b": [(2, 7)],
        "c": [(1, 6)],
    }
    assert {name: pairs(split, "valid", name) for name in "abc"} == {
        "a": [(2, 8)],
        "b": [(0, 0), (1, 3)],
        "c": [],
    }
    assert split.train["b"].user_idx.tolist() == [3, 3]  # two events in all are too few
    with_two = leave_latest_out(data, min_events=2)
    assert pairs(with_two, "test", "b") == [(2, 7), (3, 2)]
    assert pairs(with_two, "valid", "b") == [(0, 0), (1, 3), (3, 1)]


def test_latest_by_going_through_all_users() -> None:
    rng = np.random.default_rng(8)
    rows = {
        name: [(int(u), int(i), int(rng.integers(10**9))) for u, i in np.argwhere(rng.random((10, 10)) < 0.2)]
        for name in "abc"
    }
    split = leave_latest_out(world(rows))
    for user in range(10):
        mine = sorted((t, name, i) for name, own in rows.items() for u, i, t in own if u == user)
        found = [
            [(name, item) for name in "abc" for u, item in pairs(split, part, name) if u == user]
            for part in ("valid", "test")
        ]
        latest = [[(name, item)] for _, name, item in mine[-2:]] if len(mine) >= 3 else [[], []]
        assert found == latest


def test_latest_takes_tied_events_equally_often() -> None:
    data = world({"a": [(0, item, 4) for item in range(3)], "b": [(0, item, 4) for item in range(2)]})
    held = np.zeros(5, int)
    for seed in range(600):
        split = leave_latest_out(data, seed=seed)
        for first, name in ((0, "a"), (3, "b")):
            for _, item in pairs(split, "test", name):
                held[first + item] += 1
    assert held.sum() == 600
    assert np.abs(held - 120).max() < 40  # 4 standard deviations
    again = leave_latest_out(data, seed=3), leave_latest_out(data, seed=3)
    assert again[0].train.fingerprint == again[1].train.fingerprint


def test_latest_without_a_user_is_an_error() -> None:
    with pytest.raises(DataError, match="leaves no validation rows: give more events"):
        leave_latest_out(SMALL, min_events=5)


def test_a_split_ranked_across_is_another_one() -> None:
    split = leave_last_out(SMALL)
    across = split.across()
    for part, same in ((across.valid, split.valid), (across.test, split.test)):
        assert (same.protocol, part.protocol) == ("full", "across")
        assert part.targets is same.targets
        assert part.history is same.history
        assert part.fingerprint != same.fingerprint
        assert part.select(["a"]).across
    assert across.train is split.train


def test_candidates_are_not_ranked_across() -> None:
    split = leave_last_out(world({name: [(u, i, i) for u in range(5) for i in range(u, 8)] for name in "ab"}))
    for both in (lambda: with_candidates(split, 1).across(), lambda: with_candidates(split.across(), 1)):
        with pytest.raises(
            SettingsError, match="takes no sampled candidates: leave out candidates or across"
        ):
            both()


def test_random_order_takes_every_event_equally_often() -> None:
    data = world({"a": [(0, item, 0) for item in range(5)]})
    held = [pairs(leave_one_out(data, seed=seed), "test", "a")[0][1] for seed in range(600)]
    assert np.abs(np.bincount(held, minlength=5)[:5] - 120).max() < 40  # 4 standard deviations
    tied = [pairs(leave_last_out(data, seed=seed), "test", "a")[0][1] for seed in range(600)]
    assert np.abs(np.bincount(tied, minlength=5)[:5] - 120).max() < 40
    again = leave_one_out(data, seed=3), leave_one_out(data, seed=3)
    assert again[0].train.fingerprint == again[1].train.fingerprint


def test_one_domain_more_changes_no_other_domain_s_rows() -> None:
    data = world({name: [(u, i, 0) for u in range(5) for i in range(6)] for name in "ab"})
    both, alone = leave_one_out(data, seed=1), leave_one_out(data.select(["b"]), seed=1)
    assert pairs(both, "test", "b") == pairs(alone, "test", "b")
    assert pairs(both, "test", "a") != pairs(both, "test", "b")


def test_temporal_cuts_all_domains_at_one_time() -> None:
    data = world({"a": [(0, t, t) for t in range(8)], "b": [(1, t - 6, t) for t in range(8, 12)]})
    split = temporal(data, valid=0.25, test=0.25)
    assert split.train.n_events == 6
    assert pairs(split, "valid", "a") == [(0, 6), (0, 7)]
    assert pairs(split, "valid", "b") == [(1, 2)]
    assert pairs(split, "test", "a") == []
    assert [item for _, item in pairs(split, "test", "b")] == [3, 4, 5]


def test_cold_users_keep_their_earliest_events() -> None:
    rows = [(u, i, 100 - i) for u in range(10) for i in range(6)]
    split = cold_users(world({"a": rows, "b": rows}), keep=3, share=0.1)
    for name in "ab":
        for part in ("valid", "test"):
            held = pairs(split, part, name)
            assert len(held) == 3
            assert {item for _, item in held} == {0, 1, 2}  # the latest three


def test_cold_users_without_time_keep_random_events() -> None:
    rows = [(u, i, 0) for u in range(10) for i in range(6)]
    split = cold_users(world({"a": rows, "b": rows}, timed=False), keep=3, share=0.4)
    assert len({item for name in "ab" for _, item in pairs(split, "test", name)}) > 3


def test_cold_users_leave_users_of_one_domain_alone() -> None:
    rows = [(u, i, i) for u in range(10) for i in range(3)]
    data = world({"a": rows, "b": rows[:15]})  # users 5..9 only in a
    split = cold_users(data, share=0.5)
    chosen = {u for part in ("valid", "test") for name in "ab" for u, _ in pairs(split, part, name)}
    assert chosen
    assert max(chosen) < 5


def test_impossible_requests_are_refused() -> None:
    untimed = world({"a": [(0, 1, 0), (0, 2, 0)]}, timed=False)
    for by_time in (leave_last_out, leave_latest_out, temporal):
        with pytest.raises(DataError, match="'a' has no time stamps"):
            by_time(untimed)
    with pytest.raises(SettingsError, match="did you mean 'last'"):
        leave_one_out(SMALL, order="lst")
    with pytest.raises(SettingsError, match="min_events"):
        leave_one_out(SMALL, min_events=0)
    with pytest.raises(SettingsError, match="min_events"):
        leave_latest_out(SMALL, min_events=0)
    with pytest.raises(SettingsError, match="together below 1"):
        temporal(SMALL, valid=0.5, test=0.5)
    with pytest.raises(DataError, match="too alike"):
        temporal(world({"a": [(0, i, 5) for i in range(9)]}))
    with pytest.raises(SettingsError, match="keep"):
        cold_users(SMALL, keep=-1)
    with pytest.raises(SettingsError, match="share"):
        cold_users(SMALL, share=0.6)
    with pytest.raises(DataError, match="no validation rows"):
        cold_users(SMALL)


def test_a_validation_has_so_many_pairs_however_many_users_there_are() -> None:
    n_users, n_items = 12_000, 3
    items = {"a": Vocabulary.of(range(n_items)), "b": Vocabulary.of(range(n_items))}
    user_N = np.arange(n_users)
    tables = {name: Interactions.from_events(user_N, user_N % 3, n_users, n_items) for name in items}
    data = MultiDomain(Vocabulary.of(range(n_users)), items, tables)
    targets = {
        "a": Targets(user_N.astype(np.int32), (user_N % 3).astype(np.int32)),
        "b": Targets(user_N[:300].astype(np.int32), (user_N[:300] % 3).astype(np.int32)),
    }
    some = Holdout(data, targets).to_validate(seed=1)
    assert {name: len(each) for name, each in some.targets.items()} == {"a": 5000, "b": 300}
    again, other = (Holdout(data, targets).to_validate(seed).targets["a"] for seed in (1, 2))
    assert np.array_equal(some.targets["a"].user_idx, again.user_idx)
    assert not np.array_equal(again.user_idx, other.user_idx)
