"""Data that grow by a store's events: a twin of dictionaries, and what no twin shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.serving.events.merge import MergedData, merge_events, missing_events

Cells = dict[tuple[Any, Any], tuple[float, int]]  # (user, item) -> weight, time
SCHEMA = {"user": pl.String, "domain": pl.String, "item": pl.String, "timestamp": pl.Int64}
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
    data, growth = merge_events(world(tables), pl.DataFrame(events, SCHEMA, orient="row"), gone)
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
    )
    data, growth = merge_events(world(tables), heard, {2})
    assert data.users.ids.tolist() == ["17"]
    assert set(cells_of(data)["books"]) == {("17", "a"), ("17", "5")}
    assert growth == MergedData(events=2, users=0, items=1, forgotten=1, left_out=0)


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


def frame(events: list[tuple[str, str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(events, SCHEMA, orient="row")
