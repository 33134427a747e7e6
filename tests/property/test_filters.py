"""A filter by the items' table leaves exactly the rows that a comparison cell by cell finds."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ANY_TEXT, NUMBER_LIKE
from worlds import uneven

from landbridge.data.item_attributes import read_items
from landbridge.data.item_rules import rule_of

DATA = uneven({"a": (8, 14), "b": (6, 10)}, users=16)
SIZE = DATA["a"].n_items
LARGE = 2**53

NUMBERS = st.integers(-3, 3) | st.sampled_from([LARGE, LARGE + 1, LARGE - 1, -LARGE])
FLOATS = st.integers(-3, 3).map(float) | st.sampled_from([0.5, -0.0, 0.1, 1e30, float("nan"), float("inf")])
TEXTS = ANY_TEXT | st.sampled_from(
    [*NUMBER_LIKE, "true", "False", "x", str(LARGE), str(LARGE + 1), "2020-01-31"]
)
DAYS = st.dates(date(2020, 1, 30), date(2020, 2, 2))
KINDS = {
    "whole": NUMBERS,
    "floats": FLOATS,
    "texts": TEXTS,
    "booleans": st.booleans(),
    "days": DAYS,
    "moments": DAYS.map(lambda day: datetime(day.year, day.month, day.day, 10, 30)),
    "decimals": st.integers(-300, 300).map(lambda number: Decimal(number) / 100),
    "mixed": NUMBERS | FLOATS | TEXTS,
}
ONLY_TEXT = ("csv", "jsonl")  # what carries cells of several types in one column
WANTED = NUMBERS | FLOATS.filter(math.isfinite) | TEXTS | st.booleans() | st.none()


@dataclass(frozen=True)
class ItemTable:
    """``cells``: column -> a cell for each of the items 0, 1, ...; further rows come first and count less."""

    cells: dict[str, list[Any]]
    earlier: list[int]
    carrier: str

    def rows(self) -> list[dict[str, Any]]:
        """With the rows that are repeated later, and some of items that the model does not know."""
        size = len(next(iter(self.cells.values())))
        places = [*self.earlier, *range(size)]
        about = [{name: column[place] for name, column in self.cells.items()} for place in [*range(size)]]
        stale = [{**about[(place + 1) % size]} for place in self.earlier]
        known = [
            {"domain": "a", "item": place, **row} for place, row in zip(places, [*stale, *about], strict=True)
        ]
        return [{**known[0], "item": 10**6}, *known, {**known[-1], "domain": "games"}]

    def write(self, folder: Path) -> Path:
        """The table as a file."""
        path, rows = folder / f"items.{self.carrier}", self.rows()
        if self.carrier == "parquet":
            pl.DataFrame(rows, strict=False, infer_schema_length=None).write_parquet(path)
        elif self.carrier == "jsonl":
            lines = [
                json.dumps(row, default=written).replace("NaN", "null").replace("Infinity", "null")
                for row in rows
            ]
            path.write_text("\n".join(lines), encoding="utf-8")
        else:
            with path.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerows([[*rows[0]], *([written(cell) for cell in row.values()] for row in rows)])
        return path


@st.composite
def item_tables(draw: st.DrawFn) -> tuple[ItemTable, list[str]]:
    """A table, and the kind of each of its columns."""
    size, carrier = draw(st.integers(1, 6)), draw(st.sampled_from(["parquet", "csv", "jsonl"]))
    names = ANY_TEXT.filter(lambda name: name not in ("", "domain", "item", "title"))
    kinds = st.sampled_from([kind for kind in KINDS if kind != "mixed" or carrier == "csv"])
    cells, chosen = {}, []
    for name in draw(st.lists(names, min_size=1, max_size=2, unique=True)):
        chosen.append(draw(kinds))
        cell = st.none() | KINDS[chosen[-1]]
        lists = carrier != "csv" and draw(st.booleans())
        cells[name] = draw(
            st.lists(st.lists(cell, max_size=3) if lists else cell, min_size=size, max_size=size)
        )
    earlier = draw(st.lists(st.integers(0, size - 1), max_size=2))
    return ItemTable(cells, earlier, carrier), chosen


def written(cell: Any) -> str:
    """A cell as text; a number that is none is not written."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    return cell.isoformat() if isinstance(cell, date) else str(cell)


def read_as(value: Any) -> Any:
    """The number that a value is or reads as, else its text; None for what is no value."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    text = written(value)
    if text.lower() in ("true", "false"):
        return int(text.lower() == "true")
    number = re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", text, re.ASCII)
    return (json.loads(text) if number else text) or (0 if number else None)


def equal(cell: Any, wanted: Any, as_text: bool) -> bool:
    """In a column of text a text is compared as it is written, everything else by what it reads as."""
    if as_text and isinstance(wanted, str):
        return written(cell) == wanted
    return bool(read_as(cell) == read_as(wanted))


def values_of(cell: Any) -> list[Any]:
    return [value for value in (cell if isinstance(cell, list) else [cell]) if read_as(value) is not None]


def is_text(kind: str, carrier: str) -> bool:
    """Whether a column comes as text, and not as numbers or true and false."""
    return (
        carrier == "csv"
        or kind in ("texts", "days", "moments")
        or (kind == "decimals" and carrier == "jsonl")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filters")


@settings(max_examples=100)
@given(drawn=item_tables(), data=st.data())
def test_a_filter_leaves_the_rows_that_a_comparison_of_cells_finds(
    drawn: tuple[ItemTable, list[str]], data: st.DataObject, folder: Path
) -> None:
    table, kinds = drawn
    where, expected = {}, set(range(SIZE))
    for (name, cells), kind in zip(table.cells.items(), kinds, strict=True):
        own = [value for cell in cells for value in values_of(cell) if not isinstance(value, date | Decimal)]
        wanted = data.draw(st.lists(WANTED | st.sampled_from(own or [0]), max_size=3))
        where[name] = wanted[0] if len(wanted) == 1 else wanted
        as_text = is_text(kind, table.carrier)
        held = [values_of(cell) for cell in cells] + [[]] * (SIZE - len(cells))
        expected &= {
            place
            for place, values in enumerate(held)
            if any(
                not values if each is None else any(equal(value, each, as_text) for value in values)
                for each in wanted
            )
        }
    attributes = read_items(table.write(folder), DATA).parts["a"]
    assert set(attributes.matching(rule_of(where)).nonzero()[0].tolist()) == expected
