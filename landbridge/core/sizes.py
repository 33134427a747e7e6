"""Amounts of memory as text: 4GB, 512 MiB."""

from __future__ import annotations

import re

from landbridge.core.errors import SettingsError

GIB = 2**30
UNITS = {"": 1, "B": 1} | {
    prefix + ending: base**power
    for power, prefix in enumerate("KMGT", start=1)
    for ending, base in (("", 1000), ("B", 1000), ("IB", 1024))
}


def parse_bytes(text: str | int) -> int:
    """``4GB`` (10^9 bytes each), ``512MiB`` (2^20) or a number of bytes; SettingsError for anything else."""
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    if parts is None or parts[2].upper() not in UNITS:
        raise SettingsError(f"{text!r} is no amount of memory; write it as 4GB or 512MiB.")
    return int(float(parts[1]) * UNITS[parts[2].upper()])


def size(number: float) -> str:
    """Bytes in words."""
    return f"{number / 2**20:.0f} MiB" if number < GIB else f"{number / GIB:.1f} GiB"
