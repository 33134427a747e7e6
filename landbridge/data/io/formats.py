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


def is_amazon_2023(names: Sequence[str]) -> bool:
    """Whether these columns are those of the 2023 reviews or ratings."""
    return set(names) >= AMAZON_2023


def in_seconds(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a column ``time`` of milliseconds (13 digits) brought to seconds."""
    import polars as pl

    if "time" not in frame.columns:
        return frame
    number = pl.col("time").cast(pl.Int64, strict=False)
    return frame.with_columns(pl.when(number >= 10**11).then(number // 1000).otherwise(number).alias("time"))


def _is_number(*texts: str) -> bool:
    return all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) for text in texts)
