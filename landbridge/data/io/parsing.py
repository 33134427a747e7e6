"""Errors of the parsers as one sentence that names the input."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landbridge.core.errors import DataError

READ_AT_ONCE = 1 << 24  # bytes


@contextmanager
def parsing_errors(where: str, file: Path | None = None) -> Iterator[None]:
    """Turns what polars, SQLite, NumPy, zlib and Python raise on broken input into a DataError.

    ``where``: the input in words. ``file``: what is read, to find the line that is not UTF-8.
    """
    import sqlite3
    import zipfile
    import zlib

    import polars as pl

    try:
        yield
    except (
        pl.exceptions.PolarsError,
        sqlite3.Error,
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        ValueError,
        TypeError,
        OverflowError,
    ) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if file is not None and "utf-8" in lines[0].lower() and (line := line_that_is_not_utf8(file)):
            raise DataError(
                f"Line {line} of {where} is not in the encoding UTF-8; convert the file, for example with "
                "iconv -f latin1 -t utf-8."
            ) from error
        raise DataError(
            f"Cannot read {where}: {lines[0].rstrip('.')}; repair it or check its format."
        ) from error


def line_that_is_not_utf8(file: Path) -> int | None:
    """The number of the first line with a byte that is not UTF-8, None where there is none."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with file.open("rb") as opened:
        while part := opened.read(READ_AT_ONCE):
            try:
                decoder.decode(part)
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].count(b"\n")
            line += part.count(b"\n")
    return None
