"""No list ever holds what the user has, has seen or dislikes, by any door; and no split knows too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.seen import LONG_AGO, Seen
from landbridge.data.splitting.holdout import Split
from landbridge.data.vocabulary import Vocabulary
from landbridge.evaluation.evaluate import recommended_share
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service

ITEMS, USERS, NAMES = 9, 7, ("a", "b")
Pair = tuple[int, int]
BUY = 1 << lb.MultiDomain.__dataclass_fields__["kinds"].default_factory().names.index("buy")


@st.composite
def worlds(draw: st.DrawFn, timed: bool = True) -> MultiDomain:
    """Every pair is learned from, disliked, only seen, or unknown; half of the learned ones are bought."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    domains, seen = {}, {}
    for name in NAMES:
        standing_UI = rng.choice(4, (USERS, ITEMS), p=(0.35, 0.2, 0.15, 0.3))
        standing_UI[0, 0] = 0
        tables = {}
        for standing in range(3):
            u, i = np.nonzero(standing_UI == standing)
            time = rng.integers(0, draw(st.sampled_from([4, 1000])), len(u)) if timed else None
            tables[standing] = (u, i, USERS, ITEMS, None, time)
        bought = np.where(rng.random(len(tables[0][0])) < 0.5, BUY, 0)
        domains[name] = Interactions.from_events(*tables[0], "last", bought)
        marks = Interactions.from_events(*tables[1])
        views = Interactions.from_events(*tables[2])
        seen[name] = merged(views, marks)
    items = {name: Vocabulary.of(np.arange(ITEMS)) for name in NAMES}
    return MultiDomain(Vocabulary.of(np.arange(USERS)), items, domains, seen=seen)


def merged(views: Interactions, dislikes: Interactions) -> Seen:
    user_N, item_N = (
        np.append(getattr(views, key), getattr(dislikes, key)) for key in ("user_idx", "item_idx")
    )
    order_N = np.lexsort((item_N, user_N))
    time_N = None
    if views.time is not None and dislikes.time is not None:
        time_N = np.append(views.time, dislikes.time)[order_N]
    pairs = Interactions(user_N[order_N], item_N[order_N], USERS, ITEMS, None, time_N)
    return Seen(pairs, np.repeat([False, True], [len(views), len(dislikes)])[order_N])


def known(data: MultiDomain, name: str) -> set[Pair]:
    """By hand, not by the function that the doors share."""
    tables = [data.domains[name], data.seen[name].pairs]
    return {
        pair
        for table in tables
        for pair in zip(table.user_idx.tolist(), table.item_idx.tolist(), strict=True)
    }


def disliked(data: MultiDomain, name: str) -> set[Pair]:
    own = data.seen[name]
    pairs = zip(
        own.pairs.user_idx.tolist(), own.pairs.item_idx.tolist(), own.disliked_N.tolist(), strict=True
    )
    return {(user, item) for user, item, marked in pairs if marked}


def listed(frame: pl.DataFrame) -> set[Pair]:
    return set(frame.select("user", "item").rows())


def everything() -> set[Pair]:
    return {(user, item) for user in range(USERS) for item in range(ITEMS)}


@given(data=worlds())
@settings(max_examples=30)
def test_lists_of_known_users_hold_all_but_what_is_known(data: MultiDomain) -> None:
    fitted = lb.Popularity().fit(data)
    for name in NAMES:
        assert listed(lb.recommend(fitted, name, k=ITEMS)) == everything() - known(data, name)
        again = lb.recommend(fitted, name, k=ITEMS, seen=True)
        assert listed(again) == everything() - disliked(data, name)


@given(data=worlds())
@settings(max_examples=5)
def test_lists_in_files_hold_the_same(data: MultiDomain, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, fitted = tmp_path_factory.mktemp("lists"), lb.Popularity().fit(data)
    lb.recommend_all(fitted, "a", folder / "all", k=ITEMS, block=3)
    (folder / "all" / "part-00001.parquet").unlink()  # a killed call goes on
    lb.recommend_all(fitted, "a", folder / "all", k=ITEMS, block=3)
    assert listed(pl.read_parquet(folder / "all" / "*.parquet")) == everything() - known(data, "a")


@given(data=worlds(), item=st.integers(0, ITEMS - 1), against=st.integers(0, ITEMS - 1))
@settings(max_examples=30)
def test_a_new_user_gets_neither_what_they_bring_nor_what_they_dislike(
    data: MultiDomain, item: int, against: int
) -> None:
    assume(item != against)
    fitted = lb.Popularity().fit(data)
    frame = lb.fold_in(fitted, {"a": [item]}, "a", k=ITEMS, disliked={"a": [against]})
    assert set(frame["item"].to_list()) == set(range(ITEMS)) - {item, against}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


KINDS = ("buy", "view", "impression", "dislike", None)
brought = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, ITEMS - 1), st.sampled_from(KINDS)), max_size=6
)


@given(data=worlds(), events=brought, user=st.integers(0, USERS - 1), seen=st.booleans())
@settings(max_examples=12)
def test_the_server_lists_nothing_that_is_known_or_brought(
    data: MultiDomain, events: list[tuple[str, int, str | None]], user: int, seen: bool, folder: Path
) -> None:
    lb.save(lb.Popularity().fit(data), folder / "run")
    service = Service.open(folder / "run")
    mine = tuple(Event(name, item, kind=kind) for name, item, kind in events)
    requests = [
        Request(domains, who, mine, k=2 * ITEMS, seen=seen)
        for domains in (("a",), ("b",), NAMES)
        for who in (user, None)
    ]
    for request, answer in zip(requests, service.recommend(requests), strict=True):
        found = {(entry.domain, entry.item) for entry in answer.items}
        assert found == allowed(data, request, events)


def allowed(
    data: MultiDomain, request: Request, events: list[tuple[str, int, str | None]]
) -> set[tuple[str, int]]:
    """A twin of sets: the last event that is learned from or counts against an item decides."""
    known_user = isinstance(request.user, int)
    loved = {
        (name, item)
        for name in NAMES
        for user, item in known(data, name) - seen_pairs(data, name)
        if known_user and user == request.user
    }
    hated = {
        (n, item) for n in NAMES for user, item in disliked(data, n) if known_user and user == request.user
    }
    viewed = {
        (n, item) for n in NAMES for user, item in seen_pairs(data, n) if known_user and user == request.user
    } - hated
    for name, item, kind in events:
        pair = (name, item)
        if kind == "dislike":
            hated, loved = hated | {pair}, loved - {pair}
        elif kind != "impression":
            hated, loved = hated - {pair}, loved | {pair}
        else:
            viewed = viewed | {pair}
    hidden = hated if request.seen else hated | loved | viewed
    return {(name, item) for name in request.domains for item in range(ITEMS)} - hidden


def seen_pairs(data: MultiDomain, name: str) -> set[Pair]:
    pairs = data.seen[name].pairs
    return set(zip(pairs.user_idx.tolist(), pairs.item_idx.tolist(), strict=True))


SPLITS: dict[str, Callable[[MultiDomain, int, str | None], Split]] = {
    "random": lambda data, seed, kind: lb.leave_one_out(data, seed=seed, targets=kind),
    "last, keep": lambda data, seed, kind: lb.leave_last_out(data, future="keep", seed=seed, targets=kind),
    "last": lambda data, seed, kind: lb.leave_last_out(data, seed=seed, targets=kind),
    "latest": lambda data, seed, kind: lb.leave_latest_out(data, seed=seed, targets=kind),
    "temporal": lambda data, seed, kind: lb.temporal(data, valid=0.2, test=0.3, targets=kind),
    "cold": lambda data, seed, kind: lb.cold_users(data, share=0.5, seed=seed, targets=kind),
}


def split_of(kind: str, data: MultiDomain, seed: int, targets: str | None) -> Split:
    try:
        return SPLITS[kind](data, seed, targets)
    except DataError:
        assume(False)
        raise


@pytest.mark.parametrize("targets", [None, "buy"])
@pytest.mark.parametrize("kind", SPLITS)
@given(data=worlds(), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_a_target_is_never_seen_and_nothing_seen_later_is_known(
    kind: str, targets: str | None, data: MultiDomain, seed: int
) -> None:
    split = split_of(kind, data, seed, targets)
    whole = replace(data, domains=split.test.history.domains)
    for part in (split.valid, split.test):
        for name, held in part.targets.items():
            pairs = set(zip(held.user_idx.tolist(), held.item_idx.tolist(), strict=True))
            assert not pairs & known(part.history, name)
            assert seen_pairs(part.history, name) <= seen_pairs(whole, name)
            assert targets is None or all(kinds_of(data, name, pair) & BUY for pair in pairs)
            if kind in ("last, keep", "last", "latest", "temporal"):
                for user, time in zip(held.user_idx, held.time, strict=True):
                    domains = (name,) if kind == "last, keep" else NAMES
                    assert all(latest_seen(part.history, other, user) <= time for other in domains)
            if kind == "cold":
                seen_users = {user for user, _ in seen_pairs(part.history, name)}
                assert not seen_users & set(held.user_idx.tolist())


def kinds_of(data: MultiDomain, name: str, pair: Pair) -> int:
    table = data[name]
    assert table.kinds is not None
    return int(table.kinds[(table.user_idx == pair[0]) & (table.item_idx == pair[1])][0])


def latest_seen(data: MultiDomain, name: str, user: int) -> float:
    pairs = data.seen[name].pairs
    assert pairs.time is not None
    return float(pairs.time[pairs.user_idx == user].max(initial=LONG_AGO))


@pytest.mark.parametrize("kind", ["last", "latest", "temporal"])
@given(data=worlds(), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_with_targets_of_one_kind_no_later_event_of_the_user_is_known(
    kind: str, data: MultiDomain, seed: int
) -> None:
    split = split_of(kind, data, seed, "buy")
    for part in (split.valid, split.test):
        for held in part.targets.values():
            for user, time in zip(held.user_idx, held.time, strict=True):
                for table in part.history.domains.values():
                    assert table.time is not None
                    assert table.time[table.user_idx == user].max(initial=-1) <= time


@pytest.mark.parametrize(("across", "candidates"), [(False, 0), (False, 3), (True, 0)])
@given(data=worlds(), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_an_evaluation_ranks_against_what_may_be_listed(
    across: bool, candidates: int, data: MultiDomain, seed: int
) -> None:
    split = split_of("random", data, seed, None)
    try:
        split = lb.with_candidates(split, candidates, seed=seed) if candidates else split
    except DataError:
        assume(False)
    holdout = split.across().test if across else split.test
    fitted = lb.Popularity().fit(holdout.history)
    rows = lb.evaluate(fitted, holdout, threads=1).rows
    for domain, user, item, counted in rows.select("domain", "user", "item", "candidates").rows():
        names = NAMES if across else (domain,)
        free = sum(ITEMS - len({i for u, i in known(holdout.history, n) if u == user}) for n in names) - 1
        if candidates:
            held = holdout.targets[domain]
            row = np.flatnonzero((held.user_idx == user) & (held.item_idx == item))[0]
            assert held.candidates_TC is not None
            mine = {i for u, i in known(holdout.history, domain) if u == user}
            assert counted == len([i for i in held.candidates_TC[row].tolist() if i not in mine and i >= 0])
        else:
            assert counted == free
    assert recommended_share(fitted, holdout, k=3, threads=1).height > 0
