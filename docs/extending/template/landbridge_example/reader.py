"""Feather files, the file format of Arrow IPC: ``landbridge fit events.feather``."""

from __future__ import annotations

from pathlib import Path

import polars as pl


def scan_feather(content: Path | bytes) -> pl.LazyFrame:
    """The table of a file, or of the bytes of an unpacked one."""
    return pl.scan_ipc(content)
