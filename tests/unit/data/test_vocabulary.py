"""Ids and their indices, against a dictionary."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import DataError
from landbridge.data.io.readers import read
from landbridge.data.vocabulary import Vocabulary

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
TEXT = st.text(LETTERS, min_size=1, max_size=60)


@given(st.lists(TEXT, min_size=1, max_size=60), st.lists(TEXT, max_size=30))
def test_text_of_any_length_has_the_index_a_dictionary_gives(ids: list[str], others: list[str]) -> None:
    vocabulary = Vocabulary.of(np.array(ids, np.dtypes.StringDType()))
    expected = {text: place for place, text in enumerate(vocabulary.ids.tolist())}
    wanted = [*others, *reversed(ids)]
    found = vocabulary.index(np.array(wanted, np.dtypes.StringDType()))
    assert found.tolist() == [expected.get(text, -1) for text in wanted]


def test_many_long_titles_are_all_found() -> None:
    rng = np.random.default_rng(0)
    titles = [f"The film of {number}, part {'x' * int(rng.integers(40))}" for number in range(2000)]
    vocabulary = Vocabulary.of(titles)
    order = rng.permutation(len(titles))
    found = vocabulary.index([titles[place] for place in order])
    assert [str(vocabulary.ids[place]) for place in found] == [titles[place] for place in order]


def test_long_titles_are_found_in_a_table_of_memberships() -> None:
    titles = [f"The film of {number:020d}" for number in range(300)]
    homes = ["a" if number % 2 else "b" for number in range(300)]
    events = pl.DataFrame({"user": range(300), "item": titles, "domain": homes})
    listed = pl.DataFrame({"item": titles * 2, "domain": homes + ["a"] * 300})
    data = read(events, memberships=listed)
    assert data.memberships["b"].all()
    assert data.memberships["a"].tolist() == [[True, False]] * 150


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.lists(st.integers(-(2**62), 2**62)))
def test_whole_numbers(ids: list[int], others: list[int]) -> None:
    vocabulary = Vocabulary.of(np.array(ids, np.int64))
    expected = {number: place for place, number in enumerate(sorted(set(ids)))}
    assert vocabulary.index(np.array([*others, *ids], np.int64)).tolist() == [
        expected.get(number, -1) for number in [*others, *ids]
    ]


def test_a_number_is_found_by_its_text_and_the_other_way_round() -> None:
    assert Vocabulary.of(np.array([3, 17])).index(["17", "x", "3"]).tolist() == [1, -1, 0]
    assert Vocabulary.of(["17", "3"]).index(np.array([3, 17, 5])).tolist() == [1, 0, -1]


def test_nothing_is_found_in_nothing() -> None:
    assert Vocabulary.of(np.empty(0, np.int64)).index(np.array([1])).tolist() == [-1]


@pytest.mark.parametrize("ids", [[1.5], ["a", None], [True]])
def test_other_ids_are_refused(ids: list[object]) -> None:
    with pytest.raises(DataError, match=r"[Ii]ds"):
        Vocabulary.of(np.array(ids, object) if None in ids else np.array(ids))


@pytest.mark.parametrize(
    "text", ["+17", "1_7", " 17", "017", "", "9" * 25, "-" + "9" * 5000, str(2**63), "x"]
)
def test_text_that_no_number_is_written_as_finds_nothing(text: str) -> None:
    known = Vocabulary.of([-1, 0, 7, 17, 2**63 - 1])
    assert known.index([text, "17", str(2**63 - 1)]).tolist() == [-1, 3, 4]


def test_null_characters_at_the_end_belong_to_an_id() -> None:
    """NumPy takes them off where it makes an array of a list."""
    assert len(Vocabulary.of(["a", "a\x00"])) == 2
    assert Vocabulary.of(["a", "b"]).index(["a\x00", "b"]).tolist() == [-1, 1]


def test_a_number_beside_text_is_an_id_and_another_value_is_none() -> None:
    assert Vocabulary.of(["a", 1]).ids.tolist() == ["1", "a"]
    for odd in (1.5, float("nan"), True, None):
        with pytest.raises(DataError, match="all whole numbers or all strings"):
            Vocabulary.of(["a", odd])
