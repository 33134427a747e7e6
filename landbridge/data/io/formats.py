"""File formats by extension, and what is particular about well-known files.

A format is one decorated function, :func:`register_format`; see docs/extending/reader.md.

Amazon 2014 ratings are csv without a header (user, item, rating, time); the 2018 ratings have the
first two the other way round. The 2018 reviews are JSON lines with ``reviewerID``, ``asin``, ``overall``
and ``unixReviewTime``; the 2023 ones have ``user_id``, ``parent_asin`` and milliseconds in ``timestamp``.
RecBole's ``.inter`` and ``.item`` are tab-separated with ``name:type`` headers and no quoting.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.plugins import READERS, plugins
from landbridge.data.io.bad_rows import Sieve, readable_json, readable_records
from landbridge.data.io.separated import Separated, beginning, is_data, is_header, whole
from landbridge.data.time_units import LATEST_SECOND

if TYPE_CHECKING:
    import polars as pl

# only files of this release have all of these columns
AMAZON_2023 = frozenset({"user_id", "parent_asin", "timestamp"})
ASIN = re.compile(r"[0-9B][0-9A-Z]{9}")  # Amazon's item ids have ten characters
REVIEWER = re.compile(r"A[0-9A-Z]{9,}")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Scanner: TypeAlias = "Callable[[Path | bytes], pl.LazyFrame]"


@dataclass(frozen=True)
class Format:
    """How files with an extension are read.

    ``scan``: the table. ``without_header``: the table of a file whose first row is data, its columns named
    1, 2, ...; the same as ``scan`` where a file names its columns otherwise. ``sieve``: the part of a file
    that a parser reads, and the rows left out.
    """

    scan: Scanner
    without_header: Scanner
    sieve: Sieve | None = None


_FORMATS: dict[str, Format] = {}


def register_format(*extensions: str) -> Callable[[Scanner], Scanner]:
    """Decorator: the function that scans files with these extensions (lower case, with the dot).

    It gets a path, or the bytes of a file that was packed by gzip or written in UTF-16. What it raises is
    reported with the name of the file.
    """

    def added(scan: Scanner) -> Scanner:
        _FORMATS.update(dict.fromkeys(extensions, Format(scan, scan)))
        return scan

    return added


def format_of(extension: str, path: Path) -> Format:
    """How files with this extension are read; DataError for an unknown one."""
    if extension in _FORMATS:
        return _FORMATS[extension]
    added = {f".{name}": plugin for name, plugin in plugins(READERS).items()}
    if extension not in added:
        raise DataError(f"{path}: {unknown('file extension', extension, {*_FORMATS, *added})}")
    scan = added[extension].load()
    if not callable(scan):
        raise added[extension].error("is no function")
    return Format(scan, scan)


def as_utf8(content: Path | bytes) -> Path | bytes:
    """The same file in UTF-8 where it is marked as UTF-16, as Windows writes it; else the file itself."""
    if not beginning(content).startswith(UTF_16):
        return content
    return whole(content).decode("utf-16").encode()


@register_format(".parquet")
def _parquet(content: Path | bytes) -> pl.LazyFrame:
    import polars as pl

    return pl.scan_parquet(content, glob=False)


def _json_lines(content: Path | bytes) -> pl.LazyFrame:
    import polars as pl

    if beginning(content).startswith(codecs.BOM_UTF8):
        content = whole(content)[len(codecs.BOM_UTF8) :]
    # all rows: a field may occur for the first time late in the file
    return pl.scan_ndjson(content, infer_schema_length=None)


def _separated(usual: str) -> Format:
    """Text with a separator; ``usual`` where the first line shows none."""

    def scan(content: Path | bytes) -> pl.LazyFrame:
        text = Separated.of(content, usual)
        sample = text.sample()
        if names := amazon_ratings_columns(sample.row(0)):
            return text.without_header(list(names))
        return text.without_header() if is_data(sample) else text.table()

    def without_header(content: Path | bytes) -> pl.LazyFrame:
        text = Separated.of(content, usual)
        return text.table() if is_header(text.sample()) else text.without_header()

    return Format(scan, without_header, lambda content: readable_records(Separated.of(content, usual)))


_FORMATS.update(
    dict.fromkeys((".jsonl", ".ndjson", ".json"), Format(_json_lines, _json_lines, readable_json))
)
_FORMATS.update({".csv": _separated(","), ".tsv": _separated("\t")})
_FORMATS.update(dict.fromkeys((".txt", ".dat", ".data"), _separated("\t")))


@register_format(".npz")
def _arrays(content: Path | bytes) -> pl.LazyFrame:
    """A column for each array; one of two dimensions has a vector for each row."""
    import polars as pl

    with np.load(io.BytesIO(whole(content))) as loaded:
        return pl.LazyFrame(dict(loaded))


@register_format(".npy")
def _structured_array(content: Path | bytes) -> pl.LazyFrame:
    """A column for each field."""
    import polars as pl

    array = np.load(io.BytesIO(whole(content)))
    if not array.dtype.names:
        raise DataError(
            "An .npy without fields names no items; write np.savez('items.npz', item=ids, vector=vectors)."
        )
    return pl.LazyFrame({name: array[name] for name in array.dtype.names})


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


def in_seconds(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with a column ``time`` of milliseconds (13 digits) brought to seconds."""
    import polars as pl

    if "time" not in frame.collect_schema().names():
        return frame
    number = pl.col("time").cast(pl.Int64, strict=False)
    milliseconds = number >= LATEST_SECOND
    return frame.with_columns(pl.when(milliseconds).then(number // 1000).otherwise(number).alias("time"))


def parts_of_folder(path: Path) -> list[Path]:
    """The Parquet files of a folder, as Spark, Dask and DuckDB write a table."""
    parts = sorted(path.rglob("*.parquet"))
    if not parts:
        raise DataError(f"{path} is a folder without Parquet files; give a file of events or {path}/*.csv.")
    return parts


def _is_number(*texts: str) -> bool:
    return all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) for text in texts)
