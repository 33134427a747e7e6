"""The same events come out however a shop's file is written, and rows are left out only if they are bad."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EventFile, event_files, spelled_ids

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.data.splitting.splits import leave_last_out

ID = itemgetter(0)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("options")


def events_of(data: MultiDomain) -> set[tuple[Any, ...]]:
    """(user, item, time) of every event, ids as text."""
    found: set[tuple[Any, ...]] = set()
    for name, events in data.domains.items():
        users = map(str, data.users.ids[events.user_idx].tolist())
        items = map(str, data.items[name].ids[events.item_idx].tolist())
        assert events.time is not None
        found |= set(zip(users, items, events.time.tolist(), strict=True))
    return found


@settings(max_examples=150)
@given(file=event_files())
def test_however_a_file_is_written_its_events_are_read(file: EventFile, folder: Path) -> None:
    """Separator, encoding, gzip, quotation marks, header, and columns by name or by position."""
    data = read(file.write(folder), columns=file.columns)
    assert events_of(data) == file.events
    assert [data.provenance.tables[0].used[role] for role in ("user", "item", "time")] == list(file.names)


@settings(max_examples=100)
@given(file=event_files(), bad=st.data())
def test_bad_rows_are_left_out_and_written_down(file: EventFile, bad: st.DataObject, folder: Path) -> None:
    """None but them, under their numbers, whatever is wrong with them."""
    rows, bad_at = file.with_bad_rows(bad.draw)
    path, skipped = rows.write(folder), folder / "skipped.jsonl"
    skipped.unlink(missing_ok=True)
    data = read(path, columns=file.columns, skip_bad_rows=skipped)
    assert events_of(data) == file.events
    lines = [json.loads(line) for line in skipped.read_text().splitlines()] if skipped.exists() else []
    assert [line["row"] for line in lines] == bad_at
    assert all(line["reason"] and path.name in line["table"] for line in lines)
    assert len(data.provenance.skipped) == len(bad_at)
    if bad_at:
        with pytest.raises(DataError):
            read(path, columns=file.columns)


@settings(max_examples=100)
@given(rows=st.lists(st.tuples(spelled_ids(), spelled_ids()), min_size=1, max_size=12))
def test_folded_ids_are_those_of_a_file_that_spells_them_alike(rows: list[tuple[str, str]]) -> None:
    frame = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    alike = frame.with_columns(pl.all().map_elements(lambda text: text.strip().lower(), pl.String))
    data = read(frame, fold_ids=True)
    assert data.fingerprint == read(alike).fingerprint
    counts = {whose: frame[role].n_unique() - alike[role].n_unique() for whose, role in ROLES}
    assert dict(data.provenance.folded) == counts


ROLES = (("users", "user"), ("items", "item"))


@settings(max_examples=100)
@given(
    names=st.lists(NAMES, min_size=3, max_size=5, unique=True),
    kind=st.sampled_from(["dots", "nested", "flat"]),
)
def test_columns_of_any_name_are_found_by_it(names: list[str], kind: str) -> None:
    cells = [["a", "b"], ["x", "y"], [1_700_000_000, 1_700_000_001], ["-", "-"], ["+", "+"]]
    frame = pl.DataFrame({name: cells[place] for place, name in enumerate(names)})
    named: dict[str, Any] = dict(zip(("user", "item", "time"), names, strict=False))
    columns = {
        "dots": {f"shop.{role}": name for role, name in named.items()},
        "nested": {"shop": named},
        "flat": named,
    }[kind]
    data = read({"shop": frame}, columns=columns)
    assert events_of(data) == {("a", "x", 1_700_000_000), ("b", "y", 1_700_000_001)}
    assert data.provenance.tables[0].unused == tuple(names[3:])


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    kind=st.sampled_from(["csv", "jsonl", "parquet", "csv.gz", "folder"]),
)
def test_a_pattern_or_a_folder_is_one_table(sizes: list[int], kind: str, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("parts")
    whole = pl.DataFrame(
        {"user": range(sum(sizes)), "item": [n % 3 for n in range(sum(sizes))], "time": 1_700_000_000}
    )
    start = 0
    for place, size in enumerate(sizes):
        part, path = whole.slice(start, size), folder / f"sales-{place}.{kind}"
        # a part's columns may stand in another order
        part = part if place % 2 else part.select("time", "item", "user")
        if kind in ("parquet", "folder"):
            part.write_parquet(path.with_suffix(".parquet"))
        elif kind == "jsonl":
            part.write_ndjson(path)
        else:
            content = part.write_csv().encode()
            path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
        start += size
    data = read(folder if kind == "folder" else f"{folder}/sales-*.{kind}")
    assert events_of(data) == events_of(read(whole))
    assert kind == "folder" or data.domain_names == ("sales",)


@settings(max_examples=60)
@given(
    values=st.lists(
        st.tuples(spelled_ids(), st.floats(-5, 5, width=32)), min_size=2, max_size=8, unique_by=ID
    ),
    form=st.sampled_from(["npz", "npz.gz", "npy", "parquet", "jsonl"]),
)
def test_vectors_come_in_any_file_of_arrays(values: list[tuple[str, float]], form: str, folder: Path) -> None:
    """With the same features as those of a frame."""
    ids, first = zip(*values, strict=True)
    vector_NF = np.stack([first, np.ones(len(ids))], axis=1).astype(np.float32)
    frame = pl.DataFrame({"item": ids, "vector": vector_NF})
    path = folder / f"items.{form}"
    if form == "npy":
        fields = [("item", np.array(ids).dtype), ("vector", np.float32, 2)]
        np.save(path, np.array(list(zip(ids, vector_NF, strict=True)), fields))
    elif form == "parquet":
        frame.write_parquet(path)
    elif form == "jsonl":
        frame.write_ndjson(path)
    else:
        np.savez(folder / "items.npz", item=np.array(ids), vector=vector_NF)
        if form.endswith("gz"):
            path.write_bytes(gzip.compress((folder / "items.npz").read_bytes()))
    events = pl.DataFrame({"user": ["u"], "item": ["any"]})
    assert read(events, item_features=path).fingerprint == read(events, item_features=frame).fingerprint


@settings(max_examples=60)
@given(
    weights=st.lists(st.integers(1, 10**6), min_size=1, max_size=8),
    separator=st.sampled_from([";", "\t", "|"]),
    places=st.integers(1, 2),
)
def test_decimal_commas_are_decimal_points(
    weights: list[int], separator: str, places: int, folder: Path
) -> None:
    """Of fewer than three places: no comma can separate thousands."""
    numbers = [f"{weight / 10**places:.{places}f}" for weight in weights]
    rows = [separator.join(("u", f"i{n}", number.replace(".", ","))) for n, number in enumerate(numbers)]
    path = folder / "commas.csv"
    path.write_text("\n".join([separator.join(("user", "item", "weight")), *rows]))
    (events,) = read(path).domains.values()
    assert events.weight is not None
    found = events.weight[np.argsort([int(item[1:]) for item in read(path).items["commas"].ids])]
    np.testing.assert_allclose(found, [float(number) for number in numbers], rtol=1e-6)


@settings(max_examples=100)
@given(
    days=st.lists(st.dates(date(1995, 1, 1), date(2035, 12, 31)), min_size=1, max_size=6),
    form=st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"]),
)
def test_dates_are_read_right_or_refused(days: list[date], form: str) -> None:
    """Refused only where every one of them can be day and month as well as month and day."""
    texts = [day.strftime(form) for day in days]
    frame = pl.DataFrame({"user": "u", "item": [f"i{n}" for n in range(len(days))], "date": texts})
    one_way = any(day.day > 12 for day in days) or all(day.day == day.month for day in days)
    if not one_way:
        with pytest.raises(DataError, match="can be day and month"):
            read(frame)
        return
    seconds = {
        f"i{n}": int(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()) for n, d in enumerate(days)
    }
    assert events_of(read(frame)) == {("u", item, second) for item, second in seconds.items()}


@settings(max_examples=60)
@given(parts=st.lists(st.integers(0, 999_999), min_size=2, max_size=8, unique=True))
def test_the_order_within_a_second_is_kept(parts: list[int]) -> None:
    """The last event of a user is the latest, however the rows stand."""
    times = [datetime(2024, 5, 1, 12, 0, 0, part, tzinfo=UTC) for part in parts]
    frame = pl.DataFrame({"user": "u", "item": [f"i{n}" for n in range(len(parts))], "time": times})
    held = leave_last_out(read(frame)).test.targets["events"]
    items = read(frame).items["events"].ids
    assert items[held.item_idx].tolist() == [f"i{int(np.argmax(parts))}"]
