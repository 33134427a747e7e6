from __future__ import annotations

import numba
import numpy as np
import pytest

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.types import Ragged
from landbridge.data.interactions import Interactions
from landbridge.ranking.top_k import count_above, count_above_candidates, count_competitors, top_k


def rows(*columns: list[int]) -> Ragged:
    offsets = np.cumsum([0, *map(len, columns)]).astype(np.int64)
    return Ragged(offsets, np.array([item for row in columns for item in row], np.int32), None)


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


SCORES_BI = np.array([[3, 1, 3, 2, 3], [0, 0, 0, 0, 0]], np.float32)


def test_ties_go_to_the_lower_item_and_seen_items_never_return() -> None:
    items, scores = top_k(SCORES_BI, 3, rows([2], [0, 1, 4]))
    assert items.tolist() == [[0, 4, 3], [2, 3, -1]]
    assert scores.tolist() == [[3, 3, 2], [0, 0, -np.inf]]


def test_an_unseen_item_scoring_minus_infinity_is_still_an_item() -> None:
    items, _ = top_k(np.array([[-np.inf, 1]], np.float32), 2, rows([]))
    assert items.tolist() == [[1, 0]]


def test_seen_rows_need_neither_order_nor_uniqueness() -> None:
    seen = rows([4, 0, 4], [])
    assert top_k(SCORES_BI, 2, seen)[0].tolist() == [[2, 3], [0, 1]]
    above, ties = count_above(SCORES_BI, int32(1, 1), seen)
    assert (above.tolist(), ties.tolist()) == ([2, 0], [0, 4])


def test_above_and_ties_count_unseen_items_only() -> None:
    above, ties = count_above(SCORES_BI, int32(0, 3), rows([2], [3, 4]))
    assert (above.tolist(), ties.tolist()) == ([0, 0], [1, 3])


def test_several_targets_share_a_row() -> None:
    above, ties = count_above(SCORES_BI, int32(1, 0, 2), rows([], []), np.array([0, 0, 1]))
    assert (above.tolist(), ties.tolist()) == ([4, 0, 0], [0, 2, 4])


def test_candidates_that_are_padding_seen_or_the_target_do_not_count() -> None:
    candidates = np.array([[0, 2, -1, 3], [3, 0, 1, -1]], np.int32)
    seen = rows([2], [1])
    above, ties = count_above_candidates(SCORES_BI, int32(3, 3), candidates, seen)
    assert (above.tolist(), ties.tolist()) == ([1, 0], [0, 1])
    assert count_competitors(int32(3, 3), candidates, seen).tolist() == [1, 1]


def test_a_target_that_was_seen_is_still_ranked() -> None:
    above, ties = count_above(SCORES_BI, int32(0, 0), rows([0], [0, 1]))
    assert (above.tolist(), ties.tolist()) == ([0, 0], [2, 3])


def test_rows_of_slices_repeats_and_gives_strangers_nothing() -> None:
    table = Interactions.from_events([0, 0, 2], [1, 3, 2], 3, 4, weight=[1.0, 2.0, 3.0])
    picked = table.by_user.take([2, -1, 0, 0, 1])
    assert picked.offsets.tolist() == [0, 1, 1, 3, 5, 5]
    assert picked.columns.tolist() == [2, 1, 3, 1, 3]
    assert picked.weight is not None
    assert picked.weight.tolist() == [3, 1, 2, 1, 2]


def test_rows_of_no_user() -> None:
    picked = rows([1], [2]).take(np.array([], np.int32))
    assert (picked.offsets.tolist(), picked.columns.tolist()) == ([0], [])


def test_any_number_of_threads_gives_the_same() -> None:
    scores = np.random.default_rng(0).integers(0, 30, (200, 500)).astype(np.float32)
    seen, target = rows(*[[i, i + 1] for i in range(200)]), np.arange(200, dtype=np.int32)
    before = numba.get_num_threads()
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        found.append(np.concatenate([top_k(scores, 7, seen)[0].T, *[count_above(scores, target, seen)]]))
    numba.set_num_threads(before)
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: top_k(np.array([[0, np.nan]], np.float32), 1, rows([])), "not a number in 1 of 1 rows"),
        (lambda: count_above(np.array([[np.nan, 1]], np.float32), int32(1), rows([])), "first in row 0"),
        (lambda: count_above(SCORES_BI, int32(0, 5), rows([], [])), "target item lies outside 0..4"),
        (lambda: count_above(SCORES_BI, int32(0), rows([], []), np.array([2])), "row of a target"),
        (lambda: count_above(SCORES_BI, int32(0), rows([], []), np.array([0, 1])), "1 targets, but 2"),
        (lambda: top_k(SCORES_BI, 1, rows([])), "2 rows of scores, but 1 rows of seen"),
        (lambda: top_k(SCORES_BI, 1, rows([5], [])), "seen item lies outside"),
        (
            lambda: count_above_candidates(SCORES_BI, int32(0, 0), np.array([[5], [1]]), rows([], [])),
            "candidate lies outside -1..4",
        ),
        (
            lambda: count_above_candidates(SCORES_BI, int32(0, 0), np.array([[1]]), rows([], [])),
            "2 targets, but 1 rows of candidates",
        ),
        (lambda: rows([1]).take([1]), "row number lies outside -1..0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()


def test_a_list_has_at_least_one_place() -> None:
    with pytest.raises(SettingsError, match="1 or more, not 0"):
        top_k(SCORES_BI, 0, rows([], []))
