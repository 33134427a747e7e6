"""Errors of the parsers as one sentence that names the input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from landbridge.core.errors import DataError


@contextmanager
def parsing_errors(where: str) -> Iterator[None]:
    """Turns what polars, SQLite, zlib and Python raise on broken input into a DataError about ``where``."""
    import sqlite3
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
        ValueError,
        TypeError,
        OverflowError,
    ) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"Cannot read {where}: {lines[0].rstrip('.')}; repair it or check its format."
        ) from error
