"""Rows that no parser reads: lines with too many columns, open quotation marks, broken JSON."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from landbridge.core.types import Int64, Record
from landbridge.data.io.separated import Separated, whole

LINES_OF_A_ROW = 50  # most lines of a row with line ends in quotation marks


@dataclass(frozen=True, eq=False)
class Readable:
    """What a parser reads of a file. ``place_N``: the place of each kept row among all, a header included;
    ``bad``: place, reason and content of the others."""

    content: bytes
    place_N: Int64
    bad: list[tuple[int, str, Record]]


Sieve: TypeAlias = Callable[[Path | bytes], Readable]


def readable_json(content: Path | bytes) -> Readable:
    """The lines that are a JSON object each."""
    import orjson

    def fault(line: bytes) -> str:
        try:
            return "" if isinstance(orjson.loads(line), dict) else "is no JSON object"
        except orjson.JSONDecodeError:
            return "is no JSON"

    rows = [(line, fault(line)) for line in _lines(content)]
    return _readable((line, why, line) for line, why in rows)


def readable_records(text: Separated) -> Readable:
    """The rows with no more columns than the first one, all quotation marks closed, in UTF-8."""
    return _readable(_records(_lines(text.content), text.separator))


def _readable(rows: Iterator[tuple[bytes, str, bytes]]) -> Readable:
    """Out of each row as a parser reads it, what is wrong with it, and how it is written."""
    import numpy as np

    kept: list[bytes] = []
    places: list[int] = []
    bad: list[tuple[int, str, Record]] = []
    for place, (row, why, line) in enumerate(rows):
        if why:
            bad.append((place, f"The row {why}", {"line": line.decode(errors="backslashreplace")}))
        else:
            kept.append(row)
            places.append(place)
    return Readable(b"".join(row + b"\n" for row in kept), np.array(places, np.int64), bad)


def _lines(content: Path | bytes) -> list[bytes]:
    text = whole(content).removeprefix(codecs.BOM_UTF8)
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
    return lines if lines[-1] else lines[:-1]


def _records(lines: list[bytes], separator: str) -> Iterator[tuple[bytes, str, bytes]]:
    mark, width, place = separator.encode(), 0, 0
    while place < len(lines):
        used, fields = _fields(lines, place, separator, width)
        written = b"\n".join(lines[place : place + used])
        why = _fault(written, fields, width)
        width = width or len(fields)
        # rewritten, as polars is stricter about quotation marks than what writes them
        row = mark.join(_quoted(field) for field in fields) if b'"' in written and not why else written
        yield row, why, lines[place]
        place += 1 if why else used


def _fault(line: bytes, fields: list[str], width: int) -> str:
    if not line.strip():
        return "is blank"
    try:
        line.decode()
    except UnicodeDecodeError:
        return "is not in the encoding UTF-8"
    if not fields:
        return "has an open quotation mark"
    # what a shorter row lacks is empty, and matters only where a role is missing
    return f"has {len(fields)} columns instead of {width}" if 0 < width < len(fields) else ""


def _fields(lines: list[bytes], place: int, separator: str, width: int) -> tuple[int, list[str]]:
    """How many lines a row takes, and its cells; none where a quotation mark stays open."""
    line = lines[place].decode(errors="replace")
    if '"' not in line:
        return 1, line.split(separator)
    for used in range(1, min(LINES_OF_A_ROW, len(lines) - place) + 1):
        text = b"\n".join(lines[place : place + used]).decode(errors="replace")
        try:
            fields = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
        except csv.Error:
            continue
        if used == 1 or not width or len(fields) == width:
            return used, fields
    return 1, []


def _quoted(field: str) -> bytes:
    return b'"' + field.replace('"', '""').encode() + b'"'
