"""Tables as shops export them: columns of any name, numbers and dates of any country, broken rows."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import landbridge as lb
from landbridge.core.errors import DataError


def csv(folder: Path, text: str, name: str = "shop.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def used(path: Path) -> dict[str, str]:
    """Role -> column."""
    return dict(lb.read(path).provenance.tables[0].used)


@pytest.mark.parametrize("name", ["purchased_at", "eventTime", "Order Date", "created_on", "last-ts"])
def test_a_single_column_named_like_a_time_is_the_time(tmp_path: Path, name: str) -> None:
    path = csv(tmp_path, f"user,item,{name}\na,x,2024-05-01\nb,y,2024-05-02 10:00\n")
    assert used(path) == {"user": "user", "item": "item", "time": name}


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("created_at,updated_at\na,x,2024-05-01,2024-05-02\nb,y,2024-05-01,2024-05-02", "two of them"),
        ("watch_time,n\na,x,35,1\nb,y,3600,2", "a duration"),
        ("returned_at,n\na,x,2024-05-01,1\nb,y,,2", "a cell is missing"),
        ("format,flat\na,x,2024,1\nb,y,2024,2", "not so named"),
    ],
)
def test_other_columns_are_no_time_unless_named(tmp_path: Path, columns: str, why: str) -> None:
    data = lb.read(csv(tmp_path, f"user,item,{columns}\n"))
    assert data["shop"].time is None, why
    assert len(data.provenance.tables[0].unused) == 2


def test_columns_that_look_like_times_are_named_where_a_split_needs_one(tmp_path: Path) -> None:
    data = lb.read(csv(tmp_path, "user,item,bought,shipped,n\na,x,2024-05-01,1714557600,1\n"))
    assert data.provenance.tables[0].time_like == ("bought", "shipped")
    for split in (lb.leave_last_out, lb.leave_latest_out, lb.temporal):
        with pytest.raises(
            DataError, match=r"look like times \('bought', 'shipped'\) with --column time=bought"
        ):
            split(data)


def test_in_several_tables_the_one_without_time_is_named(tmp_path: Path) -> None:
    books = csv(tmp_path, "user,item,time\na,x,1714557600\n", "books.csv")
    films = csv(tmp_path, "user,item,bought\na,x,2024-05-01\n", "films.csv")
    with pytest.raises(DataError, match=r"Domain 'films' .* --column films\.time=bought"):
        lb.leave_latest_out(lb.read([books, films], users="shared"))


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("a,x,5\nb,y,6\n", ["a", "b"]),  # data from the first row on
        ("user,item,n\na,x,5\nb,y,6\n", ["a", "b"]),  # usual names
        ("kunde,artikel,menge\na,x,5\nb,y,6\n", ["a", "b"]),  # text above numbers
    ],
)
def test_positions_see_whether_there_is_a_header(tmp_path: Path, text: str, users: list[str]) -> None:
    data = lb.read(csv(tmp_path, text), columns={"user": 1, "item": 2})
    assert data.users.ids.tolist() == users


def test_a_separator_is_what_the_lines_have_in_common(tmp_path: Path) -> None:
    """Not what one cell is full of."""
    path = csv(tmp_path, "a||||b,x,5\nc,y,6\nd,z,7\n")
    assert lb.read(path, columns={"user": 1, "item": 2}).users.ids.tolist() == ["a||||b", "c", "d"]


def test_a_first_row_with_a_number_is_no_header(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,x,1700000000,?\nb,y,1700000001,3\n")
    assert lb.read(path, columns={"user": 1, "item": 2, "time": 3}).n_users == 2


def test_a_column_may_be_called_as_polars_calls_all_columns() -> None:
    frame = pl.DataFrame({"*": ["a"], "^.*$": ["x"], "n": [1]})
    assert lb.read(frame, columns={"user": "*", "item": "^.*$"}).users.ids.tolist() == ["a"]


def test_a_column_called_as_a_number_is_meant_by_its_name() -> None:
    frame = pl.DataFrame({"2": ["a"], "1": ["x"], "n": [3]})
    data = lb.read(frame, columns={"user": "1", "item": "2"})
    assert (data.users.ids.tolist(), data.items["events"].ids.tolist()) == (["x"], ["a"])
    with pytest.raises(DataError, match="has 3 columns, so none is number 4"):
        lb.read(frame, columns={"user": "4", "item": "2"})


def test_a_file_of_numbers_alone_has_no_header(tmp_path: Path) -> None:
    path = csv(tmp_path, "1\t7\t1700000000\n2\t8\t1700000001\n", "u.data")
    with pytest.raises(DataError, match="has no header; name its 3 columns by position"):
        lb.read(path)
    assert lb.read(path, columns={"user": 1, "item": 2, "time": 3}).users.ids.tolist() == [1, 2]


def test_decimal_commas_are_those_of_numbers_alone(tmp_path: Path) -> None:
    """Ids and titles keep their commas, whatever the separator."""
    for mark in (";", "\t"):
        rows = [("user", "item", "weight", "title"), ("a", "1,5", "0,25", "1,5 l"), ("b", "2,5", "2", "3,5")]
        data = lb.read(csv(tmp_path, "\n".join(mark.join(row) for row in rows)))
        assert data["shop"].weight is not None
        assert data["shop"].weight.tolist() == [0.25, 2]
        assert data.items["shop"].ids.tolist() == ["1,5", "2,5"]
        assert data.titles["shop"].tolist() == ["1,5 l", "3,5"]


def test_a_comma_that_can_separate_thousands_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path, "user;item;amount\na;x;1,234\nb;y;12\n")
    with pytest.raises(DataError, match=r"'weight' \(amount\) .* '1,234', which can be 1\.234 or 1234"):
        lb.read(path, columns={"weight": "amount"})
    one_way = csv(tmp_path, "user;item;amount\na;x;1,234\nb;y;0,5\n")
    weight = lb.read(one_way, columns={"weight": "amount"})["shop"].weight
    assert weight is not None
    assert weight.tolist() == pytest.approx([1.234, 0.5])


@pytest.mark.parametrize(
    ("dates", "seconds"),
    [
        (["01/31/2020", "02/01/2020"], [1_580_428_800, 1_580_515_200]),
        (["02/01/2020 10:00", "31/01/2020 11:00:30"], [1_577_959_200, 1_580_468_430]),
        (["31.1.20", "1.2.20"], [1_580_428_800, 1_580_515_200]),
        (["2020/01/31", "2020/02/01"], [1_580_428_800, 1_580_515_200]),
    ],
)
def test_dates_of_other_countries(dates: list[str], seconds: list[int]) -> None:
    data = lb.read(pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "date": dates}))
    assert data["events"].time is not None
    assert data["events"].time.tolist() == seconds


def test_an_odd_cell_among_dates_is_the_row_that_is_named() -> None:
    dates = ["2024-01-01", "2024-01-02", "0", "2024-01-04"]
    with pytest.raises(DataError, match="missing or no time in row 3"):
        lb.read(pl.DataFrame({"user": [1, 2, 3, 4], "item": [1, 2, 3, 4], "date": dates}))


def test_utf16_without_a_mark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("user,item\na,1\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="holds null characters, as UTF-16 without a mark does"):
        lb.read(path)


def test_a_cell_of_several_lines_is_no_bad_row(tmp_path: Path) -> None:
    text = 'user,item,title\na,x,"two\nlines, ""quoted"""\nb,"y\nc,z,t\nd,w,"u"\n'
    skipped = tmp_path / "skipped.jsonl"
    data = lb.read(csv(tmp_path, text), skip_bad_rows=skipped)
    assert data.users.ids.tolist() == ["a", "c", "d"]
    assert data.titles["shop"].tolist() == ["u", 'two\nlines, "quoted"', "t"]
    (line,) = map(json.loads, skipped.read_text().splitlines())
    assert (line["row"], line["line"], line["reason"]) == (2, 'b,"y', "The row has an open quotation mark")


def test_bad_lines_of_json_and_rows_of_frames_are_left_out(tmp_path: Path) -> None:
    path = csv(
        tmp_path, '{"user": 1, "item": 2}\n{"user": 1, "it\n[1]\n{"user": null, "item": 3}\n', "x.jsonl"
    )
    data = lb.read(path, skip_bad_rows=tmp_path / "skipped.jsonl")
    assert [(row.row, row.reason) for row in data.provenance.skipped] == [
        (2, "The row is no JSON"),
        (3, "The row is no JSON object"),
        (4, "Column 'user' is missing"),
    ]
    frame = pl.DataFrame({"user": [1.0, 1.5, None], "item": [1, 2, 3], "weight": [1.0, 2.0, 3.0]})
    assert lb.read(frame, skip_bad_rows=tmp_path / "skipped.jsonl").n_events == 1
    assert [json.loads(line)["row"] for line in (tmp_path / "skipped.jsonl").read_text().splitlines()] == [
        2,
        3,
    ]


def test_a_table_without_a_good_row_is_refused(tmp_path: Path) -> None:
    skipped = tmp_path / "skipped.jsonl"
    with pytest.raises(DataError, match=r"No row of .*; the first: .*'user' of .* is missing in row 1"):
        lb.read(csv(tmp_path, "user,item\n,1\n,2\n"), skip_bad_rows=skipped)
    (tmp_path / "latin.csv").write_bytes(b"user,item\ncaf\xe9,1\n")
    with pytest.raises(DataError, match=r"No row of .*the first: row 1 of .*not in the encoding UTF-8"):
        lb.read(tmp_path / "latin.csv", skip_bad_rows=skipped)
    assert not skipped.exists()


def test_bad_rows_of_several_files_are_counted_through(tmp_path: Path) -> None:
    csv(tmp_path, "user,item\na,1\n,2\n", "s-1.csv")
    csv(tmp_path, "user,item\nb,1\nc,2,3,4\nd,\n", "s-2.csv")
    data = lb.read(f"{tmp_path}/s-*.csv", skip_bad_rows=tmp_path / "skipped.jsonl")
    assert [row.row for row in data.provenance.skipped] == [2, 4, 5]
    assert data.users.ids.tolist() == ["a", "b"]


def test_ids_are_folded_in_every_table(tmp_path: Path) -> None:
    tables = {
        "a": pl.DataFrame({"user": ["Ann ", "bob"], "item": ["X1", "x2"]}),
        "b": pl.DataFrame({"user": ["ANN", "Cy"], "item": ["y1", "Y2"]}),
    }
    titles = pl.DataFrame({"item": ["x1 ", "Y2"], "title": ["One", "Two"]})
    data = lb.read(tables, users="shared", fold_ids=True, titles=titles)
    assert data.users.ids.tolist() == ["ann", "bob", "cy"]
    assert (data.titles["a"].tolist(), data.titles["b"].tolist()) == (["One", "x2"], ["y1", "Two"])
    assert dict(data.provenance.folded) == {"users": 1, "items": 0}
    link = pl.DataFrame({"a": ["ann", "BOB"], "b": ["Ann", " cy"]})
    assert lb.read(tables, users={"link": link}, fold_ids=True).n_users == 2


def test_a_rating_that_is_no_threshold_is_not_used(tmp_path: Path) -> None:
    path = csv(tmp_path, "user,item,rating\na,x,5\nb,y,1\n")
    assert lb.read(path).provenance.tables[0].unused == ("rating",)
    assert lb.read(path, min_rating=2).provenance.tables[0].unused == ()


def test_tables_of_seen_pairs_are_read_as_the_events_are(tmp_path: Path) -> None:
    books = csv(tmp_path, "buyer,item,kind\nAnn,B1,buy\nBob,B2,buy\nCy,B1,buy\nDan,B1,\n", "books.csv")
    seen = csv(tmp_path, "buyer,item,colour\n BOB,b1,red\n,b2,blue\n", "returned.csv")
    skipped = tmp_path / "skipped.jsonl"
    data = lb.read(
        {"books": books}, columns={"books.user": "buyer"}, seen=seen, fold_ids=True, skip_bad_rows=skipped
    )
    pairs = data.seen["books"].pairs
    assert data.users.ids[pairs.user_idx].tolist() == ["bob"]
    assert data.items["books"].ids[pairs.item_idx].tolist() == ["b1"]
    assert [table.where for table in data.provenance.tables] == [f"file {books}"]
    assert [(table.where, table.unused) for table in data.provenance.seen] == [(f"file {seen}", ("colour",))]
    # Bob and BOB, B1 and b1: an id of one table became that of the other
    assert data.provenance.folded == {"users": 1, "items": 1}
    rows = [json.loads(line) for line in skipped.read_text().splitlines()]
    assert [(row["table"], row["row"]) for row in rows] == [(f"file {books}", 4), (f"file {seen}", 2)]
