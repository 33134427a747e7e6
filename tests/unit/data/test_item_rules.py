"""Rules about items: what a text means, where it is wrong, and masks that equal rules share."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from landbridge.core.errors import DataError
from landbridge.data.item_attributes import AttributeColumn, ItemAttributes
from landbridge.data.item_rules import rule_of

ITEMS = 6
CELLS = {
    "price": [5, 20, 20.5, None, -3, 7],
    "brand": ["acme", "Best & Co", "in", None, "007", "7"],
    "adult": [True, False, None, False, True, False],
    "released": ["2020-01-31", "2019-12-01", None, "2020-02-01", "2021-05-05", "2018-01-01"],
    "tags": [["sea", "war"], [], ["war"], None, ["sea"], ["space"]],
    "shelf life": [1, 2, 3, 4, 5, 6],
}


def table() -> ItemAttributes:
    columns = {
        name: AttributeColumn.of(pl.Series(cells, strict=False), np.arange(ITEMS, dtype=np.int32), ITEMS)
        for name, cells in CELLS.items()
    }
    return ItemAttributes(ITEMS, columns)


@pytest.mark.parametrize(
    ("rule", "items"),
    [
        ("price < 20", [0, 4, 5]),
        ("price<=20", [0, 1, 4, 5]),
        ("price > 20", [2]),
        ("price >= 20.0", [1, 2]),
        ("price = 20", [1]),
        ("price != 20", [0, 2, 3, 4, 5]),  # an item without a price has another one
        ("price > -5 and price < -1", [4]),
        ("not price < 20", [1, 2, 3]),
        ("price = null", [3]),
        ("brand in [acme, 'Best & Co', \"in\"]", [0, 1, 2]),
        ("brand not in [acme, null]", [1, 2, 4, 5]),
        ("brand = 7", [5]),
        ("brand = 007", [4]),
        ("adult", [0, 4]),
        ("not adult", [1, 2, 3, 5]),
        ("adult = false", [1, 3, 5]),
        ("NOT adult AND price < 20 Or tags = sea", [0, 4, 5]),
        ("adult or tags = war and price > 10", [0, 2, 4]),  # "and" binds closer
        ("(adult or tags = war) and price > 10", [2]),
        ("not (tags in [sea, war])", [1, 3, 5]),
        ("tags = sea and tags = war", [0]),
        ("released >= 2020-01-31", [0, 3, 4]),
        ("'shelf life' <= 2", [0, 1]),
        (r"brand = 'a\'b' or brand = acme", [0]),
    ],
)
def test_what_a_rule_means(rule: str, items: list[int]) -> None:
    assert np.flatnonzero(table().matching(rule_of(rule))).tolist() == items


@pytest.mark.parametrize(
    ("rule", "place", "expected"),
    [
        ("", 1, "a column, not the end"),
        ("price <", 8, "a value, not the end"),
        ("price < null", 9, "a number or a text, not 'null'"),
        ("price < true", 9, "a number or a text, not 'true'"),
        ("price 20", 7, "'and', 'or' or the end, not '20'"),
        ("(adult", 7, "')', not the end"),
        ("adult)", 6, "'and', 'or' or the end, not ')'"),
        ("brand in acme", 10, "'[', not 'acme'"),
        ("brand in []", 11, "a value, not ']'"),
        ("brand in [a b]", 13, "']', not 'b'"),
        ("brand not acme", 11, "'in', not 'acme'"),
        ("in = 3", 1, "a column (in quotes, as it is a word of rules), not 'in'"),
        ("price & 3", 7, "'and', 'or' or the end, not '&'"),
        ("brand = 'acme", 9, 'a value, not "\'"'),
        (
            "not " * 51 + "adult",
            205,
            "fewer than 50 parentheses and negations inside one another, not 'adult'",
        ),
        ("(" * 10_000, 52, "fewer than 50 parentheses"),
    ],
)
def test_a_text_that_is_no_rule_is_refused_with_the_place(rule: str, place: int, expected: str) -> None:
    with pytest.raises(DataError) as refused:
        rule_of(rule)
    message = str(refused.value)
    assert message.startswith(f"At character {place} of the rule ")
    assert f": expected {expected}" in message
    assert len(message) < 250


def test_a_long_rule_is_shown_around_the_place() -> None:
    with pytest.raises(DataError, match=r"rule '.*brand & acme'"):
        rule_of("price < 20 and " * 100 + "brand & acme")


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(DataError, match="'prize': did you mean 'price'"):
        table().matching(rule_of("prize < 3"))


@pytest.mark.parametrize("number", ["1" * 400, "-" + "9" * 5000, "1e999"])
def test_a_number_of_any_length_is_compared(number: str) -> None:
    mask_I = table().matching(rule_of(f"price < {number} or price = {number}"))
    assert np.flatnonzero(mask_I).tolist() == ([] if number.startswith("-") else [0, 1, 2, 4, 5])


def test_equal_rules_share_one_mask_that_cannot_be_written() -> None:
    items = table()
    mask_I = items.matching(rule_of("price < 20 and adult"))
    assert items.matching(rule_of("price<20   AND adult")) is mask_I
    with pytest.raises(ValueError, match="read-only"):
        mask_I[0] = False


def test_the_masks_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landbridge.data.item_attributes.MASK_BYTES", 2 * ITEMS)
    items = table()
    first, second, _ = (items.matching(rule_of(f"price < {n}")) for n in range(3))
    assert items.matching(rule_of("price < 1")) is second
    assert items.matching(rule_of("price < 0")) is not first


def test_columns_and_values_are_a_rule() -> None:
    assert rule_of({"brand": ["acme", "x"], "adult": True}) == rule_of("brand in [acme, x] and adult")
    with pytest.raises(DataError, match="A value in 'where' is text, a number"):
        rule_of({"brand": [{"acme"}]})
