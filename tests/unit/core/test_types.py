"""Ragged: rows of unequal length, taken, located, built and extended."""

from __future__ import annotations

import numpy as np
import pytest

from landbridge.core.errors import DataError
from landbridge.core.types import Float32, Ragged

ROWS = Ragged(np.array([0, 2, 2, 5]), np.array([4, 1, 0, 3, 2], np.int32), np.arange(5, dtype=np.float32))


def as_lists(rows: Ragged) -> list[list[int]]:
    return [rows.take([row]).columns.tolist() for row in range(len(rows))]


def test_a_row_number_may_repeat_and_minus_one_is_an_empty_row() -> None:
    taken = ROWS.take([2, -1, 0, 0])
    assert as_lists(taken) == [[0, 3, 2], [], [4, 1], [4, 1]]
    assert taken.weights.tolist() == [2, 3, 4, 0, 1, 0, 1]


@pytest.mark.parametrize("row", [-2, 3])
def test_a_row_number_outside_is_refused(row: int) -> None:
    with pytest.raises(DataError, match=r"outside -1\.\.2"):
        ROWS.take([row])


def test_lengths_and_the_row_of_each_entry() -> None:
    assert len(ROWS) == 3
    assert ROWS.lengths.tolist() == [2, 0, 3]
    assert ROWS.entry_rows.tolist() == [0, 0, 2, 2, 2]


def test_located_entries_index_a_column_kept_beside() -> None:
    offsets, entry_N = ROWS.locate([2, 0])
    assert offsets.tolist() == [0, 3, 5]
    assert entry_N.tolist() == [2, 3, 4, 0, 1]


def test_entries_in_any_order_keep_their_order_within_a_row() -> None:
    weight_N = np.array([10, 20, 30, 40], np.float32)
    rows = Ragged.from_index(np.array([2, 0, 2, 0]), np.array([7, 5, 1, 3]), 4, weight_N)
    assert as_lists(rows) == [[5, 3], [], [7, 1], []]
    assert rows.weights.tolist() == [20, 40, 10, 30]


def test_rows_from_lists_and_without_entries() -> None:
    assert as_lists(Ragged.from_rows([[3, 9], [], [7]])) == [[3, 9], [], [7]]
    assert as_lists(Ragged.empty(2)) == [[], []]
    assert Ragged.from_rows([]).offsets.tolist() == [0]


def test_appended_columns_are_sorted_within_each_row() -> None:
    more = [np.array([2]), np.array([6, 5]), np.empty(0, np.int64)]
    assert as_lists(ROWS.append(more)) == [[1, 2, 4], [5, 6], [0, 2, 3]]


@pytest.mark.parametrize("weight", [None, np.ones(2, np.float32)])
def test_nothing_writes_into_rows(weight: Float32 | None) -> None:
    own = np.array([0, 1], np.int32)
    rows = Ragged(np.array([0, 1, 2]), own, weight)
    for array in (rows.offsets, rows.columns, rows.weights):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert own.flags.writeable
    assert np.shares_memory(own, rows.columns)
