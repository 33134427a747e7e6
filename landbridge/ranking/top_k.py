"""From scores to lists and ranks. Seen items are never ranked; ties never depend on luck.

Shape letters: B queries, I items, T targets, C candidates, K length of a list.
The results are the same for any number of threads.
"""

from __future__ import annotations

import numpy as np

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.types import AnyArray, Int32, Int64, Ragged

Scores = AnyArray  # float32 (or float64), (B, I)


def top_k(scores_BI: Scores, k: int, seen: Ragged) -> tuple[Int32, Scores]:
    """The k best unseen items of every row and their scores, both (B, K), best first.

    Equal scores: the lower item first. Where fewer items are left: item -1, score -inf.
    Raises SettingsError for k below 1, DataError for NaN scores.
    """
    from landbridge.ranking import kernels

    if k < 1:
        raise SettingsError(f"The length of a list must be 1 or more, not {k}.")
    scores_BI = checked_scores(scores_BI, seen)
    items_BK, scores_BK = kernels.best_unseen(scores_BI, k, seen.offsets, seen.columns)
    return items_BK, scores_BK


def count_above(
    scores_BI: Scores, item_T: Int32, seen: Ragged, row_T: Int64 | None = None
) -> tuple[Int64, Int64]:
    """How many unseen items score strictly above, and equal to, each target (itself left out), (T,) each.

    ``row_T``: the row of scores a target belongs to; without it target t belongs to row t.
    Raises DataError for NaN scores or items outside the catalogue.
    """
    from landbridge.ranking import kernels

    scores_BI = checked_scores(scores_BI, seen)
    row_T, item_T = _targets(row_T, item_T, scores_BI.shape)
    above_T, ties_T = kernels.count_unseen(scores_BI, row_T, item_T, seen.offsets, seen.columns)
    return above_T, ties_T


def count_above_candidates(
    scores_BI: Scores, item_T: Int32, candidates_TC: Int32, seen: Ragged, row_T: Int64 | None = None
) -> tuple[Int64, Int64]:
    """As :func:`count_above`, among each target's own candidates (T, C).

    Candidates that are -1, seen, or the target itself are below everything and not counted.
    """
    from landbridge.ranking import kernels

    scores_BI = checked_scores(scores_BI, seen)
    row_T, item_T = _targets(row_T, item_T, scores_BI.shape)
    candidates_TC = _candidates(candidates_TC, len(item_T), scores_BI.shape[1])
    above_T, ties_T = kernels.count_unseen_candidates(
        scores_BI, row_T, item_T, candidates_TC, seen.offsets, seen.columns
    )
    return above_T, ties_T


def count_competitors(item_T: Int32, candidates_TC: Int32, seen: Ragged, row_T: Int64 | None = None) -> Int64:
    """How many of its candidates each target is really ranked against: not -1, not seen, not itself; (T,)."""
    from landbridge.ranking import kernels

    n_rows = len(seen.offsets) - 1
    row_T, item_T = _targets(row_T, item_T, (n_rows, np.iinfo(np.int32).max))
    candidates_TC = _candidates(candidates_TC, len(item_T), np.iinfo(np.int32).max)
    counts: Int64 = kernels.count_competitors(row_T, item_T, candidates_TC, seen.offsets, seen.columns)
    return counts


def checked_scores(scores_BI: Scores, seen: Ragged) -> Scores:
    """Contiguous scores; DataError for NaN among them and for rows of seen items that do not fit."""
    from landbridge.ranking import kernels

    scores_BI = np.ascontiguousarray(scores_BI)
    n_rows, n_items = scores_BI.shape
    if len(seen.offsets) != n_rows + 1:
        raise DataError(f"There are {n_rows} rows of scores, but {len(seen.offsets) - 1} rows of seen items.")
    # compiled code checks no bounds: a wrong index would read foreign memory
    _check_range("seen item", seen.columns, 0, n_items)
    # NaN compares as false with everything, so it would silently take the lowest ranks
    nan_B = kernels.rows_with_nan(scores_BI)
    if nan_B.any():
        raise DataError(
            f"Scores are not a number in {int(nan_B.sum())} of {n_rows} rows, first in row {nan_B.argmax()}; "
            "look for divergence in the fit."
        )
    return scores_BI


def _targets(row_T: Int64 | None, item_T: Int32, shape: tuple[int, ...]) -> tuple[Int64, Int32]:
    rows = np.arange(len(item_T), dtype=np.int64) if row_T is None else np.asarray(row_T, np.int64)
    if len(rows) != len(item_T):
        raise DataError(f"There are {len(item_T)} targets, but {len(rows)} rows for them.")
    _check_range("row of a target", rows, 0, shape[0])
    _check_range("target item", item_T, 0, shape[1])
    return rows, np.asarray(item_T, np.int32)


def _candidates(candidates_TC: Int32, n_targets: int, n_items: int) -> Int32:
    if len(candidates_TC) != n_targets:
        raise DataError(f"There are {n_targets} targets, but {len(candidates_TC)} rows of candidates.")
    _check_range("candidate", candidates_TC, -1, n_items)
    return np.ascontiguousarray(candidates_TC, np.int32)


def _check_range(what: str, values: AnyArray, low: int, end: int) -> None:
    if values.size and (values.min() < low or values.max() >= end):
        raise DataError(f"A {what} lies outside {low}..{end - 1}.")
