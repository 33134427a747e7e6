"""Data that grow by a store's events: a twin of dictionaries, and what no twin shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.kinds import EventKinds
from landbridge.data.vocabulary import Vocabulary
from landbridge.serving.events.merge import MergedData, merge_events, missing_events

Cells = dict[tuple[Any, Any], tuple[float, int]]  # (user, item) -> weight, time
SCHEMA = {"user": pl.String, "domain": pl.String, "item": pl.String, "timestamp": pl.Int64}
PLAIN = {"kind": pl.lit(None, pl.String), "weight": pl.lit(None, pl.Float64)}
NAMES = ("books", "films")


def world(tables: dict[str, Cells], weighted: bool = True, timed: bool = True) -> MultiDomain:
    users = Vocabulary.of(sorted({user for cells in tables.values() for user, _ in cells}))
    items = {name: Vocabulary.of(sorted({item for _, item in cells})) for name, cells in tables.items()}
    domains = {
        name: Interactions.from_events(
            users.index([user for user, _ in cells]),
            items[name].index([item for _, item in cells]),
            len(users),
            len(items[name]),
            [weight for weight, _ in cells.values()] if weighted else None,
            [time for _, time in cells.values()] if timed else None,
        )
        for name, cells in tables.items()
    }
    return MultiDomain(users, items, domains)


def cells_of(data: MultiDomain) -> dict[str, Cells]:
    found: dict[str, Cells] = {}
    for name, table in data.domains.items():
        users, items = data.users.ids[table.user_idx].tolist(), data.items[name].ids[table.item_idx].tolist()
        weight = [1.0] * len(table) if table.weight is None else table.weight.tolist()
        time = [0] * len(table) if table.time is None else table.time.tolist()
        found[name] = dict(zip(zip(users, items, strict=True), zip(weight, time, strict=True), strict=True))
    return found


def twin(
    tables: dict[str, Cells], events: list[tuple[str, str, str, int]], gone: set[str]
) -> dict[str, Cells]:
    """Users are whole numbers, books texts, films whole numbers."""
    result = {
        name: {c: v for c, v in cells.items() if str(c[0]) not in gone} for name, cells in tables.items()
    }
    for user, domain, item, time in events:
        if user in gone or domain not in NAMES or not whole(user) or (domain == "films" and not whole(item)):
            continue
        cell = (int(user), int(item) if domain == "films" else item)
        weight, before = result[domain].get(cell, (1.0, time))
        result[domain][cell] = (weight, max(before, time))
    return result


def whole(text: str) -> bool:
    return text.lstrip("-").isdigit() and str(int(text)) == text


some_users = st.sampled_from(["-3", "0", "2", "5", "9", "12", "007", "x", "1_0", "é"])
some_items = st.sampled_from(["-1", "1", "4", "6", "08", "zz", "a b"])
some_events = st.lists(
    st.tuples(some_users, st.sampled_from([*NAMES, "toys"]), some_items, st.integers(0, 20)), max_size=12
)
values = st.tuples(st.sampled_from([0.5, 2.0, 3.0]), st.integers(0, 20))
book_cells = st.dictionaries(
    st.tuples(st.integers(0, 9), st.sampled_from(["1", "b", "zz"])), values, min_size=1
)
film_cells = st.dictionaries(st.tuples(st.integers(0, 9), st.integers(-1, 6)), values, min_size=1)


@given(book_cells, film_cells, some_events, st.sets(some_users, max_size=3))
def test_the_grown_data_are_those_of_a_reference(
    books: Cells, films: Cells, events: list[tuple[str, str, str, int]], gone: set[str]
) -> None:
    tables = {"books": books, "films": films}
    expected = twin(tables, events, gone)
    data, growth = merge_events(world(tables), frame(events), gone)
    assert cells_of(data) == expected
    staying = {user for cells in tables.values() for user, _ in cells if str(user) not in gone}
    users = staying | {user for cells in expected.values() for user, _ in cells}
    assert data.users.ids.tolist() == sorted(users)
    assert growth.users == len(users - staying)
    for name, cells in tables.items():
        items = {item for _, item in cells} | {item for _, item in expected[name]}
        assert data.items[name].ids.tolist() == sorted(items)
    usable = [e for e in events if whole(e[0]) and (e[1] == "books" or (e[1] == "films" and whole(e[2])))]
    assert growth.left_out == sum(e[0] not in gone for e in events) - sum(e[0] not in gone for e in usable)
    before = sum(str(user) not in gone for cells in tables.values() for user, _ in cells)
    assert growth.events == data.n_events - before


def test_growing_twice_by_the_same_events_changes_nothing_more() -> None:
    history = world({"books": {(1, "a"): (2.0, 5)}, "films": {(2, 3): (1.0, 4)}})
    heard = frame([("1", "books", "a", 9), ("4", "films", "8", 2)])
    once, growth = merge_events(history, heard, ())
    assert growth == MergedData(events=1, users=1, items=1, forgotten=0, left_out=0)
    twice, nothing = merge_events(once, heard, ())
    assert twice.fingerprint == once.fingerprint
    assert nothing == MergedData(0, 0, 0, 0, 0)
    assert cells_of(once)["books"] == {(1, "a"): (2.0, 9)}


def test_data_without_weights_and_times_stay_so() -> None:
    history = world({"books": {(1, "a"): (1.0, 0)}, "films": {(2, 3): (1.0, 0)}}, weighted=False, timed=False)
    data, _ = merge_events(history, frame([("1", "books", "b", 9)]), ())
    assert all(table.weight is None and table.time is None for table in data.domains.values())
    assert data.n_events == 3


def test_whole_numbers_of_the_store_find_texts_of_the_run() -> None:
    tables: dict[str, Cells] = {"books": {("17", "a"): (1.0, 0)}, "films": {("2", "3"): (1.0, 0)}}
    heard = pl.DataFrame(
        {"user": [17, 17], "domain": ["books", "films"], "item": [5, 3], "timestamp": [1, 1]}
    ).with_columns(**PLAIN)
    data, growth = merge_events(world(tables), heard, {2})
    assert data.users.ids.tolist() == ["17"]
    assert set(cells_of(data)["books"]) == {("17", "a"), ("17", "5")}
    assert growth == MergedData(events=2, users=0, items=1, forgotten=1, left_out=0)


def test_every_spelling_of_a_folded_id_is_one() -> None:
    tables: dict[str, Cells] = {"books": {("ann", "x"): (1.0, 0), ("bob", "x"): (1.0, 0)}}
    plain = world(tables)
    history = replace(
        plain,
        users=Vocabulary(plain.users.ids, folded=True),
        items={"books": Vocabulary(plain.items["books"].ids, folded=True)},
    )
    heard = frame([(" ANN", "books", "X ", 5), ("Bob", "books", "Y", 6), ("Cy", "books", "x", 7)])
    data, growth = merge_events(history, heard, {"BOB "})
    assert data.users.folded
    assert data.items["books"].folded
    assert set(cells_of(data)["books"]) == {("ann", "x"), ("cy", "x")}
    assert growth == MergedData(events=1, users=1, items=0, forgotten=1, left_out=0)
    # without folding they are other users
    assert len(merge_events(plain, heard, ())[0].users) == 5


def test_titles_and_memberships_follow_their_items() -> None:
    history = world({"books": {(1, "b"): (1.0, 0), (1, "d"): (1.0, 0)}, "films": {(2, 3): (1.0, 0)}})
    history = MultiDomain(
        history.users,
        history.items,
        history.domains,
        {"books": np.array(["Title B", "Title D"], np.dtypes.StringDType())},
        {"books": np.array([[True, True], [True, False]])},
    )
    data, _ = merge_events(history, frame([("1", "books", new, 1) for new in "ace"]), ())
    assert data.titles["books"].tolist() == ["a", "Title B", "c", "Title D", "e"]
    assert data.memberships["books"].tolist() == [[True, False], [True, True], *[[True, False]] * 3]
    assert "films" not in data.titles


def test_whom_a_vocabulary_does_not_hold() -> None:
    numbers, texts = Vocabulary.of([3, 17]), Vocabulary.of(["3", "x"])
    assert missing_events(numbers, {17, "17", "x", "1_7", "4"}) == {"x", "1_7", "4"}
    assert missing_events(texts, {3, "x", "y"}) == {"y"}
    assert missing_events(texts, frozenset()) == set()
    assert missing_events(replace(Vocabulary.of(["ann"]), folded=True), {"ANN ", "x"}) == {"x"}


def frame(events: list[tuple[str, str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(events, SCHEMA, orient="row").with_columns(**PLAIN)


def of_kinds(*events: tuple[str, str, int, str | None]) -> pl.DataFrame:
    """Of books: user, item, time, kind."""
    schema = {"user": pl.String, "item": pl.String, "timestamp": pl.Int64, "kind": pl.String}
    return pl.DataFrame(events, schema, orient="row").with_columns(
        domain=pl.lit("books"), weight=PLAIN["weight"]
    )


def marks_of(data: MultiDomain) -> dict[tuple[Any, Any], bool]:
    if "books" not in data.seen:
        return {}
    own = data.seen["books"]
    users = data.users.ids[own.pairs.user_idx].tolist()
    items = data.items["books"].ids[own.pairs.item_idx].tolist()
    return dict(zip(zip(users, items, strict=True), own.disliked_N.tolist(), strict=True))


BOOKS: dict[str, Cells] = {
    "books": {(1, "a"): (2.0, 5), (1, "b"): (0.5, 6), (2, "a"): (1.0, 7)},
    "films": {(2, 3): (1.0, 0)},
}


def test_dislikes_revoke_events_and_stay_when_the_data_grow_again() -> None:
    heard = of_kinds(
        ("1", "a", 90, "dislike"),
        ("2", "b", 91, "impression"),
        ("4", "a", 92, "dislike"),
        ("4", "a", 93, "gaze"),
    )
    once, growth = merge_events(world(BOOKS), heard, ())
    assert set(cells_of(once)["books"]) == {(1, "b"), (2, "a")}
    assert marks_of(once) == {(1, "a"): True, (2, "b"): False, (4, "a"): True}
    assert growth == MergedData(events=0, users=1, items=0, forgotten=0, left_out=1, seen=3)
    twice, nothing = merge_events(once, heard, ())
    assert twice.fingerprint == once.fingerprint
    assert nothing == MergedData(0, 0, 0, 0, 1)
    # whom the store forgets is forgotten here, too
    assert marks_of(merge_events(once, heard, {"4"})[0]) == {(1, "a"): True, (2, "b"): False}


def test_who_buys_what_they_disliked_likes_it() -> None:
    disliked, _ = merge_events(world(BOOKS), of_kinds(("1", "a", 90, "dislike")), ())
    data, growth = merge_events(disliked, of_kinds(("1", "a", 99, "buy")), ())
    assert cells_of(data)["books"][1, "a"] == (1.0, 99)
    assert marks_of(data) == {}
    assert growth.events == 1


def test_a_pair_gets_the_weight_of_its_strongest_kind() -> None:
    heard = of_kinds(
        ("1", "a", 90, "buy"),
        ("1", "b", 90, "cart"),
        ("1", "b", 91, "buy"),
        ("3", "a", 9, "view"),
        ("3", "b", 9, None),
    )
    data, _ = merge_events(world(BOOKS), heard, ())
    weights = {pair: round(weight, 3) for pair, (weight, _) in cells_of(data)["books"].items()}
    assert weights == {(1, "a"): 2.0, (1, "b"): 1.0, (2, "a"): 1.0, (3, "a"): 0.2, (3, "b"): 1.0}
    table, buy, cart = data["books"], *(data.kinds.bit(kind) for kind in ("buy", "cart"))
    assert table.kinds is not None
    assert table.kinds[table.user_idx == 0].tolist() == [buy, buy | cart]


def test_the_weight_of_an_event_multiplies_that_of_its_kind() -> None:
    heard = of_kinds(("1", "a", 90, "buy"), ("3", "a", 9, "view"), ("3", "b", 9, None), ("1", "b", 9, None))
    heard = heard.with_columns(weight=pl.Series([5.0, 3.0, 0.25, 0.5]))
    once, _ = merge_events(world(BOOKS), heard, ())
    weights = {pair: round(weight, 3) for pair, (weight, _) in cells_of(once)["books"].items()}
    before = {pair: weight for pair, (weight, _) in cells_of(world(BOOKS))["books"].items()}
    changed = {(1, "a"): 5.0, (3, "a"): 0.6, (3, "b"): 0.25}
    assert weights == before | changed  # the weaker event of (1, b) changes nothing
    twice, _ = merge_events(once, heard, ())
    assert twice.fingerprint == once.fingerprint


def test_known_weights_fade_by_the_time_since() -> None:
    day = 86_400
    tables: dict[str, Cells] = {
        "books": {(1, "a"): (1.0, 0), (1, "b"): (0.5, -day)},
        "films": {(2, 3): (1.0, 0)},
    }
    history = replace(world(tables), kinds=EventKinds(half_life_days=1.0))
    heard = of_kinds(("1", "c", day, "buy"), ("1", "d", 0, None))
    once, _ = merge_events(history, heard, ())
    weights = {pair: weight for pair, (weight, _) in cells_of(once)["books"].items()}
    assert weights == {(1, "a"): 0.5, (1, "b"): 0.25, (1, "c"): 1.0, (1, "d"): 0.5}
    assert cells_of(once)["films"] == {(2, 3): (0.5, 0)}
    twice, _ = merge_events(once, heard, ())
    assert twice.fingerprint == once.fingerprint
