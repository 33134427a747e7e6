"""Entropy and coverage of lists against going through them one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import SettingsError
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.diversity import _filling, diversity
from landbridge.evaluation.protocols import ranking_tasks, recommended_items

from .worlds import held_out, many, model


@pytest.fixture(params=[False, True], ids=["one domain each", "memberships"])
def world(random_world, request: pytest.FixtureRequest) -> tuple[Holdout, Any]:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    if not request.param:
        return holdout, scores
    rng = np.random.default_rng(1)
    member_ID = rng.random((35, 2)) < 0.5
    member_ID[:, 1] = True
    history = replace(holdout.history, memberships={"films": member_ID})
    return replace(holdout, history=history), scores


def lists_of(holdout: Holdout, scores: Any, name: str, k: int) -> list[list[int]]:
    """Every list without its empty places."""
    found = recommended_items(model(holdout.history, scores), ranking_tasks(holdout)[name], k)
    return [[item for item in row if item >= 0] for part in found for row in part.tolist()]


def credits(holdout: Holdout) -> list[dict[str, float]]:
    """Item of the joint catalogue -> its share in each domain."""
    names, history = holdout.history.domain_names, holdout.history
    found = []
    for home in names:
        for item in range(history[home].n_items):
            member_D = (
                history.memberships[home][item] if home in history.memberships else [n == home for n in names]
            )
            mine = [name for name, member in zip(names, member_D, strict=True) if member]
            found.append({name: 1 / len(mine) for name in mine})
    return found


def entropy_of(items: list[int], credit: list[dict[str, float]]) -> float:
    total: Counter[str] = Counter()
    for item in items:
        total.update(credit[item])
    return sum(-each / len(items) * log(each / len(items)) for each in total.values()) if items else 0.0


def fewest(counts: list[int]) -> int:
    """Items in order of places until nine tenths are there."""
    taken, number = 0, 0
    for count in sorted(counts, reverse=True):
        if 10 * taken >= 9 * sum(counts):
            break
        taken, number = taken + count, number + 1
    return number


@pytest.mark.parametrize(("k", "cover", "block"), [(20, 5, None), (20, 5, 7), (3, 12, None)])
def test_one_list_over_all_domains(world, k: int, cover: int, block: int | None) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = replace(world[0], across=True), world[1]
    (row,) = diversity(model(holdout.history, scores), holdout, k, cover, block=block).rows(named=True)
    longer, shorter = (lists_of(holdout, scores, "all", each) for each in (k, cover))
    credit = credits(holdout)
    assert row["entropy"] == pytest.approx(np.mean([entropy_of(items, credit) for items in longer]))
    places = [part for items in shorter for item in items for part in credit[item].items()]
    parts = [sum(part for own, part in places if own == name) for name in holdout.history.domain_names]
    assert row["least_share"] == pytest.approx(min(parts) / sum(parts))
    counted = np.concatenate([holdout.history[name].item_counts > 0 for name in holdout.history.domain_names])
    shown = np.bincount(np.concatenate(shorter), minlength=95)[counted]
    assert row["p90_coverage"] == pytest.approx(fewest(shown.tolist()) / counted.sum())
    assert row["coverage"] == pytest.approx((shown > 0).sum() / counted.sum())
    assert (row["domain"], row["lists"], row["protocol"]) == ("all", 40, "across")
    assert row["catalogue"] == counted.sum()


def test_domain_by_domain(world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = world
    table = diversity(model(holdout.history, scores), holdout, 20, 5)
    assert table["domain"].to_list() == ["books", "films"]
    for row in table.rows(named=True):
        name = row["domain"]
        counted = holdout.history[name].item_counts > 0
        shown = np.bincount(np.concatenate(lists_of(holdout, scores, name, 5)), minlength=len(counted))[
            counted
        ]
        assert row["p90_coverage"] == pytest.approx(fewest(shown.tolist()) / counted.sum())
        if name not in holdout.history.memberships:
            assert row["entropy"] is None
            continue
        credit = credits(holdout)[60:]
        told = [entropy_of(items, credit) for items in lists_of(holdout, scores, name, 20)]
        assert row["entropy"] == pytest.approx(np.mean(told))


def test_by_hand() -> None:
    """Two books and two films: entropy ln 2; one list of four equal items: all four fill nine tenths."""
    history = many(1, {"books": 3, "films": 3}, {"books": [(0, 0)], "films": [(0, 0)]})
    scores = {"books": np.ones((1, 3)), "films": np.ones((1, 3))}
    holdout = Holdout(history, {"books": held_out([(0, 1)])}, across=True)
    (row,) = diversity(model(history, scores), holdout).rows(named=True)
    assert row["entropy"] == pytest.approx(log(2))
    assert (row["lists"], row["catalogue"], row["coverage"]) == (1, 2, 0.0)  # only unknown items are listed


def test_items_of_no_domain_and_empty_lists_count_for_nothing() -> None:
    history = many(2, {"a": 2, "b": 2}, {"a": [(0, 0), (0, 1), (1, 0)], "b": [(0, 0), (0, 1), (1, 0)]})
    history = replace(history, memberships={"a": np.zeros((2, 2), bool)})
    scores = {name: np.ones((2, 2)) for name in "ab"}
    holdout = Holdout(history, {"a": held_out([(0, 1), (1, 1)])}, across=True)
    (row,) = diversity(model(history, scores), holdout).rows(named=True)
    assert (row["entropy"], row["lists"]) == (0.0, 2)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20))
def test_the_fewest_items_that_fill_nine_tenths(counts: list[int]) -> None:
    assert _filling(np.array(counts)) == fewest(counts)


def test_nothing_held_out_gives_no_rows(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    nothing = replace(holdout, targets={"films": held_out([])})
    table = diversity(model(holdout.history, scores), nothing)
    assert len(table) == 0
    assert table.columns[-1] == "protocol"


def test_lists_have_a_place_or_more(random_world) -> None:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    with pytest.raises(SettingsError, match="must be 1 or more, not 0 and 10"):
        diversity(model(holdout.history, scores), holdout, 0)
