"""Item features: how a table of them is read, and that nothing loses them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import landbridge as lb
from landbridge import store
from landbridge.core.errors import DataError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.filters import min_events
from landbridge.data.io.feature_table import with_new_items
from landbridge.data.item_features import ItemFeatures
from landbridge.models.popularity import Popularity
from landbridge.serving.events.merge import merge_events

A = pl.DataFrame({"user": [1, 1, 2, 3], "item": ["x", "y", "x", "x"]})
B = pl.DataFrame({"user": [1, 2, 3], "item": [10, 20, 10]})
TABLE = pl.DataFrame(
    {
        "domain": ["a", "a", "a", "b", "b", "b"],
        "item": ["x", "y", "new", "10", "20", "30"],
        "brand": ["acme", "best", "acme", "acme", None, "best"],
        "topics": [["red", "blue"], ["red"], [], ["blue", "blue"], None, ["green"]],
        "title": ["Old red Pot", "pan", "POT, new", "x", "", "pan & pot"],
    }
)


def read(table: pl.DataFrame = TABLE, **settings: Any) -> MultiDomain:
    return lb.read({"a": A, "b": B}, users="shared", item_features=table, **settings)


@cache
def read_once() -> MultiDomain:
    return read()


def features(data: MultiDomain) -> ItemFeatures:
    assert data.item_features is not None
    return data.item_features


def labels(data: MultiDomain, domain: str, item: str | int) -> dict[str, float]:
    """What is known of an item."""
    own, at = features(data), int(data.items[domain].index([item])[0])
    rows = own.rows[domain].take([at])
    pairs = zip(rows.columns.tolist(), rows.weights.tolist(), strict=True)
    return {own.label(feature): round(weight, 3) for feature, weight in pairs}


def test_values_that_several_items_have_are_features_of_all_domains() -> None:
    data = read()
    assert labels(data, "a", "new") == {"brand = acme": 1.0, "title = pot": 1.0}
    # ln(4/2) of red and of blue, and "old" is of one item alone
    half = round(0.5**0.5, 3)
    assert labels(data, "a", "x") == {
        "brand = acme": 1.0,
        "topics = blue": half,
        "topics = red": half,
        "title = pot": 1.0,
    }
    # ln(5/3) of pot, ln(5/2) of pan
    pan, pot = np.array([np.log(5 / 2), np.log(5 / 3)]) / np.hypot(np.log(5 / 2), np.log(5 / 3))
    assert labels(data, "b", 30) == {
        "brand = best": 1.0,
        "title = pan": round(pan, 3),
        "title = pot": round(pot, 3),
    }
    assert labels(data, "b", 20) == {}


def test_items_without_events_are_kept_and_counted() -> None:
    data, plain = read(), lb.read({"a": A, "b": B}, users="shared")
    assert data.items["a"].ids.tolist() == ["new", "x", "y"]
    assert data.items["b"].ids.tolist() == [10, 20, 30]
    assert data.new_items("a").tolist() == [True, False, False]
    assert not plain.new_items("a").any()
    remarks = data.provenance.remarks
    assert any("2 items have no events" in remark for remark in remarks)
    assert any("1 items with events have no row" in remark for remark in remarks)
    for name in "ab":
        of, to = plain[name], data[name]
        assert np.array_equal(plain.items[name].ids[of.item_idx], data.items[name].ids[to.item_idx])
        assert np.array_equal(of.user_idx, to.user_idx)


def test_new_items_have_the_titles_of_the_table() -> None:
    titles = read(titles=pl.DataFrame({"item": ["x"], "title": ["The pot"]})).titles
    assert titles["a"].tolist() == ["POT, new", "The pot", "pan"]
    assert titles["b"].tolist() == ["x", "20", "pan & pot"]


def test_many_numbers_are_bins_and_few_are_values() -> None:
    number = np.arange(100)
    events = pl.DataFrame({"user": number, "item": number})
    table = pl.DataFrame({"item": number, "price": number / 4, "stars": number % 3})
    data = lb.read({"a": events}, item_features=table.with_columns(domain=pl.lit("a")))
    assert labels(data, "a", 0) == {"price = below 2.5": 1.0, "stars = 0": 1.0}
    assert labels(data, "a", 47) == {"price = 10 to 12.5": 1.0, "stars = 2": 1.0}
    assert labels(data, "a", 99) == {"price = 22.25 or more": 1.0, "stars = 0": 1.0}


def test_numbers_may_have_a_decimal_comma() -> None:
    prices = [f"{number},50" for number in range(6)]
    commas, points = (
        TABLE.with_columns(price=pl.Series(each)) for each in (prices, [n + 0.5 for n in range(6)])
    )
    assert same(read(commas), read(points))


@pytest.mark.parametrize("kind", [pl.List(pl.Float64), pl.Array(pl.Float32, 2)])
def test_lists_of_decimals_are_vectors(kind: Any) -> None:
    vectors = [[3.0, 4.0], [0.0, 2.0], None, [0.0, 0.0], [-1.0, 0.0], [1.0, 1.0]]
    data = read(TABLE.select("domain", "item").with_columns(vector=pl.Series(vectors, dtype=kind)))
    assert labels(data, "a", "x") == {"vector = 1": 0.6, "vector = 2": 0.8}
    assert labels(data, "a", "new") == {}
    assert labels(data, "b", 20) == {"vector = 1": -1.0, "vector = 2": 0.0}
    assert np.isfinite(features(data).matrix("b").toarray()).all()


@pytest.mark.parametrize("odd", [[1.0], [1.0, np.nan], [1.0, None], []])
def test_vectors_of_different_lengths_or_with_gaps_are_an_error(odd: list[float]) -> None:
    vectors = pl.Series([[3.0, 4.0], odd, None, [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    with pytest.raises(DataError, match="as vectors they must be of one length"):
        read(TABLE.select("domain", "item").with_columns(vector=vectors))


def test_one_domain_needs_no_domain_column() -> None:
    data = lb.read({"a": A}, item_features=TABLE[:3].drop("domain"))
    assert labels(data, "a", "new") == {"brand = acme": 1.0, "title = pot": 1.0}


def test_the_last_row_of_an_item_counts() -> None:
    again = pl.concat([TABLE, TABLE[:1].with_columns(brand=pl.lit("best"))])
    assert "brand = best" in labels(read(again), "a", "x")


def test_folded_ids() -> None:
    table = TABLE.with_columns(item=pl.col("item").str.to_uppercase() + " ")
    assert labels(read(table, fold_ids=True), "a", "x") == labels(read(), "a", "x")


def test_rows_of_domains_that_are_not_read_are_left_out() -> None:
    data = read(domains=["a"])
    assert set(features(data).rows) == {"a"}
    # the domain's own values alone make the vocabulary
    assert "brand = best" not in labels(data, "a", "y")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (TABLE.with_columns(domain=pl.lit("aa")), "In the table of item features: Unknown domain 'aa'"),
        (TABLE.drop("item"), "No column item in the table of item features"),
        (TABLE.drop("domain"), "No column domain in the table of item features"),
        (TABLE.select("domain", "item"), "no column beside domain and item"),
        (TABLE.with_columns(item=pl.lit("q")), "whole numbers, but the table of item features names 'q'"),
        (TABLE.with_columns(item=pl.lit(None, pl.String)), "'item' of the table of item features is missing"),
        (TABLE.with_columns(odd=pl.lit(b"1")), "Column 'odd' of the table of item features holds Binary"),
        (TABLE[:1], "No value in the table of item features is of two items"),
    ],
)
def test_what_cannot_be_read_is_an_error(table: pl.DataFrame, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read(table)


def same(one: MultiDomain, other: MultiDomain) -> bool:
    return one.fingerprint == other.fingerprint and all(
        labels(one, name, item) == labels(other, name, item)
        for name in one.domain_names
        for item in one.items[name].ids.tolist()
    )


@given(st.permutations(range(6)), st.permutations(["brand", "topics", "title"]))
def test_the_order_of_rows_changes_nothing(rows: list[int], columns: list[str]) -> None:
    usual = read_once()
    assert same(read(TABLE[rows]), usual)
    other = read(TABLE.select("domain", "item", *columns))
    assert labels(other, "a", "x") == labels(usual, "a", "x")


CELL = st.none() | st.sampled_from(["a", "b", "c d", "d", " ", "\u00e9"])


@given(st.lists(st.tuples(CELL, st.lists(CELL, max_size=3), CELL, st.floats() | st.none()), min_size=6))
def test_every_column_of_an_item_has_norm_1_or_is_empty(cells: list[tuple[Any, ...]]) -> None:
    number = np.arange(len(cells))
    schema = {"kind": pl.String, "tags": pl.List(pl.String), "text": pl.String, "price": pl.Float64}
    table = pl.DataFrame(cells, schema, orient="row").with_columns(
        domain=pl.lit("a"), item=pl.Series(number), two=pl.Series(number % 2)
    )
    data = lb.read({"a": pl.DataFrame({"user": [1, 2], "item": number[:2]})}, item_features=table)
    own = features(data)
    rows = own.rows["a"]
    code_V = np.unique(own.columns_V.tolist(), return_inverse=True)[1]
    norm_IC = np.zeros((len(rows), code_V.max() + 1))
    np.add.at(norm_IC, (rows.entry_rows, code_V[rows.columns]), rows.weights.astype(float) ** 2)
    assert np.all(np.isclose(norm_IC, 1, atol=1e-5) | (norm_IC == 0))
    # a feature is of two items or more, and not of all that have its column
    count_V = np.bincount(rows.columns, minlength=own.n_features)
    assert (count_V >= 2).all()
    assert (count_V < len(cells)).all()


def test_domains_and_filters_keep_them() -> None:
    data = read()
    assert labels(data.select(["b"]), "b", 30) == labels(data, "b", 30)
    kept = min_events(data, per_item=2)
    # y was bought too rarely; what never could be bought stays
    assert kept.items["a"].ids.tolist() == ["new", "x"]
    assert kept.items["b"].ids.tolist() == [10, 30]
    assert labels(kept, "b", 30) == labels(data, "b", 30)


def test_a_split_keeps_them() -> None:
    data = read()
    history = lb.leave_one_out(data, min_events=1).test.history
    assert history.item_features is data.item_features


def test_a_run_keeps_them(tmp_path: Path) -> None:
    data = read()
    store.save(Popularity().fit(data), tmp_path / "run")
    assert same(store.load(tmp_path / "run").history, data)


def test_events_of_new_and_of_unknown_items_keep_them() -> None:
    data = read()
    heard = pl.DataFrame(
        {"user": ["1", "9"], "domain": ["a", "a"], "item": ["new", "later"], "timestamp": [5.0, 6.0]}
    ).with_columns(kind=pl.lit(None, pl.String), weight=pl.lit(None, pl.Float64))
    grown, _ = merge_events(data, heard, [])
    assert labels(grown, "a", "new") == labels(data, "a", "new")
    assert labels(grown, "a", "later") == {}
    assert not grown.new_items("a").any()


def test_features_change_the_fingerprint() -> None:
    brandless = read(TABLE.drop("brand"))
    assert len({brandless.fingerprint, read().fingerprint}) == 2


def test_shared_items_keep_their_products() -> None:
    data = lb.read(
        {"a": A, "b": A.with_columns(item=pl.lit("x"))},
        users="shared",
        items="shared",
        item_features=TABLE[:3].vstack(TABLE[:3].with_columns(domain=pl.lit("b"))),
    )
    assert data.products is not None
    assert data.products.n_shared == 3
    matrix = features(data).matrix_of(data.products.product_I, 3).toarray()
    assert np.allclose(matrix[data.products.product_I["a"]], features(data).matrix("a").toarray())


def test_rows_that_do_not_fit_are_refused() -> None:
    texts = np.array(["a"], np.dtypes.StringDType())
    with pytest.raises(DataError, match="do not fit their vocabulary"):
        ItemFeatures(texts, texts, {"a": Ragged.from_rows([[1]])})
    one = Ragged(np.array([0, 1]), np.zeros(1, np.int32), np.array([np.nan], np.float32))
    with pytest.raises(DataError, match="not all numbers"):
        ItemFeatures(texts, texts, {"a": one})
    with pytest.raises(DataError, match="Every feature needs a column and a value"):
        ItemFeatures(texts, texts[:0], {})


def long_table(items: int = 30) -> pl.DataFrame:
    """Items of every type of column; those from 20 on are new."""
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "domain": "a",
            "item": [f"{number:02d}" for number in range(items)],
            "brand": [f"b{number % 4}" for number in range(items)],
            "price": rng.uniform(1, 100, items).round(2),
            "rating": rng.integers(1, 6, items),
            "tags": [[f"t{number % 3}", f"t{number % 5}"] for number in range(items)],
            "title": [f"pot {number % 6} for {number % 7}" for number in range(items)],
            "vector": rng.standard_normal((items, 3)).tolist(),
        }
    ).with_columns(since=pl.date(2020 + pl.int_range(items) % 4, 1, 1))


@cache
def long_data() -> MultiDomain:
    events = pl.DataFrame({"user": np.arange(40) % 9, "item": [f"{number % 20:02d}" for number in range(40)]})
    return lb.read({"a": events}, item_features=long_table())


def rows_of(data: MultiDomain, item: str) -> tuple[list[int], list[float]]:
    own = features(data).rows["a"].take(data.items["a"].index([item]))
    return own.columns.tolist(), own.weights.tolist()


def test_a_table_read_again_says_the_same(tmp_path: Path) -> None:
    data = long_data()
    assert with_new_items(data, long_table()).fingerprint == data.fingerprint
    store.save(Popularity().fit(data), tmp_path / "run")
    loaded = store.load(tmp_path / "run").history
    assert with_new_items(loaded, long_table()).fingerprint == data.fingerprint


@settings(max_examples=25)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=20))
def test_a_new_item_is_read_as_its_like_was(likes: list[int]) -> None:
    """Whatever else the later table holds: its bins and weights are those of the first."""
    more = long_table()[likes].with_columns(item=pl.format("n{}", pl.int_range(len(likes))))
    data, grown = long_data(), with_new_items(long_data(), more)
    for number, like in enumerate(likes):
        columns, weights = rows_of(grown, f"n{number}")
        assert (columns, weights) == (
            rows_of(data, f"{like:02d}")[0],
            pytest.approx(rows_of(data, f"{like:02d}")[1]),
        )
    assert grown.new_items("a").sum() == 10 + len(likes)


def test_of_items_with_events_a_later_table_says_nothing() -> None:
    data = long_data()
    other = long_table().with_columns(brand=pl.lit("b0"))
    grown = with_new_items(data, other)
    assert rows_of(grown, "01") == rows_of(data, "01")
    assert rows_of(grown, "21") != rows_of(data, "21")
    # what the run has no feature for is left out
    unknown = with_new_items(
        data, long_table()[:1].with_columns(item=pl.lit("n"), brand=pl.lit("none"), new=1)
    )
    assert not any("none" in label for label in labels(unknown, "a", "n"))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (
            long_table().select("domain", "item", other="brand"),
            "No column of the table of item features is one",
        ),
        (long_table().with_columns(vector=pl.Series([[0.5, 1.0]] * 30)), "holds vectors of another length"),
        (long_table().with_columns(domain=pl.lit("z")), "is of a domain of the data: a"),
    ],
)
def test_a_later_table_that_says_nothing_is_refused(table: pl.DataFrame, why: str) -> None:
    with pytest.raises(DataError, match=why):
        with_new_items(long_data(), table)


def test_without_features_there_is_nothing_to_read_a_later_table_by() -> None:
    plain = lb.read({"a": A, "b": B}, users="shared")
    with pytest.raises(DataError, match="refit it with --item-features"):
        with_new_items(plain, TABLE)
