"""Filters of lists: seen, allowed, denied, and what a table of the items says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shops import (
    FEW,
    SIZES,
    USERS,
    by_hand,
    fit,
    lists,
    opened,
    pairs,
    world,
)

from landbridge.core.errors import DataError
from landbridge.data.interactions import Interactions
from landbridge.data.item_attributes import AttributeColumn
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.base import Fitted
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.messages import Request
from landbridge.serving.engine.service import Service


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return opened(fit(CDIMF(**FEW)), tmp_path_factory.mktemp("joint"))


def test_filters_by_hand(tmp_path: Path) -> None:
    """Person u00 likes film n as much as n says."""
    service = opened(liking_late_films(), tmp_path, items_table(tmp_path))
    noir, some = {"genre": "noir"}, {"films": ("f03", "f04", "f06")}
    asked = {
        "top": (Request(("films",), "u00", k=2), ["f89", "f88"]),
        "deny": (Request(("films",), "u00", k=2, deny={"films": ("f89", "nothing", 7)}), ["f88", "f87"]),
        "allow": (Request(("films",), "u00", allow={"films": ("f3", "f80", "f04")}), ["f80", "f04"]),
        "none": (Request(("films",), "u00", allow={"films": ()}), []),
        "elsewhere": (Request(("films",), "u00", k=1, allow={"books": ()}, deny={"books": (10,)}), ["f89"]),
        "where": (Request(("films",), "u00", k=2, where={"genre": "noir"}), ["f87", "f84"]),
        "either": (Request(("films",), "u00", k=3, where={"genre": ["noir", "war"]}), ["f88", "f87", "f85"]),
        "both": (Request(("films",), "u00", k=2, where={"genre": "noir", "stock": True}), ["f84", "f78"]),
        "number": (Request(("films",), "u00", k=1, where={"year": 1950}), ["f50"]),
        "no such": (Request(("films",), "u00", where={"genre": "opera"}), []),
        "all": (Request(("films",), "u00", where=noir, allow=some, deny={"films": ("f06",)}), ["f03"]),
    }  # fmt: skip
    answers = service.recommend([request for request, _ in asked.values()])
    for (name, (_, expected)), answer in zip(asked.items(), answers, strict=True):
        assert [item for _, item in pairs(answer.items)] == expected, name


def liking_late_films() -> Fitted:
    """Nobody has a film but u23, who has the first."""
    data = world()
    films = Interactions.from_events([23], [0], USERS, SIZES["films"])
    data = data.with_events({"books": data["books"], "films": films})
    rows = {"films": (np.ones((USERS, 1)), np.arange(SIZES["films"])[:, None])}
    rows["books"] = np.ones((USERS, 1)), np.ones((SIZES["books"], 1))
    return by_hand(data, rows, factors=1, cold_policy="mean")


def items_table(folder: Path) -> Path:
    number = np.arange(SIZES["films"])
    table = pl.DataFrame(
        {
            "domain": "films",
            "item": [f"f{n:02d}" for n in number],
            "genre": [("noir", "war", None)[n % 3] for n in number],
            "stock": number % 2 == 0,
            "year": (1900.0 + number).tolist(),
        }
    )
    strange = pl.DataFrame({"domain": ["games", "films"], "item": ["g", "new"], "genre": ["noir", "noir"]})
    pl.concat([table, strange], how="diagonal").write_parquet(folder / "items.parquet")
    return folder / "items.parquet"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_leave_the_best_of_what_is_left(joint: Service, data: st.DataObject) -> None:
    ids = [f"f{n:02d}" for n in range(SIZES["films"])]
    some = st.lists(st.sampled_from([*ids, "unknown"]), max_size=90)
    user = data.draw(st.sampled_from(joint.fitted.history.users.ids.tolist()))
    deny, allow = data.draw(some), data.draw(st.none() | some)
    seen, k = data.draw(st.booleans()), data.draw(st.integers(1, 100))
    allowed = {} if allow is None else {"films": tuple(allow)}
    request = Request(("films",), user, (), k, seen, allowed, {"films": tuple(deny)})
    every = lists(joint, Request(("films",), user, k=90, seen=seen))[0]
    left = [pair for pair in every if pair[1] not in deny and (allow is None or pair[1] in allow)]
    assert lists(joint, request)[0] == left[:k]


def test_tables_of_items_may_be_text(tmp_path: Path) -> None:
    """CSV knows no types; ids of the model are found as numbers, of a repeated item the last row counts."""
    path = tmp_path / "items.csv"
    path.write_text("domain,item,shelf,title\nbooks,10,3,Ten\nbooks,20,4,Twenty\nbooks,10,4,\nfilms,f01,,\n")
    service = opened(fit(Popularity()), tmp_path, path)
    found = service.recommend(
        [Request(("books",), where={"shelf": 4}), Request(("films",), where={"shelf": 4})]
    )
    assert {item for _, item in pairs(found[0].items)} == {10, 20}
    assert pairs(found[1].items) == []
    titles = {entry.item: entry.title for entry in service.popular("books", 15)}
    assert (titles[10], titles[20], titles[30]) == (None, "Twenty", None)
    assert service.about()["filters"] == ["shelf", "title"]
    assert service.search("films", "lights 13")[0].title == "Film 13 of 6 Lights"


def test_bad_filters_are_refused(tmp_path: Path) -> None:
    service = opened(fit(Popularity()), tmp_path, items_table(tmp_path))
    with pytest.raises(DataError, match=r"Unknown column of the items' table 'gener': did you mean 'genre'"):
        service.recommend([Request(("films",), where={"gener": "noir"})])
    with pytest.raises(DataError, match="A value in 'where' is text, a number"):
        service.recommend([Request(("films",), where={"genre": {"noir": 1}})])
    (tmp_path / "bad.csv").write_text("item,genre\n1,a\n")
    with pytest.raises(DataError, match="no column 'domain'"):
        Service.open(tmp_path / "run", tmp_path / "bad.csv")


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the books 0, 10, 20 and so on."""
    folder = tmp_path_factory.mktemp("popular")
    opened(fit(Popularity()), folder)
    return folder / "run"


def filtered(run: Path, values: Any, wanted: object, suffix: str = ".parquet") -> list[int]:
    """The numbers of the books that a filter leaves, of those with these values; the others have none."""
    table = pl.DataFrame({"domain": "books", "item": np.arange(len(values)) * 10, "column": values})
    path = run.parent / f"items{suffix}"
    table.write_csv(path) if suffix == ".csv" else table.write_parquet(path)
    service = Service.open(run, path)
    (answer,) = service.recommend([Request(("books",), k=15, where={"column": wanted})])
    return sorted(int(entry.item) // 10 for entry in answer.items)


NUMBERS = {
    "whole": pl.Series([5, 6, 5]),
    "with a fraction elsewhere": pl.Series([5.0, 6.5, 5.0]),
    "NaN elsewhere": pl.Series([5.0, float("nan"), 5.0]),
    "infinite elsewhere": pl.Series([5.0, float("inf"), 5.0]),
    "missing elsewhere": pl.Series([5.0, None, 5.0]),
    "unsigned": pl.Series([5, 6, 5], dtype=pl.UInt64),
    "decimal": pl.Series(["5.00", "6.50", "5.00"]).cast(pl.Decimal(10, 2)),
    "text": pl.Series(["5", "n/a", "5.0"]),
    "category": pl.Series(["5", "6", "5"], dtype=pl.Categorical),
    "list": pl.Series([[5.0, 7.5], [], [None, 5.0]]),
    "array": pl.Series([[5, 7], [6, 6], [4, 5]], dtype=pl.Array(pl.Int8, 2)),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_compare_as_numbers_whatever_the_type_of_the_column(popular: Path, kind: str) -> None:
    assert [filtered(popular, NUMBERS[kind], wanted) for wanted in (5, 5.0)] == [[0, 2], [0, 2]]


def test_a_short_float_is_the_number_it_is_written_as(popular: Path) -> None:
    assert filtered(popular, pl.Series([0.1, 6.1], dtype=pl.Float32), 6.1) == [1]


def test_whole_numbers_beyond_those_of_floats_stay_apart(popular: Path) -> None:
    large = 2**53
    for values in ([large, large + 1, 3], [str(large), str(large + 1), "3"]):
        assert [filtered(popular, values, wanted) for wanted in (large, float(large), large + 1)] == [
            [0],
            [0],
            [1],
        ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_true_and_false_are_found_in_every_file(popular: Path, suffix: str) -> None:
    for values in ([True, False, None], ["True", "FALSE", None], [1, 0, None]):
        found = [filtered(popular, values, wanted, suffix) for wanted in (True, False)]
        assert found == [[0], [1]]


def test_text_is_compared_exactly(popular: Path) -> None:
    values = ["007", "7", "7.0", " 7"]
    assert [filtered(popular, values, wanted) for wanted in ("007", "7", 7)] == [[0], [1], [1, 2]]


def test_text_in_a_request_reads_as_the_number_of_the_column(popular: Path) -> None:
    assert [filtered(popular, [3, 4, 30], wanted) for wanted in ("3", "3.0", "3e1", "03")] == [
        [0], [0], [2], [],
    ]  # fmt: skip


def test_dates_are_text_in_iso_form(popular: Path) -> None:
    day, time = date(2020, 1, 31), datetime(2020, 1, 31, 10, 30)
    assert filtered(popular, [day, date(2021, 1, 1)], "2020-01-31") == [0]
    assert filtered(popular, [time, datetime(2021, 1, 1)], "2020-01-31T10:30:00") == [0]


@pytest.mark.parametrize(
    "values", [["x", None, ""], [1.5, None, float("nan")], [["x"], [], [None]], [True, None, None]]
)
def test_null_finds_the_items_without_a_value(popular: Path, values: list[object]) -> None:
    without = list(range(1, SIZES["books"]))  # also those that the table does not have
    assert filtered(popular, values, None) == without
    assert filtered(popular, values, [None, values[0] if values[0] != ["x"] else "x"]) == [0, *without]
    assert filtered(popular, values, []) == []


ODD = {
    "bytes": pl.Series([b"a"]),
    "durations": pl.Series([timedelta(1)]),
    "structs": pl.Series([{"a": 1}]),
    "lists of lists": pl.Series([[["a"]]]),
    "lists of bytes": pl.Series([[b"a"]]),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_column_that_cannot_be_compared_is_refused_at_the_start(popular: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"Column 'column' of the items' table .* holds .*; convert it to"):
        filtered(popular, ODD[kind], "a")


def test_titles_of_lists_are_refused(popular: Path) -> None:
    path = popular.parent / "items.parquet"
    pl.DataFrame({"domain": "books", "item": 10, "title": [["Ten"]]}).write_parquet(path)
    with pytest.raises(DataError, match=r"Column 'title' of the items' table .* holds lists"):
        Service.open(popular, path)


@pytest.mark.parametrize("row", ["books,10.0,x", "books,010,x", "Books,10,x"])
def test_a_table_without_an_item_of_the_model_is_refused(popular: Path, row: str) -> None:
    path = popular.parent / "items.csv"
    path.write_text(f"domain,item,genre\n{row}\n")
    with pytest.raises(DataError, match=r"No row of the items' table .* is about an item of this model"):
        Service.open(popular, path)


def test_rows_that_fit_no_item_are_in_the_log(popular: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = popular.parent / "items.csv"
    for text, level in (("books,10,x\nbooks,20,x\n", "INFO"), ("books,10,x\ngames,20,x\n", "WARNING")):
        path.write_text("domain,item,genre\n" + text)
        caplog.clear()
        with caplog.at_level("INFO"):
            Service.open(popular, path)
        assert [(each.levelname, each.message) for each in caplog.records] == [(level, "items' table")]


BLANK = ["", "   ", "\t\n", "\u200b\u200d", "\u3164", "\u2800", "\u0301", "\x00"]


@pytest.mark.parametrize("title", BLANK)
def test_a_title_that_shows_nothing_is_none(tmp_path: Path, title: str) -> None:
    data = world()
    titles = data.titles["films"].copy()
    titles[3] = title
    path = tmp_path / "items.parquet"
    pl.DataFrame({"domain": "books", "item": [10, 20], "title": [title, "Twenty"]}).write_parquet(path)
    service = opened(fit(Popularity(), replace(data, titles={"films": titles})), tmp_path, path)
    shown = {entry.item: entry.title for entry in service.popular(None, 200)}
    assert (shown["f03"], shown["f04"], shown[10], shown[20]) == (None, "Film 4 of 4 Lights", None, "Twenty")


def test_the_titles_of_the_table_count_before_those_of_the_events(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("domain,item,title\nfilms,f03,Three\nfilms,f04,  \n")
    service = opened(fit(Popularity()), tmp_path, path)
    shown = {entry.item: entry.title for entry in service.popular("films", 90)}
    assert (shown["f03"], shown["f04"]) == ("Three", "Film 4 of 4 Lights")


CELLS = {
    "numbers": st.integers(-3, 3) | st.sampled_from([0.5, -2.0, 2.0**40, float("nan")]),
    "texts": st.text(max_size=3) | st.sampled_from(["1", "1.0", "-2", "true", "x"]),
    "booleans": st.booleans(),
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(CELLS)), lists=st.booleans())
def test_any_column_filters_as_its_cells_compare(data: st.DataObject, kind: str, lists: bool) -> None:
    """Against a comparison cell by cell, in Python."""
    cell = CELLS[kind] | st.none()
    cells = data.draw(st.lists(st.lists(cell, max_size=3) if lists else cell, min_size=1, max_size=6))
    wanted = data.draw(CELLS["numbers"].filter(lambda number: number == number) | CELLS[kind])
    column = AttributeColumn.of(pl.Series(cells, strict=False), np.arange(len(cells), dtype=np.int32), 8)
    held = [[each for each in (row if lists else [row]) if each is not None] for row in cells]
    expected = [place for place, row in enumerate(held) if any(equal(each, wanted) for each in row)]
    assert (
        sorted(set(column.items_with(wanted if isinstance(wanted, tuple) else (wanted,)).tolist()))
        == expected
    )


def equal(cell: object, wanted: object) -> bool:
    """Text with text exactly, everything else by what it reads as."""
    if isinstance(cell, str) and isinstance(wanted, str):
        return cell == wanted != ""
    return read_as(cell) == read_as(wanted)


def read_as(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return json.loads(value) if value.strip("-").replace(".", "", 1).isdecimal() else value


def test_the_values_of_a_column_to_choose_from(tmp_path: Path) -> None:
    """Those of most items first, over all domains; each finds as many items as are said."""
    number = np.arange(SIZES["films"])
    films = {"domain": "films", "item": [f"f{n:02d}" for n in number]}
    table = pl.DataFrame(
        films
        | {
            "genre": [("noir", "Western", None, "Film noir")[n % 4] for n in number],
            "price": [(5.0, 6.5, float("nan"))[n % 3] for n in number],
            "stock": number % 3 == 0,
            "tags": [["a", "a", "b"], [], None] * 30,
            "mixed": ["5" if n < 10 else "5.0" for n in number],
        }
    )
    books = pl.DataFrame({"domain": ["books"] * 2, "item": ["0", "10"], "genre": ["Noir", "noir"]})
    pl.concat([table, books], how="diagonal").write_parquet(tmp_path / "items.parquet")
    service = opened(fit(Popularity()), tmp_path, tmp_path / "items.parquet")

    def values(column: str, text: str = "", k: int = 20) -> list[tuple[object, int]]:
        return [(each.value, each.items) for each in service.attribute_values(column, text, k)]

    assert values("genre") == [(None, 35), ("noir", 24), ("Western", 23), ("Film noir", 22), ("Noir", 1)]
    assert values("genre", "NÓIR", 2) == [("noir", 24), ("Film noir", 22)]
    assert values("genre", "opera") == []
    assert values("price") == [(None, 45), (5.0, 30), (6.5, 30)]
    assert values("stock") == [(False, 60), (True, 30), (None, 15)]
    assert [type(value) for value, _ in values("stock", "true")] == [bool]
    assert values("tags") == [(None, 75), ("a", 30), ("b", 30)]
    assert values("mixed", "5") == [("5.0", 80), ("5", 10)]
    for column in ("genre", "price", "stock", "tags", "mixed"):
        for value, items in values(column):
            for wanted in (
                {value, value if value is None else str(value).lower()} if column == "stock" else {value}
            ):
                requests = [Request((domain,), k=200, seen=True, where={column: wanted}) for domain in SIZES]
                assert sum(map(len, lists(service, *requests))) == items, (column, wanted)
    with pytest.raises(DataError, match="Unknown column of the items' table 'gener': did you mean 'genre'"):
        service.attribute_values("gener")
    with pytest.raises(DataError, match="without a table of its items"):
        Service.open(tmp_path / "run").attribute_values("genre")


def test_similar_items_may_be_filtered(tmp_path: Path) -> None:
    service = opened(fit(Popularity()), tmp_path, items_table(tmp_path))
    every = service.similar("films", "f08", 90)
    noir = [entry for entry in every if int(str(entry.item)[1:]) % 3 == 0]
    assert 0 < len(noir) < len(every)
    assert service.similar("films", "f08", 90, where={"genre": "noir"}) == noir
    assert service.similar("films", "f08", 1, where={"genre": "noir"}) == noir[:1]
    assert service.similar("films", "f08", where={"genre": "opera"}) == []
