"""What is particular about well-known files: Amazon review dumps and RecBole atomic files.

Amazon 2014 ratings are csv without a header (user, item, rating, time); the 2018 ratings have the
first two the other way round. The 2018 reviews are JSON lines with ``reviewerID``, ``asin``, ``overall``
and ``unixReviewTime``; the 2023 ones have ``user_id``, ``parent_asin`` and milliseconds in ``timestamp``.
RecBole's ``.inter`` and ``.item`` are tab-separated with ``name:type`` headers and no quoting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

AMAZON_2023 = frozenset({"user_id", "parent_asin", "timestamp"})
ASIN = re.compile(r"[0-9B][0-9A-Z]{9}")
REVIEWER = re.compile(r"A[0-9A-Z]{9,}")


def amazon_ratings_columns(first_row: Sequence[Any]) -> tuple[str, ...] | None:
    """The names of a csv file without a header, if its first row looks like an Amazon rating."""
    if len(first_row) != 4 or not all(first_row) or not _is_number(first_row[2], first_row[3]):
        return None
    left, right = first_row[:2]
    if REVIEWER.fullmatch(left) and ASIN.fullmatch(right):
        return "user", "item", "rating", "timestamp"
    if ASIN.fullmatch(left) and REVIEWER.fullmatch(right):
        return "item", "user", "rating", "timestamp"
    return None


def not_meant(names: Sequence[str]) -> tuple[str, ...]:
    """Roles whose usual column means something else here: an Amazon 2023 title is the review's."""
    return ("title",) if set(names) >= AMAZON_2023 else ()


def in_seconds(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The frame with an Amazon 2023 time column brought from milliseconds to seconds."""
    import polars as pl

    if set(names) >= AMAZON_2023 and "time" in frame.columns and frame["time"].dtype.is_integer():
        return frame.with_columns(pl.col("time") // 1000)
    return frame


def _is_number(*texts: str) -> bool:
    return all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) for text in texts)
