"""A rule leaves exactly the items of which a plain evaluation, item by item, says that it is true."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ANY_TEXT
from worlds import uneven

from landbridge.core.errors import DataError
from landbridge.data.item_attributes import read_items
from landbridge.data.item_rules import rule_of

DATA = uneven({"a": (8, 14)}, users=16)
SIZE = DATA["a"].n_items
PRICED = 6  # items of a table of prices
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# few values, so that bounds often meet them
NUMBERS = st.sampled_from([-1, 0, 1, 0.5, 0.0, 2**53, 2**53 + 1])
WORDS = st.sampled_from(["a", "b", "in", "a b", "x-1", "it's", 'say "no"', "\\", "Ä", "and"])
KINDS = {
    "whole": st.sampled_from([-1, 0, 1, 2**53, 2**53 + 1]),
    "float": st.sampled_from([0.0, 0.5, 1.0]),
    "text": WORDS,
}

Evaluate = Callable[[dict[str, list[Any]]], bool]


def quoted(draw: st.DrawFn, text: str) -> str:
    mark = draw(st.sampled_from("'\""))
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Evaluate]:
    """The text of a condition, and what it says of an item's values by column."""
    name = draw(st.sampled_from([*KINDS]))
    column = draw(st.sampled_from([name, quoted(draw, name)]))
    kind = draw(st.sampled_from(["order", "order", "equal", "set", "bare"]))
    if kind == "bare":
        return column, lambda row: any(value == 1 for value in row[name] if not isinstance(value, str))
    values = WORDS if name == "text" else NUMBERS
    if kind == "order":
        order, bound = draw(st.sampled_from([*ORDERS])), draw(values)
        return f"{column} {order} {written(draw, bound)}", lambda row: any(
            ORDERS[order](value, bound) for value in row[name]
        )
    wanted = draw(st.lists(values | st.none(), min_size=1, max_size=1 if kind == "equal" else 3))
    texts = [written(draw, value) for value in wanted]
    negated = draw(st.booleans())
    if kind == "equal":
        text = f"{column} {'!=' if negated else '='} {texts[0]}"
    else:
        text = f"{column} {'not in' if negated else 'in'} [{', '.join(texts)}]"

    def has(row: dict[str, list[Any]]) -> bool:
        return any((not row[name]) if each is None else each in row[name] for each in wanted)

    return text, (lambda row: not has(row)) if negated else has


def written(draw: st.DrawFn, value: Any) -> str:
    if value is None:
        return draw(st.sampled_from(["null", "NULL"]))
    return quoted(draw, value) if isinstance(value, str) else repr(value).replace("+", "")


def joined(parts: tuple[tuple[str, Evaluate], tuple[str, Evaluate], str]) -> tuple[str, Evaluate]:
    (left, of_left), (right, of_right), word = parts
    join = all if word == "and" else any
    return f"({left}) {word} ({right})", lambda row: join((of_left(row), of_right(row)))


def negated(part: tuple[str, Evaluate]) -> tuple[str, Evaluate]:
    return f"not ({part[0]})", lambda row: not part[1](row)


RULES = st.recursive(
    conditions(),
    lambda inner: st.tuples(inner, inner, st.sampled_from(["and", "or"])).map(joined) | inner.map(negated),
    max_leaves=6,
)


@st.composite
def cells(draw: st.DrawFn) -> dict[str, list[list[Any]]]:
    """Column -> for some items, the values that they have."""
    size = draw(st.integers(4, 8))
    return {
        name: draw(st.lists(st.lists(kind, max_size=2), min_size=size, max_size=size))
        for name, kind in KINDS.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rules")


@settings(max_examples=200)
@given(held=cells(), drawn=RULES, as_lists=st.booleans())
def test_a_rule_is_true_of_the_items_that_it_describes(
    held: dict[str, list[list[Any]]], drawn: tuple[str, Evaluate], as_lists: bool, folder: Path
) -> None:
    if not as_lists:
        held = {name: [values[:1] for values in column] for name, column in held.items()}
    size = len(held["whole"])
    frame = {
        name: column if as_lists else [values[0] if values else None for values in column]
        for name, column in held.items()
    }
    types: Any = {"whole": pl.Int64, "float": pl.Float64, "text": pl.String}
    schema = {name: pl.List(types[name]) if as_lists else types[name] for name in KINDS}
    ids = {"domain": ["a"] * size, "item": [str(place) for place in range(size)]}
    path = folder / "items.parquet"
    pl.DataFrame({**ids, **frame}, schema={"domain": pl.String, "item": pl.String, **schema}).write_parquet(
        path
    )
    text, of_row = drawn
    rows = [{name: held[name][place] for name in KINDS} for place in range(size)]
    rows += [{name: [] for name in KINDS}] * (SIZE - size)  # items without a row have no value
    expected = [place for place, row in enumerate(rows) if of_row(row)]
    mask_I = read_items(path, DATA).parts["a"].matching(rule_of(text))
    assert mask_I.nonzero()[0].tolist() == expected


@settings(max_examples=200)
@given(
    text=ANY_TEXT
    | st.lists(st.sampled_from(["price", "<", "not", "(", ")", "in", "[", "3", "'"])).map(" ".join)
)
def test_any_text_is_a_rule_or_refused_in_one_sentence(text: str) -> None:
    assert re.fullmatch(r"[^\n]*\.|", refusal(text))


def refusal(text: str) -> str:
    """Why a text is no rule; nothing where it is one."""
    try:
        rule_of(text)
    except DataError as refused:
        return str(refused)
    return ""


@settings(max_examples=50)
@given(st.lists(st.integers(-9999, 9999), min_size=PRICED, max_size=PRICED), st.integers(-9999, 9999))
def test_a_decimal_comma_is_a_decimal_point(folder: Path, cents: list[int], bound: int) -> None:
    data = uneven({"books": (PRICED, 5)}, users=5)
    masks = []
    for name, comma in (("comma.csv", ","), ("point.csv", ".")):
        rows = [f"books;{item};{cent / 100:.2f}".replace(".", comma) for item, cent in enumerate(cents)]
        (folder / name).write_text("\n".join(["domain;item;price", *rows]))
        rule = rule_of(f"price < {bound / 100} or price = {cents[0] / 100}")
        masks.append(read_items(folder / name, data).parts["books"].matching(rule).tolist())
    assert masks[0] == masks[1] == [cent < bound or cent == cents[0] for cent in cents]


@pytest.mark.parametrize("prices", [["1,234", "12,500"], ["9,50", "for sale"]])
def test_only_a_column_of_numbers_has_decimal_commas(folder: Path, prices: list[str]) -> None:
    data = uneven({"books": (PRICED, 5)}, users=5)
    rows = [f"books;{item};{price}" for item, price in enumerate(prices)]
    (folder / "items.csv").write_text("\n".join(["domain;item;price", *rows]))
    if prices[0] == "1,234":
        with pytest.raises(DataError, match=r"can be 1\.234 or 1234"):
            read_items(folder / "items.csv", data)
    else:
        part = read_items(folder / "items.csv", data).parts["books"]
        assert part.matching(rule_of("price = '9,50'")).nonzero()[0].tolist() == [0]
