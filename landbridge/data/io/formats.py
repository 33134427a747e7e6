"""File formats by extension, and what is particular about well-known files.

A format is one decorated function, :func:`register_format`; see docs/extending/reader.md.

Amazon 2014 ratings are csv without a header (user, item, rating, time); the 2018 ratings have the
first two the other way round. The 2018 reviews are JSON lines with ``reviewerID``, ``asin``, ``overall``
and ``unixReviewTime``; the 2023 ones have ``user_id``, ``parent_asin`` and milliseconds in ``timestamp``.
RecBole's ``.inter`` and ``.item`` are tab-separated with ``name:type`` headers and no quoting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from landbridge.core.errors import DataError, unknown

if TYPE_CHECKING:
    import polars as pl

# only files of this release have all of these columns
AMAZON_2023 = frozenset({"user_id", "parent_asin", "timestamp"})
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+\s*$"
ASIN = re.compile(r"[0-9B][0-9A-Z]{9}")  # Amazon's item ids have ten characters
BEGINNING = 1 << 16  # bytes that tell how a file is written
REVIEWER = re.compile(r"A[0-9A-Z]{9,}")

Scanner: TypeAlias = "Callable[[Path | bytes], pl.LazyFrame]"

_SCANNERS: dict[str, Scanner] = {}


def register_format(*extensions: str) -> Callable[[Scanner], Scanner]:
    """Decorator: the function that scans files with these extensions (lower case, with the dot).

    It gets a path, or the bytes of a file that was packed by gzip. What it raises is reported with the
    name of the file.
    """

    def added(scan: Scanner) -> Scanner:
        _SCANNERS.update(dict.fromkeys(extensions, scan))
        return scan

    return added


def scanner(extension: str, path: Path) -> Scanner:
    """The function that scans files with this extension; DataError for an unknown one."""
    if extension not in _SCANNERS:
        raise DataError(f"{path}: {unknown('file extension', extension, _SCANNERS)}")
    return _SCANNERS[extension]


@register_format(".parquet")
def _parquet(content: Path | bytes) -> pl.LazyFrame:
    import polars as pl

    return pl.scan_parquet(content, glob=False)


@register_format(".jsonl", ".ndjson", ".json")
def _json_lines(content: Path | bytes) -> pl.LazyFrame:
    import polars as pl

    if _beginning(content).startswith(BYTE_ORDER_MARK):
        content = (content if isinstance(content, bytes) else content.read_bytes())[len(BYTE_ORDER_MARK) :]
    # all rows: a field may occur for the first time late in the file
    return pl.scan_ndjson(content, infer_schema_length=None)


@register_format(".csv")
def _comma_separated(content: Path | bytes) -> pl.LazyFrame:
    import polars as pl

    head = _beginning(content).splitlines()
    if head and b";" in head[0] and b"," not in head[0]:
        return _semicolon_separated(content)
    # Only Amazon's ratings have no header; their first row gives them away.
    first = pl.read_csv(content, has_header=False, n_rows=1, infer_schema=False).row(0)
    names = amazon_ratings_columns(first)
    if names is None:
        return _separated(content, ",")
    return pl.scan_csv(content, has_header=False, new_columns=list(names), glob=False, infer_schema=False)


def _semicolon_separated(content: Path | bytes) -> pl.LazyFrame:
    """As spreadsheets write csv files where the comma is the decimal sign."""
    import polars as pl

    table = _separated(content, ";")
    decimal = pl.all().str.contains(DECIMAL_COMMA)
    return table.with_columns(pl.when(decimal).then(pl.all().str.replace(",", ".")).otherwise(pl.all()))


@register_format(".tsv")
def _tab_separated(content: Path | bytes) -> pl.LazyFrame:
    return _separated(content, "\t")


def _separated(content: Path | bytes, separator: str) -> pl.LazyFrame:
    """A table of text with a header; polars leaves doubled quotation marks in the names of columns."""
    import polars as pl

    return pl.scan_csv(
        content,
        separator=separator,
        glob=False,
        infer_schema=False,
        with_column_names=lambda names: [name.replace('""', '"') for name in names],
    )


@register_format(".inter", ".item", ".link")
def _recbole(content: Path | bytes) -> pl.LazyFrame:
    import polars as pl

    # RecBole does not quote: a quotation mark is part of a title.
    return pl.scan_csv(content, separator="\t", quote_char=None, glob=False, infer_schema=False)


def amazon_ratings_columns(first_row: Sequence[str]) -> tuple[str, ...] | None:
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
    # 10**11 seconds are in the year 5138, and 10**11 milliseconds in 1973
    number = pl.col("time").cast(pl.Int64, strict=False)
    return frame.with_columns(pl.when(number >= 10**11).then(number // 1000).otherwise(number).alias("time"))


def parts_of_folder(path: Path) -> pl.LazyFrame:
    """The Parquet files of a folder as one table, as Spark, Dask and DuckDB write it."""
    import polars as pl

    parts = sorted(path.rglob("*.parquet"))
    if not parts:
        raise DataError(f"{path} is a folder without Parquet files; give a file of events.")
    return pl.scan_parquet(parts, glob=False)


def _beginning(content: Path | bytes) -> bytes:
    """The first bytes of a file."""
    if isinstance(content, bytes):
        return content[:BEGINNING]
    with content.open("rb") as stream:
        return stream.read(BEGINNING)


def _is_number(*texts: str) -> bool:
    return all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) for text in texts)
