"""What was said of items since their table: as a table in which it stands, at the cost of what was said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.data.item_attributes import AttributeColumn, ItemAttributes, PatchedColumn
from landbridge.data.item_patches import NO_PATCHES, ItemPatches, series_of
from landbridge.data.item_rules import EVERY_ITEM, rule_of
from landbridge.data.vocabulary import Vocabulary

SIZE = 8
ITEMS = Vocabulary.of([f"i{n}" for n in range(SIZE)])
PLACES = np.arange(SIZE, dtype=np.int32)


def rows(column: str, values: dict[int, Any]) -> list[tuple[str, str, str, str]]:
    return [("a", f"i{place}", column, json.dumps(value)) for place, value in values.items()]


def attributes(**columns: list[Any]) -> ItemAttributes:
    made = {name: AttributeColumn.of(pl.Series(values), PLACES, SIZE) for name, values in columns.items()}
    return ItemAttributes(SIZE, made)


def patched(table: ItemAttributes, patches: ItemPatches) -> ItemAttributes:
    return table.patched(patches.of("a"), NO_PATCHES.of("a"), ITEMS)


def pairs(column: AttributeColumn | PatchedColumn) -> set[tuple[int, Any]]:
    """Every item with each of its values."""
    values, items = column.values
    return {(int(item), values[row]) for row, item in zip(items.entry_rows, items.columns, strict=True)}


numbers = st.none() | st.integers(-3, 3) | st.sampled_from([0.5, 1.5])
texts = st.none() | st.sampled_from(["en", "de", "3", "true", "x y"])
RULES = (
    "c = 3",
    "c != 3",
    "c < 1",
    "c >= 1.5",
    "c = null",
    "c in [en, 3]",
    "not c",
    "c",
    "c >= de",
    "c = '3'",
)


@given(
    st.sampled_from([numbers, texts]).flatmap(
        lambda values: st.tuples(
            st.lists(values, min_size=SIZE, max_size=SIZE),
            st.lists(st.dictionaries(st.integers(0, SIZE - 1), values, max_size=SIZE), max_size=3),
        )
    )
)
def test_a_patched_column_is_the_column_of_a_table_with_these_values(
    given: tuple[list[Any], list[dict[int, Any]]],
) -> None:
    """Null takes a value back; what was said later counts."""
    table, said = given
    is_text = any(isinstance(value, str) for value in [*table, *(v for each in said for v in each.values())])
    kind = pl.String if is_text else pl.Float64
    base = ItemAttributes(SIZE, {"c": AttributeColumn.of(pl.Series(table, dtype=kind), PLACES, SIZE)})
    patches, last = NO_PATCHES, dict[int, Any]()
    for revision, values in enumerate(said, start=1):
        patches = patches.updated(rows("c", values), revision)
        last |= values
    expected = [table[place] if last.get(place) is None else last[place] for place in range(SIZE)]
    oracle = AttributeColumn.of(pl.Series(expected, dtype=kind), PLACES, SIZE)
    now = patched(base, patches)
    for rule in map(rule_of, RULES):
        expected_I = rule.mask(ItemAttributes(SIZE, {"c": oracle}), SIZE)
        assert now.matching(rule).tolist() == expected_I.tolist(), rule
    assert now.column("c").item_counts() == oracle.item_counts()
    assert pairs(now.column("c")) == pairs(oracle)


def test_hidden_items_match_no_rule_however_hidden_is_written() -> None:
    for values in ([True] + [None] * 7, ["true"] + [""] * 7, [1.0] + [0.0] * 7):
        assert attributes(hidden=values).matching(EVERY_ITEM).tolist() == [False] + [True] * 7
    table = attributes(hidden=[False] * 8, price=list(range(8)))
    assert table.shown_I is None
    now = patched(table, NO_PATCHES.updated(rows("hidden", {1: True, 2: True, 3: False}), 1))
    assert np.flatnonzero(now.matching(rule_of("price < 4"))).tolist() == [0, 3]
    assert np.flatnonzero(now.matching(rule_of("not price < 4"))).tolist() == [4, 5, 6, 7]


def test_only_columns_that_differ_are_made_anew() -> None:
    table = attributes(price=list(range(8)), stock=[1] * 8)
    first = NO_PATCHES.updated([*rows("price", {1: 7}), *rows("title", {1: "One"})], 1)
    once = patched(table, first)
    second = first.updated(rows("stock", {1: 0}), 2)
    twice = once.patched(second.of("a"), first.of("a"), ITEMS)
    assert twice.columns["price"] is once.columns["price"]
    assert twice.new_titles is once.new_titles
    assert twice.columns["stock"] is not once.columns["stock"]
    assert twice.patched(second.of("a"), second.of("a"), ITEMS) is twice
    assert [len(table) for table in first.of("b").values()] == [0, 0]
    assert once.new_titles is not None
    assert once.new_titles.tolist() == ["", "One", *[""] * 6]


def test_items_that_the_model_does_not_know_wait_and_spellings_are_one() -> None:
    folded = Vocabulary.of(["a", "b"])
    folded = Vocabulary(folded.ids, folded=True)
    said = [("a", "A ", "c", "1"), ("a", "new", "c", "1"), ("a", "a", "c", "2")]
    now = ItemAttributes(2).patched(NO_PATCHES.updated(said, 1).of("a"), {}, folded)
    assert now.matching(rule_of("c = 2")).tolist() == [True, False]
    assert not now.matching(rule_of("c = 1")).any()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2"], [1, 2]),
        (["1", "2.5"], [1.0, 2.5]),
        (["true", "false"], [True, False]),
        (["true", "1"], ["true", "1"]),
        (['"a"', "1.5", "true"], ["a", "1.5", "true"]),
        (['["a", 1, null]', '"b"'], [["a", "1", None], ["b"]]),
        ([], []),
    ],
)
def test_values_of_any_types_become_one_column(values: list[str], expected: list[Any]) -> None:
    assert series_of(values).to_list() == expected
