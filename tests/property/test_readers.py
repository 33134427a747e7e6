"""Written events are read back under their raw ids; broken input is a DataError."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.datasets.published import read_published

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(
    lambda text: "x" + text  # so that no column is all whole numbers
)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
KINDS = ("csv", "tsv", "parquet", "jsonl", "csv.gz", "pandas", "arrow")


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    users, items = draw(st.sampled_from((TEXT, NUMBERS))), draw(st.sampled_from((TEXT, NUMBERS)))
    row = st.tuples(users, items, TEXT, st.integers(-(10**10), 10**10))
    rows = draw(st.lists(row, min_size=1, max_size=20))
    return pl.DataFrame(rows, schema=["user", "item", "domain", "time"], orient="row")


def carried(frame: pl.DataFrame, kind: str, folder: Path) -> Any:
    if kind in ("pandas", "arrow"):
        return frame.to_pandas() if kind == "pandas" else frame.to_arrow()
    path = folder / f"events.{kind}"
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        content = frame.write_csv(separator="\t" if kind == "tsv" else ",").encode()
        path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    return path


def raw_events(data: MultiDomain) -> set[tuple[Any, ...]]:
    found: set[tuple[Any, ...]] = set()
    for name, events in data.domains.items():
        assert events.time is not None
        users = data.users.ids[events.user_idx].tolist()
        items = data.items[name].ids[events.item_idx].tolist()
        found |= set(zip(users, items, [name] * len(events), events.time.tolist(), strict=True))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@given(frame=tables(), kind=st.sampled_from(KINDS))
@settings(max_examples=150)
def test_events_come_back_under_their_raw_ids(frame: pl.DataFrame, kind: str, folder: Path) -> None:
    latest: dict[tuple[Any, ...], int] = {}
    for user, item, domain, time in frame.rows():
        latest[user, item, domain] = max(time, latest.get((user, item, domain), time))
    expected = {(*key, time) for key, time in latest.items()}
    assert raw_events(read(carried(frame, kind, folder))) == expected


EXTENSIONS = ("csv", "tsv", "jsonl", "parquet", "inter", "csv.gz", "jsonl.gz", "parquet.gz")
HEADERS = (b"", b"user,item\n", b"user,item,rating,timestamp\n", b'{"user": 1, "item": 2}\n', b"user\titem\n")


def said(read_it: Callable[[], MultiDomain]) -> str:
    """What was refused; nothing where the events were read."""
    try:
        data = read_it()
    except DataError as error:
        return str(error)
    assert data.n_events > 0
    return ""


def read_or_refused(source: Any, **settings: Any) -> None:
    assert "\n" not in said(lambda: read(source, **settings))


@given(kind=st.sampled_from(EXTENSIONS), header=st.sampled_from(HEADERS), content=st.binary(max_size=60))
@settings(max_examples=400)
def test_any_bytes_are_read_or_refused(kind: str, header: bytes, content: bytes, folder: Path) -> None:
    path = folder / f"fuzz.{kind}"
    path.write_bytes(gzip.compress(header + content) if kind.endswith("gz") else header + content)
    read_or_refused(path)


CELL = st.sampled_from(
    ("", "1", "-1", "x", "1e400", "nan", "null", '"', "1.5", "99999999999999999999", "2020-01-01")
)


@given(
    rows=st.lists(st.lists(CELL, min_size=1, max_size=6), max_size=6), kind=st.sampled_from(("csv", "tsv"))
)
@settings(max_examples=200)
def test_any_cells_are_read_or_refused(rows: list[list[str]], kind: str, folder: Path) -> None:
    mark = "," if kind == "csv" else "\t"
    lines = [mark.join(("user", "item", "time", "rating", "weight")), *(mark.join(row) for row in rows)]
    (folder / f"cells.{kind}").write_text("\n".join(lines))
    read_or_refused(folder / f"cells.{kind}")
    read_or_refused(folder / f"cells.{kind}", min_rating=1)


VALUE = st.sampled_from(("null", "1", "1.5", "true", '"x"', "[]", "{}", "[1]", '{"a": 1}', "1e999", "9" * 25))


@given(rows=st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=1, max_size=5))
@settings(max_examples=200)
def test_any_json_values_are_read_or_refused(rows: list[tuple[str, ...]], folder: Path) -> None:
    lines = [f'{{"user": {user}, "item": {item}, "time": {time}}}' for user, item, time in rows]
    (folder / "values.jsonl").write_text("\n".join(lines))
    read_or_refused(folder / "values.jsonl")


@given(content=st.binary(max_size=40))
@settings(max_examples=100)
def test_any_published_bytes_are_read_or_refused(content: bytes, folder: Path) -> None:
    for name in ("a_b", "b_a"):
        (folder / "pair" / name).mkdir(parents=True, exist_ok=True)
        for part in ("train", "test"):
            (folder / "pair" / name / f"{part}.txt").write_bytes(content)
    assert "\n" not in said(lambda: read_published(folder / "pair").test.history)


@given(source=st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none(), st.floats()), max_size=4))
def test_any_mixed_column_is_read_or_refused(source: list[Any]) -> None:
    read_or_refused(
        pd.DataFrame({"user": pd.Series(source, dtype=object), "item": pd.Series([1] * len(source))})
    )
