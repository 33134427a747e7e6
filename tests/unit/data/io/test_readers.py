"""Reading files, frames and queries, and saying clearly what cannot be read."""

from __future__ import annotations

import gzip
import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read, read_sql

BOOKS = {"user": ["ann", "bob", "ann"], "item": ["b2", "b1", "b1"], "timestamp": [5, 6, 7]}
MOVIES = {"user": ["bob", "cat"], "item": ["b1", "m1"]}
TABLE = pl.DataFrame(
    {
        "user": ["ann", "bob", "ann", "bob", "cat"],
        "item": ["b2", "b1", "b1", "b1", "m1"],
        "domain": ["books"] * 3 + ["movies"] * 2,
    }
)


def pairs(data: MultiDomain, domain: str) -> list[tuple[Any, Any]]:
    events = data[domain]
    users = data.users.ids[events.user_idx].tolist()
    return list(zip(users, data.items[domain].ids[events.item_idx].tolist(), strict=True))


def write(path: Path, frame: pl.DataFrame) -> Path:
    kind = path.name.split(".")[1]
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    {
        "csv": frame.write_csv,
        "tsv": lambda to: frame.write_csv(to, separator="\t"),
        "parquet": frame.write_parquet,
        "jsonl": frame.write_ndjson,
    }[kind](plain)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_gives_the_same_events(tmp_path: Path, kind: str, gz: str) -> None:
    data = read(write(tmp_path / f"events.{kind}{gz}", TABLE))
    assert data.domain_names == ("books", "movies")
    assert pairs(data, "books") == [("ann", "b1"), ("ann", "b2"), ("bob", "b1")]
    assert pairs(data, "movies") == [("bob", "b1"), ("cat", "m1")]
    assert data.shared_U.tolist() == [False, True, False]


@pytest.mark.parametrize("convert", [pl.DataFrame.to_pandas, pl.DataFrame.to_arrow, pl.DataFrame.lazy])
def test_frames_of_other_libraries(convert: Any) -> None:
    assert read(convert(TABLE)).fingerprint == read(TABLE).fingerprint


def test_duckdb_relations_and_queries() -> None:
    frame = TABLE.to_arrow()
    with duckdb.connect() as connection:
        connection.register("events", frame)
        assert read(connection.sql("select * from events")).fingerprint == read(TABLE).fingerprint
        connection.sql("create table kept as select * from events")
        rows = read_sql("select * from kept", connection)
    assert read(rows).fingerprint == read(TABLE).fingerprint


def test_sqlite_by_uri_and_by_connection(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("create table sales (customer_id integer, sku text)")
    connection.executemany("insert into sales values (?, ?)", [(1, "a"), (2, "b")])
    connection.commit()
    by_uri = read(read_sql("select * from sales", f"sqlite:///{path}"))
    assert pairs(by_uri, "events") == [(1, "a"), (2, "b")]
    assert read(read_sql("select * from sales", connection)).fingerprint == by_uri.fingerprint
    with pytest.raises(DataError, match="no such table"):
        read_sql("select * from absent", connection)
    connection.close()
    with pytest.raises(DataError, match="no database file"):
        read_sql("select 1", f"sqlite:///{tmp_path}/none.db")


def test_list_of_files_names_domains_by_stem(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "books.csv", pl.DataFrame(BOOKS)),
        write(tmp_path / "movies.parquet", pl.DataFrame(MOVIES)),
    ]
    data = read(files, users="shared")
    assert data.domain_names == ("books", "movies")
    assert data["books"].time is not None
    assert data["books"].time.tolist() == [7, 5, 6]
    assert data["movies"].time is None


def test_usual_names_are_found_in_any_case_and_columns_override() -> None:
    frame = pl.DataFrame({"UID": [1], "Asin": [2], "other": [3]})
    assert pairs(read(frame), "events") == [(1, 2)]
    assert pairs(read(frame, columns={"item": "other"}), "events") == [(1, 3)]


def test_a_column_given_for_one_role_is_guessed_for_no_other() -> None:
    frame = pl.DataFrame({"category": ["x", "y"], "item": [1, 2]})
    assert read(frame, columns={"user": "category"}).domain_names == ("events",)


def test_ratings_are_a_threshold_and_weights_are_weights() -> None:
    frame = pl.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 1], "rating": [3, 4, 5], "weight": [9.0, 2.0, 0.5]}
    )
    data = read(frame, min_rating=4)["events"]
    assert data.weight is not None
    assert data.weight.tolist() == [2.0, 0.5]
    assert read(frame.drop("weight"))["events"].weight is None
    assert len(read(frame)["events"]) == 3


def test_duplicates_follow_the_rule() -> None:
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 1], "weight": [2.0, 3.0], "time": [9, 4]})
    last, total = (read(frame, duplicates=rule)["events"] for rule in ("last", "sum"))
    assert last.weight is not None
    assert total.weight is not None
    assert (last.weight.tolist(), total.weight.tolist()) == ([2.0], [5.0])
    with pytest.raises(DataError, match="twice"):
        read(frame, duplicates="error")
    with pytest.raises(DataError, match="did you mean 'last'"):
        read(frame, duplicates="lasst")


def test_ids_are_numbers_only_if_that_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item\n17,007\n5,7\n")
    data = read(path)
    assert data.users.ids.tolist() == [5, 17]
    assert data.items["events"].ids.tolist() == ["007", "7"]


def test_whole_floats_are_whole_numbers() -> None:
    assert pairs(read(pd.DataFrame({"user": [1.0, 2.0], "item": [3, 4]})), "events") == [(1, 3), (2, 4)]


def test_dates_become_seconds(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "user,item,date\n1,1,1970-01-02\n1,2,1970-01-02 00:00:01\n".replace("02\n", "02 00:00:00\n")
    )
    assert read(path)["events"].time.tolist() == [86400, 86401]
    frame = pl.read_csv(path, try_parse_dates=True)
    assert read(frame)["events"].time.tolist() == [86400, 86401]


def test_domains_choose_and_order() -> None:
    assert read(TABLE, domains=["movies"]).domain_names == ("movies",)
    with pytest.raises(DataError, match="did you mean 'movies'"):
        read(TABLE, domains=["movie"])


@pytest.mark.parametrize("title", ["", "  ", "\u200b", "\u3164", "\x00"])
def test_an_item_whose_title_shows_nothing_is_called_by_its_id(title: str) -> None:
    titled = TABLE.with_columns(title=pl.Series([title, None, title, title, "M1"]))
    named = read(titled).titles
    assert (named["books"].tolist(), named["movies"].tolist()) == (["b1", "b2"], ["b1", "M1"])


@pytest.mark.parametrize("title", [["a"], b"\xff", timedelta(1)], ids=["list", "bytes", "duration"])
def test_titles_that_are_no_text_are_refused(title: object) -> None:
    with pytest.raises(DataError, match=r"Column 'title' of .* holds .*; give text"):
        read(TABLE.with_columns(title=pl.Series([title] * len(TABLE))))
    with pytest.raises(DataError, match=r"Column 'title' of .* holds .*; give text"):
        read(TABLE, titles=pl.DataFrame({"item": ["b1"], "title": [title]}))


def test_titles_come_from_the_events_or_from_a_table() -> None:
    with_titles = TABLE.with_columns(title=pl.Series(["B2", "B1", None, "Film b1", None]))
    assert read(with_titles).titles["books"].tolist() == ["B1", "B2"]
    assert read(with_titles).titles["movies"].tolist() == ["Film b1", "m1"]
    table = pl.DataFrame({"item": ["b1", "b1"], "title": ["A book", "A film"], "domain": ["books", "movies"]})
    named = read(TABLE, titles=table).titles
    assert named["books"].tolist() == ["A book", "b2"]
    assert named["movies"].tolist() == ["A film", "m1"]


def test_memberships_hold_the_home_and_the_listed_domains() -> None:
    table = pl.DataFrame({"item": ["b2", "b2", "zz"], "domain": ["movies", "music", "books"]})
    belongs = read(TABLE, memberships=table).memberships
    assert belongs["books"].tolist() == [[True, False], [True, True]]  # b1, b2
    assert belongs["movies"].tolist() == [[False, True], [False, True]]


class TestIdentity:
    source: ClassVar = {
        "a": pl.DataFrame({"user": [1, 9], "item": [1, 2]}),
        "b": pl.DataFrame({"user": [9, 1], "item": [1, 2]}),
    }

    def test_separate_tables_need_an_answer(self) -> None:
        with pytest.raises(DataError, match=r"users='shared'.*'local'.*range.*link.*data check"):
            read(self.source)

    def test_shared_and_local(self) -> None:
        assert read(self.source, users="shared").users.ids.tolist() == [1, 9]
        assert read(self.source, users="local").users.ids.tolist() == ["a:1", "a:9", "b:1", "b:9"]

    def test_a_range_shares_what_is_inside(self) -> None:
        data = read(self.source, users=range(5))
        assert data.users.ids.tolist() == ["1", "a:9", "b:9"]
        assert pairs(data, "b") == [("1", 2), ("b:9", 1)]
        assert read(self.source, users=range(5, 9)).users.ids.tolist() == ["a:1", "a:9", "b:1", "b:9"]
        with pytest.raises(DataError, match="text ids"):
            read({"a": TABLE, "b": TABLE}, users=range(3))

    def test_a_link_joins_different_ids(self) -> None:
        data = read(self.source, users={"link": pl.DataFrame({"a": [1, None], "b": [9, 1]})})
        assert data.users.ids.tolist() == ["a:1", "a:9", "b:1"]
        assert pairs(data, "b") == [("a:1", 1), ("b:1", 2)]

    @pytest.mark.parametrize(
        ("link", "message"),
        [
            ({"a": [1, 1], "b": [1, 2]}, "occurs twice"),
            ({"a": [1], "c": [1]}, "Unknown domain 'c'"),
            ({"a": [1]}, "two domains"),
            ({"a": ["x"], "b": ["y"]}, "same kind"),
        ],
    )
    def test_bad_links(self, link: dict[str, list[Any]], message: str) -> None:
        with pytest.raises(DataError, match=message):
            read(self.source, users={"link": pl.DataFrame(link)})

    def test_shared_text_and_numbers_are_refused(self) -> None:
        with pytest.raises(DataError, match="Shared user ids are"):
            read({"a": self.source["a"], "b": TABLE}, users="shared")

    def test_nonsense(self) -> None:
        with pytest.raises(DataError, match="Cannot use users='sharde'"):
            read(self.source, users="sharde")


class TestAmazonAndRecBole:
    def test_2014_ratings_without_header(self, tmp_path: Path) -> None:
        path = tmp_path / "ratings_Books.csv"
        path.write_text("A2SUAM1J3GNN3B,B000062401,5.0,1355443200\nAH2L9G3DQHHAJ,0000000116,4.0,1019865600\n")
        data = read(path, min_rating=5)
        assert pairs(data, "ratings_Books") == [("A2SUAM1J3GNN3B", "B000062401")]

    def test_2018_ratings_have_the_item_first(self, tmp_path: Path) -> None:
        path = tmp_path / "Books.csv"
        path.write_text("0001713353,A1C6M8LCIX4M6M,5.0,1123804800\n")
        assert pairs(read(path), "Books") == [("A1C6M8LCIX4M6M", "0001713353")]

    def test_2018_reviews(self, tmp_path: Path) -> None:
        row = {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "unixReviewTime": 1355443200, "summary": "x"}
        path = tmp_path / "Books_5.json.gz"
        path.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
        data = read(path, min_rating=4)
        assert pairs(data, "Books_5") == [("A1", "B1")]
        assert data["Books_5"].time.tolist() == [1355443200]

    @pytest.mark.parametrize("kind", ["jsonl", "csv"])
    def test_2023_has_milliseconds_and_parents(self, tmp_path: Path, kind: str) -> None:
        row = {
            "user_id": "AE1", "parent_asin": "B1", "asin": "B2", "rating": 5.0,
            "timestamp": 1588615855070, "title": "Great!",
        }  # fmt: skip
        data = read(write(tmp_path / f"Beauty.{kind}", pl.DataFrame([row])))
        assert pairs(data, "Beauty") == [("AE1", "B1")]
        assert data["Beauty"].time.tolist() == [1588615855]
        assert not data.titles

    def test_recbole_atomic_files(self, tmp_path: Path) -> None:
        events, films = tmp_path / "ml.inter", tmp_path / "ml.item"
        events.write_text(
            'user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t"7\t3\t10\n2\t8\t5\t11.0\n'
        )
        films.write_text('item_id:token\tmovie_title:token_seq\n"7\tSeven "up\n')
        data = read(events, titles=films)
        assert pairs(data, "ml") == [(1, '"7'), (2, "8")]
        assert data.titles["ml"].tolist() == ['Seven "up', "8"]


BAD_FILES = {
    "a.csv": (b"", "is empty"),
    "b.csv": (b"user,item\n", "no events"),
    "c.csv": (b"user,thing\n1,2\n", "No item column in file .*c.csv"),
    "d.csv": (b"user,item\n1,2\n3,\n", "'item' of file .*d.csv is missing in row 2"),
    "e.csv": (b"user,item\n1,2\n\xff\xfe,3\n", "Cannot read file .*e.csv.*utf-8|UTF-8"),
    "f.csv": (b"user,item\n1,2\n1,2,3,4\n", "Cannot read file .*f.csv"),
    "g.jsonl": (b'{"user": 1, "item": 2}\n{"user": 1, "it\n', "Cannot read file .*g.jsonl"),
    "h.parquet": (b"PAR1 no", "Cannot read file .*h.parquet"),
    "i.csv.gz": (b"not packed", "Cannot read file .*i.csv.gz"),
    "j.xlsx": (b"x", "file extension '.xlsx'"),
    "k.csv": (b"user,item,time\n1,2,1600000000000\n", "divide by 1,000"),
    "l.csv": (b"user,item,time\n1,2,soon\n", "'time' of file .*l.csv"),
    "m.csv": (b"user,item,weight\n1,2,1\n1,3,-1\n", "'weight' .* not positive .* row 2"),
    "n.csv": (b"user,item,weight\n1,2,much\n", "'weight' .* no number in row 1"),
    "o.csv": (b"user,item,domain\n1,2,a\n1,2,\n", "'domain' .* row 2"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_clear_sentence(tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [1.0, np.nan], "item": [1, 2]}, "'user' .* row 2"),
        ({"user": [1.5, 2.0], "item": [1, 2]}, "no whole number in row 1"),
        ({"user": ["a", None], "item": [1, 2]}, "'user' .* missing in row 2"),
        ({"user": ["a", 3], "item": [1, 2]}, "Cannot read"),
        ({"user": [True, False], "item": [1, 2]}, "holds Boolean"),
    ],
)
def test_bad_frames(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(pd.DataFrame(columns))


def test_bad_arguments(tmp_path: Path) -> None:
    for call, message in (
        (lambda: read(tmp_path / "none.csv"), "no file"),
        (lambda: read({}), "No table"),
        (lambda: read([TABLE]), "only paths"),
        (lambda: read(17), "type int"),
        (lambda: read(TABLE, columns={"usr": "user"}), "did you mean 'user'"),
        (lambda: read(TABLE, columns={"user": "usr"}), "did you mean 'user'"),
        (lambda: read(TABLE, min_rating=4), "no rating column"),
        (lambda: read(TABLE.with_columns(rating=1), min_rating=4), "domain 'books' .* reaches min_rating"),
    ):
        with pytest.raises(DataError, match=message):
            call()
