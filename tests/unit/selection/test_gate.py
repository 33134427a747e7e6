"""The gate of a refit: which pairs it holds out, and what it lets pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.synthetic import World, planted_transfer
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.base import Fitted
from landbridge.models.popularity import Popularity
from landbridge.selection.gate import (
    LEAST_PAIRS,
    PASSED,
    REFUSED,
    SKIPPED,
    DomainQuality,
    gate,
    latest_new_events,
)
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
METHOD = CDIMF(factors=8, epochs=5, alpha0=0.1, reg=0.1)
Events = list[tuple[int, int, int]]  # user, item, time


def of_events(tables: dict[str, Events], timed: bool = True) -> MultiDomain:
    """Data whose ids are those of the events."""
    users = Vocabulary.of(sorted({user for rows in tables.values() for user, *_ in rows}))
    items = {name: Vocabulary.of(sorted({item for _, item, _ in rows})) for name, rows in tables.items()}
    domains = {
        name: Interactions.from_events(
            users.index([user for user, *_ in rows]),
            items[name].index([item for _, item, _ in rows]),
            len(users),
            len(items[name]),
            time=[time for *_, time in rows] if timed else None,
        )
        for name, rows in tables.items()
    }
    return MultiDomain(users, items, domains)


def pairs_of(data: MultiDomain, name: str, events: Any) -> list[tuple[int, int]]:
    """Raw ids of events or targets."""
    users, items = data.users.ids[events.user_idx], data.items[name].ids[events.item_idx]
    return list(zip(users.tolist(), items.tolist(), strict=True))


BEFORE: dict[str, Events] = {
    "books": [(1, 10, 5), (2, 10, 5), (2, 20, 6), (3, 20, 1)],
    "films": [(1, 7, 5), (2, 9, 5)],
}
SINCE: dict[str, Events] = {
    # user 0 is new; 2 repeats a book; 3 brings a new one, and the user before has the last of the old ones
    "books": [(0, 10, 9), (0, 5, 9), (1, 20, 7), (1, 5, 9), (1, 30, 8), (2, 10, 99), (2, 30, 3), (3, 40, 4)],
    "films": [(0, 8, 9), (3, 7, 2), (3, 9, 1)],
}


def grown(timed: bool = True) -> tuple[MultiDomain, MultiDomain]:
    """The data before, and with the events since."""
    return of_events(BEFORE, timed), of_events({name: BEFORE[name] + SINCE[name] for name in BEFORE}, timed)


def test_each_known_users_latest_new_event_of_a_domain_is_held_out() -> None:
    """Indices have moved: a new user and new items have lower ids than the old ones."""
    before, data = grown()
    holdout = latest_new_events(data, before)
    held = {name: pairs_of(data, name, targets) for name, targets in holdout.targets.items()}
    assert held == {"books": [(1, 5), (2, 30), (3, 40)], "films": [(3, 7)]}
    for name, events in data.domains.items():
        rest = pairs_of(data, name, holdout.history[name])
        assert sorted(rest + held[name]) == pairs_of(data, name, events)
    assert holdout.history.users is data.users


def test_without_times_any_new_event_is_held_out() -> None:
    before, data = grown(timed=False)
    drawn = set()
    for seed in range(20):
        holdout = latest_new_events(data, before, seed)
        books = pairs_of(data, "books", holdout.targets["books"])
        assert [user for user, _ in books] == [1, 2, 3]
        drawn.add(books[0][1])
    assert drawn == {5, 20, 30}


@pytest.fixture(scope="module")
def world() -> World:
    return planted_transfer(seed=1)


@pytest.fixture(scope="module")
def present(world: World) -> Fitted:
    return METHOD.fit(world.split.train, ONE)


def learned(data: MultiDomain) -> Fitted:
    return METHOD.fit(data, ONE)


def test_a_model_that_learned_as_well_passes(world: World, present: Fitted) -> None:
    report = gate(present, world.split.test.history, learned)
    assert report.decision == PASSED
    assert report.pairs == sum(len(targets) for targets in world.split.valid.targets.values())
    assert [each.domain for each in report.domains] == list(world.data.domain_names)
    assert "passed" in report.sentence
    for each in report.domains:
        assert each.candidate > 2 * each.popularity
        assert abs(each.candidate - each.present) < 0.1


def test_a_model_that_learned_nothing_is_refused_with_its_figures(world: World, present: Fitted) -> None:
    report = gate(present, world.split.test.history, Popularity().fit)
    assert report.decision == REFUSED
    for each in report.domains:
        assert each.is_worse
        assert each.candidate == pytest.approx(each.popularity)
        assert each.candidate == pytest.approx(ndcg_of_popularity(world, each.domain))
        assert f"{each.domain}: ndcg@10 {each.candidate:.4f} instead of {each.present:.4f}" in report.sentence


def ndcg_of_popularity(world: World, domain: str) -> float:
    """By hand: 1 / log2(1 + place) of every held-out item among the unseen, the mean over places of a tie."""
    train, targets = world.split.train[domain], world.split.valid.targets[domain]
    counts_I = train.item_counts
    values = []
    for user, item in zip(targets.user_idx, targets.item_idx, strict=True):
        seen_I = np.zeros(train.n_items, bool)
        seen_I[train.item_idx[train.user_idx == user]] = True
        others_I = ~seen_I & (np.arange(train.n_items) != item)
        above = int((counts_I[others_I] > counts_I[item]).sum())
        ties = int((counts_I[others_I] == counts_I[item]).sum())
        gains = [1 / np.log2(2 + place) if place < 10 else 0.0 for place in range(above, above + ties + 1)]
        values.append(np.mean(gains))
    return float(np.mean(values))


def test_one_bad_domain_is_enough(world: World, present: Fitted) -> None:
    """The others are as good as before."""

    def half(data: MultiDomain) -> Fitted:
        fitted = learned(data)
        items_IF = fitted.item_IF["sparse"]  # type: ignore[attr-defined]
        items_IF[:] = np.roll(items_IF, 1, axis=0)
        return fitted

    report = gate(present, world.split.test.history, half)
    assert report.decision == REFUSED
    assert [each.domain for each in report.domains if each.is_worse] == ["sparse"]
    assert "dense" not in report.sentence


def test_few_pairs_skip_the_gate_and_the_candidate(world: World, present: Fitted) -> None:
    def never(data: MultiDomain) -> Fitted:
        raise AssertionError

    train = world.split.train
    with_few = {
        name: Interactions.from_events(
            np.append(train[name].user_idx, targets.user_idx[: LEAST_PAIRS // 3]),
            np.append(train[name].item_idx, targets.item_idx[: LEAST_PAIRS // 3]),
            train[name].n_users,
            train[name].n_items,
        )
        for name, targets in world.split.valid.targets.items()
    }
    report = gate(present, train.with_events(with_few), never)
    assert (report.decision, report.pairs, report.domains) == (SKIPPED, 3 * (LEAST_PAIRS // 3), ())
    assert "have 48 new pairs to compare on, and it needs 50" in report.sentence


@pytest.mark.parametrize(
    ("candidate", "present_", "p", "worse"),
    [
        (0.20, 0.30, 0.001, True),
        (0.20, 0.30, 0.06, False),  # not significant
        (0.286, 0.30, 0.001, False),  # within the margin of 5 %
        (0.284, 0.30, 0.001, True),
        (0.40, 0.30, 0.001, False),
    ],
)
def test_worse_is_significant_and_beyond_the_margin(
    candidate: float, present_: float, p: float, worse: bool
) -> None:
    assert DomainQuality("books", 100, candidate, present_, 0.1, p).is_worse == worse
