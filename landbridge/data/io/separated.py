"""Text files whose columns are divided by a separator: what divides them, whether they have a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

SEPARATORS = (",", ";", "\t", "|", "::")
UNIT = "\x1f"  # ASCII's unit separator, for separators of more than one character, which polars does not take
BEGINNING = 1 << 16  # bytes that show how a file is written
SAMPLE = 100  # rows that show whether the first one is a header
QUOTED = re.compile(rb'"[^"]*"')
NUMBER = r"^\s*[+-]?\d+([.,]\d+)?\s*$"


def beginning(content: Path | bytes) -> bytes:
    """The first bytes of a file."""
    if isinstance(content, bytes):
        return content[:BEGINNING]
    with content.open("rb") as stream:
        return stream.read(BEGINNING)


@dataclass(frozen=True)
class Separated:
    """A file's text, UTF-8, and the one character that divides its columns."""

    content: Path | bytes
    separator: str

    @classmethod
    def of(cls, content: Path | bytes, usual: str) -> Separated:
        """With the separator that occurs most often in the first line; ``usual`` where there is none."""
        first = (beginning(content).splitlines() or [b""])[0]
        if b"\x00" in first:
            raise ValueError("it holds null characters, as UTF-16 without a mark does; save it as UTF-8")
        line = QUOTED.sub(b"", first)
        # a pair of colons counts twice: it is longer than the others
        counts = {mark: line.count(mark.encode()) * len(mark) for mark in (usual, *SEPARATORS)}
        mark = max(counts, key=counts.__getitem__)
        if len(mark) == 1:
            return cls(content, mark)
        raw = content if isinstance(content, bytes) else content.read_bytes()
        return cls(raw.replace(mark.encode(), UNIT.encode()), UNIT)

    def sample(self) -> pl.DataFrame:
        """The first rows as text, a header among them."""
        import polars as pl

        return pl.read_csv(
            self.content,
            separator=self.separator,
            has_header=False,
            n_rows=SAMPLE,
            infer_schema=False,
            truncate_ragged_lines=True,
        )

    def table(self) -> pl.LazyFrame:
        """All rows, with the names of the header; polars leaves doubled quotation marks in the names."""
        import polars as pl

        return pl.scan_csv(
            self.content,
            separator=self.separator,
            glob=False,
            infer_schema=False,
            with_column_names=lambda names: [name.replace('""', '"') for name in names],
        )

    def without_header(self, names: list[str] | None = None) -> pl.LazyFrame:
        """All rows of a file without a header, with these names, else 1, 2, ..."""
        import polars as pl

        return pl.scan_csv(
            self.content,
            separator=self.separator,
            has_header=False,
            glob=False,
            infer_schema=False,
            with_column_names=lambda given: names or [str(place + 1) for place in range(len(given))],
        )


def is_data(sample: pl.DataFrame) -> bool:
    """Whether the first row is no header, as it holds nothing but numbers."""
    import polars as pl

    return bool(sample.head(1).select(pl.all_horizontal(pl.all().str.contains(NUMBER)))[0, 0])


def is_header(sample: pl.DataFrame) -> bool:
    """Whether the first row is a header, as it is text above a column of numbers."""
    import polars as pl

    number = sample.select(pl.all().str.contains(NUMBER).fill_null(False))
    below = number.slice(1)
    return below.height > 0 and any(
        not first and all_numbers
        for first, all_numbers in zip(number.row(0), below.select(pl.all().all()).row(0), strict=True)
    )
