"""Shared items: products, how they are read, and that nothing loses them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import countries, uneven

import landbridge as lb
from landbridge import store
from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.filters import min_events
from landbridge.data.interactions import Interactions
from landbridge.data.products import Products, equal_ids, products_of
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.popularity import Popularity
from landbridge.serving.events.merge import merge_events

A = pl.DataFrame({"user": [1, 1, 2], "item": ["x", "y", "x"]})
B = pl.DataFrame({"user": [5, 6], "item": ["x", "z"]})
LINKS = pl.DataFrame(
    {
        "domain_a": ["a", "a", "a"],
        "item_a": ["y", "q", "x"],
        "domain_b": ["b", "b", "b"],
        "item_b": ["z", "x", "z"],
        "confidence": [0.9, 0.9, 0.2],
    }
)


def read(**settings: Any) -> MultiDomain:
    return lb.read({"a": A, "b": B}, users="local", **settings)


def shared(data: MultiDomain) -> set[tuple[str, str]]:
    """The pairs of ids of a and b that are one product."""
    assert data.products is not None
    of_a, of_b = (data.products.product_I[name].tolist() for name in ("a", "b"))
    ids_a, ids_b = (data.items[name].ids.tolist() for name in ("a", "b"))
    return {(str(ids_a[of_a.index(p)]), str(one)) for p, one in zip(of_b, ids_b, strict=True) if p in of_a}


def test_equal_ids_are_one_product() -> None:
    assert shared(read(items="shared")) == {("x", "x")}


def test_without_shared_items_nothing_changes() -> None:
    assert read(items="local").products is None
    assert read(items="local").fingerprint == read().fingerprint


def test_shared_items_change_the_fingerprint() -> None:
    assert len({data.fingerprint for data in (read(), read(items="shared"), read(item_links=LINKS[:1]))}) == 3


def test_a_link_table_and_equal_ids_add_up() -> None:
    assert shared(read(item_links=LINKS[:1])) == {("y", "z")}
    assert shared(read(items="shared", item_links=LINKS[:1])) == {("x", "x"), ("y", "z")}


def test_links_below_the_least_confidence_and_of_unknown_items_are_counted() -> None:
    data = read(item_links=LINKS, min_confidence=0.5)
    assert shared(data) == {("y", "z")}
    assert data.provenance.remarks == (
        "Item links left out: 1 have a confidence below 0.5.",
        "Item links left out: 1 name an item without events.",
    )


def test_folded_ids_are_found_in_a_link_table() -> None:
    links = LINKS[:1].with_columns(item_a=pl.lit(" Y "), item_b=pl.lit("Z"))
    assert shared(read(item_links=links, fold_ids=True)) == {("y", "z")}


def test_whole_numbers_and_text_of_equal_ids_are_one() -> None:
    numbers, text = A.with_columns(item=pl.Series([7, 8, 7])), B.with_columns(item=pl.Series(["7", "seven"]))
    assert shared(lb.read({"a": numbers, "b": text}, users="local", items="shared")) == {("7", "7")}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"items": "sharde"}, "Cannot use items='sharde'"),
        ({"item_links": LINKS}, "items 'x' and 'y' of domain 'a' one product"),
        ({"item_links": LINKS.drop("item_b")}, "No column item_b in the table of item links"),
        ({"item_links": LINKS.drop("confidence"), "min_confidence": 0.5}, "No column confidence"),
        ({"item_links": LINKS.with_columns(domain_b=pl.lit("bb"))}, "Unknown domain 'bb'.*did you mean 'b'"),
        ({"item_links": LINKS.with_columns(item_a=pl.lit(None, pl.String))}, "item_a.*is missing in row 1"),
        ({"min_confidence": 0.5}, "min_confidence is about item_links"),
    ],
)
def test_bad_links_are_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read(**settings)


def test_a_cycle_that_joins_two_items_of_a_domain_is_an_error() -> None:
    items = {name: Vocabulary.of(["x", "y"]) for name in ("a", "b", "c")}
    with pytest.raises(DataError, match="items 'x' and 'y' of domain 'a' one product"):
        products_of(items, np.array([[0, 2], [2, 4], [4, 1]]), by_id=False)
    round_trip = products_of(items, np.array([[0, 2], [2, 4], [4, 0]]), by_id=False)  # a harmless cycle
    assert round_trip.domains_P.tolist() == [3, 1, 1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_random_links_are_the_components_that_a_slow_search_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = {name: Vocabulary.of(np.arange(size)) for name, size in {"a": 5, "b": 4, "c": 6}.items()}
    pair_L2 = rng.integers(0, 15, (int(rng.integers(0, 6)), 2))
    group = list(range(15))
    for one, two in pair_L2.tolist():
        group = [group[one] if each == group[two] else each for each in group]
    parts = group[:5], group[5:9], group[9:]
    if any(len(set(part)) < len(part) for part in parts):
        with pytest.raises(DataError, match="one product"):
            products_of(items, pair_L2, by_id=False)
        return
    own = np.concatenate(list(products_of(items, pair_L2, by_id=False).product_I.values()))
    assert np.array_equal(own[:, None] == own, np.array(group)[:, None] == np.array(group))


def test_products_are_checked() -> None:
    with pytest.raises(DataError, match="a domain has each product once"):
        Products({"a": np.array([0, 0], np.int32)}, by_id=False)
    with pytest.raises(DataError, match="without gaps"):
        Products({"a": np.array([0, 2], np.int32)}, by_id=False)
    with pytest.raises(DataError, match="exactly one product"):
        replace(uneven(), products=Products({"a": np.array([0], np.int32)}, by_id=False))


def test_without_shared_items_the_table_of_products_is_the_joined_one() -> None:
    data = uneven()
    none = replace(data, products=products_of(data.items, np.empty((0, 2), np.int64), by_id=False))
    (one, of_one), (other, of_other) = data.by_product(), none.by_product()
    assert np.array_equal(one.item_idx, other.item_idx)
    assert all(np.array_equal(of_one[name], of_other[name]) for name in of_one)


def test_a_users_events_of_one_product_are_one_of_the_largest_weight() -> None:
    users = Vocabulary.of([1])
    items = {name: Vocabulary.of(["x"]) for name in ("a", "b")}
    tables = {
        name: Interactions.from_events([0], [0], 1, 1, [weight]) for name, weight in {"a": 2, "b": 1}.items()
    }
    data = MultiDomain(users, items, tables, products=products_of(items, equal_ids(items), by_id=True))
    assert data.by_product()[0].weight.tolist() == [2]


def test_splits_selections_and_filters_keep_products() -> None:
    data = countries()
    assert lb.leave_one_out(data).test.history.products is data.products
    one = data.select(["fr"]).products
    assert one is not None
    assert one.n_shared == 0
    kept = min_events(data, per_item=2)
    assert kept.products is not None
    common = set(kept.items["de"].ids.tolist()) & set(kept.items["fr"].ids.tolist())
    assert 0 < kept.products.n_shared == len(common)


def test_a_saved_run_keeps_products(tmp_path: Path) -> None:
    data = read(items="shared")
    store.save(Popularity().fit(data), tmp_path / "run")
    again = store.load(tmp_path / "run").history
    assert again.fingerprint == data.fingerprint
    assert shared(again) == {("x", "x")}


@pytest.mark.parametrize(("by_id", "expected"), [(True, {("x", "x"), ("y", "y")}), (False, {("x", "x")})])
def test_a_refit_gives_new_items_their_products(by_id: bool, expected: set[tuple[str, str]]) -> None:
    """A new item of a known id is that product where products go by ids, else one of its own."""
    links = pl.DataFrame({"domain_a": ["a"], "item_a": ["x"], "domain_b": ["b"], "item_b": ["x"]})
    data = read(items="shared") if by_id else read(item_links=links)
    heard = pl.DataFrame(
        {
            "user": ["b:5", "b:5"],
            "domain": ["b", "b"],
            "item": ["y", "a new one"],
            "timestamp": [1.0, 2.0],
            "kind": pl.Series([None, None], dtype=pl.String),
            "weight": pl.Series([None, None], dtype=pl.Float64),
        }
    )
    merged, _ = merge_events(data, heard, [])
    assert shared(merged) == expected
