"""Files as other programs write them: each is read as it was meant, or refused in one sentence."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.data.io import parsing

SECONDS = [1_704_067_200, 1_704_067_300]


def of_times(times: object) -> lb.MultiDomain:
    return lb.read(pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "time": times}))


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt32, pl.Int64, pl.UInt64, pl.Float64])
def test_seconds_of_any_width_are_read(dtype: type[pl.DataType]) -> None:
    assert of_times(pl.Series(SECONDS, dtype=dtype))["events"].time.tolist() == SECONDS


NO_SECONDS = {
    10**11: "if these are milliseconds, divide by 1,000",
    -(10**11): "if these are milliseconds, divide by 1,000",
    1_704_067_200_000: "if these are milliseconds, divide by 1,000",
    1_704_067_200_000_000: "if these are microseconds, divide by 1,000,000",
    1_704_067_200_000_000_000: "if these are nanoseconds, divide by 1,000,000,000",
    1e20: "give seconds since 1970",
    float("inf"): "give seconds since 1970",
}


@pytest.mark.parametrize("odd", NO_SECONDS)
@pytest.mark.parametrize("other", [0, 1, None])
def test_a_time_of_another_unit_is_refused_with_its_unit(odd: float, other: int | None) -> None:
    """Small numbers beside it may be of its unit."""
    times = [odd, odd] if other is None else [other, odd]
    row = 1 if other is None else 2
    sentence = f"is no second of the next 3,000 years in row {row}; {NO_SECONDS[odd]}."
    with pytest.raises(DataError, match=re.escape(sentence)):
        of_times(pl.Series(times, strict=False))
    with pytest.raises(DataError, match=re.escape(NO_SECONDS[odd])):
        of_times([str(time) for time in times])


def test_a_missing_time_of_numpy_is_no_second() -> None:
    for times in ([SECONDS[0], np.iinfo(np.int64).min], np.array(["2024-01-01", "NaT"], "M8[ns]").view("i8")):
        with pytest.raises(
            DataError, match=r"Column 'time' of the table is missing \(NaT\) in row 2; fill it"
        ):
            of_times(times)


@pytest.mark.parametrize(
    ("per_second", "units"),
    [
        ((1, 10**3), "seconds and milliseconds"),
        ((10**6, 1), "seconds and microseconds"),
        ((10**3, 10**6), "milliseconds and microseconds"),
        ((10**9, 10**3), "milliseconds and nanoseconds"),
    ],
)
def test_a_column_of_several_units_is_refused_with_their_names(per_second: list[int], units: str) -> None:
    times = [second * per for second, per in zip(SECONDS, per_second, strict=True)]
    sentence = f"the column seems to mix {units}: give seconds in every row."
    with pytest.raises(DataError, match=sentence):
        of_times(times)
    with pytest.raises(DataError, match=sentence):
        of_times(pl.Series(times, dtype=pl.Float64))


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_a_column_of_times_in_any_unit_is_no_column_to_pass_over(tmp_path: Path, per_second: int) -> None:
    """It is used, or refused with what to do; never is the table read as one without times."""
    rows = [f"u{n % 3},i{n},{(SECONDS[0] + n) * per_second}" for n in range(9)]
    path = tmp_path / "events.csv"
    path.write_text("\n".join(["user,item,created_at", *rows]))
    if per_second == 1:
        assert lb.read(path)["events"].time is not None
    else:
        with pytest.raises(DataError, match=f"divide by {per_second:,}"):
            lb.read(path)


@pytest.mark.parametrize("dates", [["01/02/2020", "02/01/2020"], ["1.2.2020", "3.4.2020"]])
def test_dates_that_can_be_read_both_ways_are_refused(dates: list[str]) -> None:
    day_first, month_first = {"01/02/2020": ("02-01", "01-02"), "1.2.2020": ("02-01", "01-02")}[dates[0]]
    both = rf"can be day and month \(2020-{day_first}\) or month and day \(2020-{month_first}\)"
    with pytest.raises(DataError, match=both):
        of_times(dates)


@pytest.mark.parametrize("dates", [["2020-02-01", "2020-12-31"], ["31/01/2020", "02/01/2020"]])
def test_dates_that_can_be_read_one_way_are_read(dates: list[str]) -> None:
    first, second = of_times(dates)["events"].time.tolist()
    assert first % 86_400 == second % 86_400 == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=30))
def test_with_a_least_rating_the_last_rating_of_a_pair_decides(rows: list[tuple[int, int, int]]) -> None:
    last = {(user, item): rating for user, item, rating in rows}
    liked = {pair for pair, rating in last.items() if rating >= 4}
    frame = pl.DataFrame(rows, schema=["user", "item", "rating"], orient="row")
    if not liked:
        with pytest.raises(DataError, match="reaches min_rating"):
            lb.read(frame, min_rating=4)
        return
    data = lb.read(frame, min_rating=4)
    events = data["events"]
    users, items = data.users.ids[events.user_idx], data.items["events"].ids[events.item_idx]
    assert set(zip(users.tolist(), items.tolist(), strict=True)) == liked


def test_a_number_of_more_than_64_bits_is_no_other_id() -> None:
    frame = pl.DataFrame({"user": [-1, 4, 8], "item": [1, 2, 3]})
    model = lb.Popularity().fit(lb.read(frame))
    for unknown in (2**64 - 1, 2**63, 2**70):
        with pytest.raises(DataError, match=f"knows no user .*{unknown}"):
            lb.recommend(model, "events", [unknown])


def test_007_in_a_link_table_is_not_7() -> None:
    tables = {
        name: pl.DataFrame({"user": ids, "item": [1, 2]}) for name, ids in {"a": [1, 7], "b": [1, 2]}.items()
    }
    link = pl.DataFrame({"a": ["007", "1"], "b": ["2", "1"]})
    with pytest.raises(DataError, match="give the same kind of ids"):
        lb.read(tables, users={"link": link})


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("user_id;item_id;rating;title\n1;2;3,5;Up, down\n3;4;4,5;1,5 hours\n")
    data = lb.read(path, min_rating=4)
    assert data.users.ids.tolist() == [3]
    assert data.titles["x"].tolist() == ["1,5 hours"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_mark_at_the_beginning_is_no_data(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    frame = pl.DataFrame({"user": [1, 2], "item": [3, 4]})
    content = frame.write_ndjson() if suffix == "jsonl" else frame.write_csv()
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert lb.read(path).users.ids.tolist() == [1, 2]


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "events.parquet"
    (folder / "day=2").mkdir(parents=True)
    for place, user in (("part-0.parquet", 1), ("day=2/part-0.parquet", 2)):
        pl.DataFrame({"user": [user], "item": [5]}).write_parquet(folder / place)
    assert lb.read(folder).users.ids.tolist() == [1, 2]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a folder without Parquet files"):
        lb.read(tmp_path / "empty")


def test_a_text_is_no_list_of_users_or_items() -> None:
    model = lb.Popularity().fit(lb.read(pl.DataFrame({"user": [5, 7], "item": [1, 2]})))
    with pytest.raises(DataError, match=r"give a list of ids, such as \['57'\]"):
        lb.recommend(model, "events", "57")
    with pytest.raises(DataError, match="give a list of ids"):
        lb.fold_in(model, {"events": "12"}, "events")


@pytest.mark.parametrize("kind", ["text", "numbers", "milliseconds of polars"])
def test_events_within_a_second_keep_their_order(kind: str) -> None:
    parts = (("first", 100), ("last", 900), ("middle", 500))
    rows = [(f"u{user}", f"i{user}{part}", thousandth) for user in range(50) for part, thousandth in parts]
    frame = pl.DataFrame(rows, schema=["user", "item", "thousandth"], orient="row")
    moment = pl.datetime(2024, 5, 1, 10).dt.cast_time_unit("ms") + pl.duration(
        milliseconds="thousandth", time_unit="ms"
    )
    time = {
        "text": pl.format("2024-05-01T10:00:00.{}", "thousandth"),
        "numbers": 1_714_557_600 + pl.col("thousandth") / 1000,
        "milliseconds of polars": moment,
    }[kind]
    data = lb.read(frame.select("user", "item", time.alias("time")))
    targets = lb.leave_last_out(data, seed=0).test.targets["events"]
    assert all(str(item).endswith("last") for item in data.items["events"].ids[targets.item_idx])
    assert len(targets) == 50
    time_N = data["events"].time
    assert time_N is not None
    assert np.allclose(time_N % 1 * 1000, np.resize([100, 900, 500], 150), atol=1e-3)


def test_order_within_a_second_survives_a_run_folder(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a"] * 3, "item": ["x", "y", "z"], "time": [10.5, 10.25, 10.75]})
    data = lb.read(frame)
    lb.save(lb.Popularity().fit(data), tmp_path / "run")
    back = lb.load(tmp_path / "run").history["events"].time
    assert back is not None
    assert back.tolist() == [10.5, 10.25, 10.75]


@pytest.mark.parametrize("header", ["user_id, item_id, timestamp", " user_id ,item_id\t,timestamp "])
def test_blanks_around_column_names_do_not_matter(tmp_path: Path, header: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"{header}\n1,2,3\n4,5,6\n")
    data = lb.read(path)
    assert (data.n_users, data.n_events) == (2, 2)


@pytest.mark.parametrize("part", [4, 1 << 24])
def test_the_line_that_is_not_utf8_is_named(
    tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only a column that is not used is in Latin-1, and where a character is cut by a block."""
    monkeypatch.setattr(parsing, "READ_AT_ONCE", part)
    path = tmp_path / "x.csv"
    path.write_bytes("user,item,comment\n1,2,café\n3,4,".encode() + b"caf\xe9\n5,6,ok\n")
    assert parsing.line_that_is_not_utf8(path) == 3
    with pytest.raises(DataError, match=r"Line 3 of .*x\.csv is not in the encoding UTF-8; convert the file"):
        lb.read(path)
    path.write_text("café\n" * 3)
    assert parsing.line_that_is_not_utf8(path) is None


@pytest.mark.parametrize(("dtype", "first"), [(pl.Float64, 2**53), (pl.Float32, 2**24)])
@pytest.mark.parametrize("role", ["user", "item"])
def test_a_float_that_may_have_been_rounded_is_no_id(role: str, dtype: pl.DataType, first: int) -> None:
    """pandas makes a column of whole numbers with a missing one floats: large ids become equal there."""
    other = "item" if role == "user" else "user"
    fine = pl.DataFrame({role: pl.Series([first - 1, 1 - first], dtype=dtype), other: [1, 2]})
    assert lb.read(fine).n_events == 2
    for number in (first, -first):
        odd = pl.DataFrame({role: pl.Series([1, number], dtype=dtype), other: [1, 2]})
        with pytest.raises(
            DataError, match=rf"Column '{role}' of .* is a float too large to be exact in row 2"
        ):
            lb.read(odd)


@pytest.mark.parametrize("times", [[20200101, 20201231], ["20200101", "20201231"], [20200101.0, 20201231.0]])
def test_dates_without_separators_are_no_seconds(times: list[object]) -> None:
    """As seconds they would all be in August 1970."""
    with pytest.raises(DataError, match="holds 20200101, which looks like a date and not like seconds"):
        of_times(times)


def test_numbers_that_are_no_dates_are_seconds() -> None:
    for times in ([20200101, 20201331], [20200101, 20200100], [18991231, 20200101], SECONDS):
        assert of_times(times)["events"].time.tolist() == times


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_quotation_marks_in_the_name_of_a_column(suffix: str, tmp_path: Path) -> None:
    path, mark = tmp_path / f"x.{suffix}", "," if suffix == "csv" else "\t"
    path.write_text(mark.join(['"the ""user"""', "item"]) + "\n" + mark.join(["ann", "f1"]) + "\n")
    assert lb.read(path, columns={"user": 'the "user"'}).users.ids.tolist() == ["ann"]


def test_decimals_keep_their_fractions_of_a_second() -> None:
    times = of_times([Decimal("1704067200.75"), Decimal("1704067200.25")])["events"].time
    assert times is not None
    assert times.tolist() == [1704067200.75, 1704067200.25]


@pytest.mark.parametrize("users", ["local", range(0)], ids=str)
def test_users_of_domains_with_colons_stay_apart(users: str | range) -> None:
    """User 3 of a domain "a:2" is not user "2:3" of a domain "a"."""
    text = users == "local"
    tables = {
        "a:2": pl.DataFrame({"user": [3], "item": [1]}),
        "a": pl.DataFrame({"user": ["2:3" if text else 2], "item": [1]}),
        "a%3A2": pl.DataFrame({"user": [3], "item": [1]}),
    }
    assert len(lb.read(tables, users=users).users) == 3
