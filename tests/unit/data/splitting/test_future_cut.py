"""Splits without knowledge of the future, by hand and beside a slow twin that tries every cut."""

from collections import defaultdict

import numpy as np
import pytest

import landbridge as lb
from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.splitting.splits import leave_last_out, with_candidates
from landbridge.data.vocabulary import Vocabulary

Event = tuple[int, int, int]  # user, item, time
Pair = tuple[str, int, int]  # domain, user, item


def world(events: dict[str, list[Event]], users: int = 30, items: int = 40) -> MultiDomain:
    tables = {}
    for name, rows in events.items():
        user_N, item_N, time_N = np.array(rows).reshape(-1, 3).T
        tables[name] = Interactions.from_events(user_N, item_N, users, items, None, time_N)
    ids = Vocabulary.of(np.arange(items))
    return MultiDomain(Vocabulary.of(np.arange(users)), dict.fromkeys(tables, ids), tables)


def known(holdout: Holdout) -> set[Pair]:
    return {
        (name, user, item)
        for name, events in holdout.history.domains.items()
        for user, item in zip(events.user_idx.tolist(), events.item_idx.tolist(), strict=True)
    }


def held(holdout: Holdout) -> set[Pair]:
    return {
        (name, user, item)
        for name, targets in holdout.targets.items()
        for user, item in zip(targets.user_idx.tolist(), targets.item_idx.tolist(), strict=True)
    }


def test_the_cut_is_at_the_earlier_of_two_last_events() -> None:
    data = world({"a": [(0, 0, 1), (0, 1, 5)], "b": [(0, 0, 2), (0, 1, 6), (0, 2, 9)]})
    test = leave_last_out(data).test
    assert held(test) == {("a", 0, 1), ("b", 0, 2)}
    assert known(test) == {("a", 0, 0), ("b", 0, 0)}  # b's event at 6 is later than a's target
    assert str(test.left_out) == (
        "1 events later than a held-out one of the same user are left out; "
        "0 last events of a user and domain are no test rows for that."
    )


def test_a_last_event_that_would_cost_another_is_known_instead() -> None:
    """With the cut at a's last event nothing of b would be known: of two cuts with one target, the later."""
    data = world({"a": [(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 2)], "b": [(0, 0, 5), (0, 1, 6)]})
    test = leave_last_out(data).test
    assert held(test) == {("b", 0, 1), ("a", 1, 1)}
    assert {("a", 0, 0), ("a", 0, 1), ("b", 0, 0)} <= known(test)
    assert test.left_out is not None
    assert (test.left_out.events, test.left_out.targets) == (0, 1)


def test_validation_knows_nothing_later_than_its_own_targets() -> None:
    data = world({"a": [(0, i, 10 * i) for i in range(6)], "b": [(0, i, 10 * i + 25) for i in range(6)]})
    split = leave_last_out(data)
    assert held(split.test) == {("a", 0, 5), ("b", 0, 5)}
    assert held(split.valid) == {("a", 0, 4), ("b", 0, 2)}
    assert known(split.valid) == {("a", 0, i) for i in range(4)} | {("b", 0, i) for i in range(2)}


def test_the_only_event_of_a_user_is_still_a_target() -> None:
    data = world({"a": [(0, 3, 5), (1, 0, 1), (1, 1, 2), (1, 2, 3)], "b": [(1, 0, 4)]})
    assert ("a", 0, 3) in held(leave_last_out(data).test)


def test_keep_is_the_former_split() -> None:
    data = random_world(3)
    kept, former = leave_last_out(data, future="keep", seed=4), lb.leave_one_out(data, order="last", seed=4)
    assert kept.valid.fingerprint == former.valid.fingerprint
    assert kept.test.fingerprint == former.test.fingerprint
    assert kept.test.left_out is None


def test_rows_say_whether_later_events_elsewhere_are_known() -> None:
    data = world({"a": [(0, 0, 1), (0, 1, 5)], "b": [(0, 0, 2), (0, 1, 6), (0, 2, 9)]})
    for future, expected in (("keep", [True, False]), ("cut", [False, False])):
        split = leave_last_out(data, future=future)
        rows = lb.evaluate(lb.Popularity().fit(split.test.history), split.test).rows
        assert rows["later_in_other_domains"].to_list() == expected


def test_another_word_is_refused() -> None:
    with pytest.raises(SettingsError, match="future"):
        leave_last_out(random_world(1), future="drop")


def test_candidates_and_samples_keep_what_was_left_out() -> None:
    split = leave_last_out(random_world(2))
    for test in (with_candidates(split, 3).test, split.across().test, split.test.sample(5, 0)):
        assert test.left_out == split.test.left_out


@pytest.mark.parametrize("fewest", [1, 2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_as_by_trying_every_cut(seed: int, fewest: int) -> None:
    data = random_world(seed)
    test = leave_last_out(data, min_events=fewest).test
    targets, history = by_every_cut(data, fewest)
    assert held(test) == targets
    assert known(test) == history


def random_world(seed: int) -> MultiDomain:
    rng = np.random.default_rng(seed)
    when = iter(rng.permutation(4000).tolist())
    rows: dict[str, list[Event]] = {name: [] for name in "abc"}
    for name in rows:
        for user in range(30):
            start = rng.integers(0, 40)
            own = [(user, int((start + i) % 40), next(when)) for i in range(rng.integers(0, 7))]
            rows[name] += own
    return world(rows)


def by_every_cut(data: MultiDomain, fewest: int) -> tuple[set[Pair], set[Pair]]:
    """(1) and (2), user by user."""
    mine: dict[int, dict[str, list[tuple[int, Pair]]]] = defaultdict(lambda: defaultdict(list))
    for name, events in data.domains.items():
        assert events.time is not None
        for user, item, time in zip(
            events.user_idx.tolist(), events.item_idx.tolist(), events.time.tolist(), strict=True
        ):
            mine[user][name].append((time, (name, user, item)))
    targets: set[Pair] = set()
    history: set[Pair] = set()
    for domains in mine.values():
        own = sorted(event for events in domains.values() for event in events)
        last = {name: max(events) for name, events in domains.items() if len(events) >= fewest}
        tried = []
        for cut, _ in sorted(last.values()):
            before = {pair for time, pair in own if time <= cut}
            found = set()
            for name, (time, pair) in last.items():
                at_most = {who for when, who in domains[name] if when <= cut} - {pair}
                others = before - {end for when, end in last.values() if when >= cut}
                enough = (
                    len(at_most) >= max(fewest - 1, 1)
                    if len(domains[name]) > 1
                    else bool(others) or len(own) == 1
                )
                if time >= cut and enough:
                    found.add(pair)
            tried.append((len(found), cut, found, before - found))
        count, _, found, rest = max(tried, default=(0, 0, set(), set()), key=lambda each: each[:2])
        targets |= found
        history |= rest if count else {pair for _, pair in own}
    return targets, history
