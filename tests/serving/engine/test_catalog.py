"""A catalogue: what a search finds and in which order, and what items are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shops import fit, opened, world

from landbridge.data.interactions import Interactions
from landbridge.data.item_attributes import ItemAttributes
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.popularity import Popularity
from landbridge.serving.engine import catalog, text_search
from landbridge.serving.engine.catalog import ItemCatalog

TITLES = ["Amélie", "Dune", "Dune Messiah", "Straße", "The Dune Book"]


def catalogue(counts: list[int]) -> ItemCatalog:
    """Items x00, x01, ... with these numbers of events."""
    ids = [f"x{number:02d}" for number in range(len(counts))]
    titles = np.array(
        [TITLES[number % len(TITLES)] for number in range(len(counts))], np.dtypes.StringDType()
    )
    count_I = np.array(counts, np.int64)
    return ItemCatalog(
        "shop", Vocabulary.of(ids), titles, count_I, count_I.astype(np.float32), ItemAttributes(len(ids))
    )


@pytest.mark.parametrize("block", [1, 3, 1000])
@pytest.mark.parametrize("text", ["dune", "DUNE book", "x0", "x03 stras", "no such", "amelie", "e", " "])
def test_a_search_finds_what_a_look_at_every_item_finds(
    text: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "SEARCHED_AT_ONCE", block)
    counts = [3, 9, 1, 9, 4, 7, 0, 2, 9, 5]
    own = catalogue(counts)
    plain = {"Amélie": "amelie", "Straße": "strasse"}
    texts = [
        plain.get(TITLES[number % len(TITLES)], TITLES[number % len(TITLES)].lower()) + f" x{number:02d}"
        for number in range(len(counts))
    ]
    order = sorted(range(len(counts)), key=lambda number: -counts[number])
    held = [number for number in order if all(word in texts[number] for word in text.lower().split())]
    for k in (1, 4, 10):
        found = own.search(text, k)
        assert [entry.item for entry in found] == [f"x{number:02d}" for number in held[:k]]
        assert [entry.score for entry in found] == [counts[number] for number in held[:k]]


def test_an_item_is_found_by_its_id_where_there_are_titles() -> None:
    assert [entry.item for entry in catalogue([1, 1, 1]).search("x01", 5)] == ["x01"]


def test_a_common_word_is_searched_in_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SEARCHED_AT_ONCE", 10)
    looked_at = []
    holds = text_search.holds_all
    monkeypatch.setattr(
        catalog, "holds_all", lambda texts, words: looked_at.append(len(texts)) or holds(texts, words)
    )
    assert len(catalogue([1] * 200).search("dune", 5)) == 5
    assert looked_at == [10]


def test_a_title_of_the_items_table_comes_before_that_of_the_model(tmp_path: Path) -> None:
    """A new item is called by its id in a refitted model, and by its title in the table."""
    path = tmp_path / "items.csv"
    path.write_text("domain,item,title\nfilms,f01,The Brand New Film\nfilms,f02,\n")
    service = opened(fit(Popularity()), tmp_path, path)
    titles = {entry.item: entry.title for entry in service.popular("films", 90)}
    assert (titles["f01"], titles["f02"]) == ("The Brand New Film", "Film 2 of 2 Lights")
    assert [entry.item for entry in service.search("films", "brand new")] == ["f01"]


def test_the_weight_of_a_pair_is_that_of_its_event() -> None:
    table = world(weighted=True)["films"]
    assert table.weight is not None
    np.testing.assert_array_equal(table.weights_of(table.user_idx, table.item_idx), table.weight)
    missing = ~table.contains(np.zeros(90, int), np.arange(90))
    assert (table.weights_of(np.zeros(90, int), np.arange(90))[missing] == 1).all()
    assert Interactions.from_events([0], [0], 2, 2).weights_of([0, 1, -1], [0, 0, 1]).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("title", "text"),
    [("Jørgen", "jorgen"), ("Łódź", "lodz"), ("Straße", "STRASSE"), ("Œuvre", "oeuvre"), ("Đorđe", "đorde")],
)
def test_letters_with_strokes_are_found_without(title: str, text: str) -> None:
    """Unicode takes no stroke off a letter, and many keyboards lack it."""
    assert text_search.holds_all(text_search.folded([title]), text_search.words_of(text)).all()
    assert text_search.holds_all(text_search.folded([title]), text_search.words_of(title)).all()
