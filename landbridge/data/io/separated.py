"""Text files whose columns are divided by a separator: what divides them, whether they have a header."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

UNIT = "\x1f"  # ASCII's unit separator, in place of separators of more than one character: polars has none
SEPARATORS = (",", ";", "\t", "|", "::", UNIT)
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


def whole(content: Path | bytes) -> bytes:
    """All bytes of a file."""
    return content if isinstance(content, bytes) else content.read_bytes()


@dataclass(frozen=True)
class Separated:
    """A file's text, UTF-8, and the one character that divides its columns."""

    content: Path | bytes
    separator: str

    @classmethod
    def of(cls, content: Path | bytes, usual: str) -> Separated:
        """With the separator that most lines have as often as the first line.

        Of several the most frequent one; ``usual`` where there is none.
        """
        lines = beginning(content).splitlines()[:SAMPLE]
        if lines and b"\x00" in lines[0]:
            raise ValueError("it holds null characters, as UTF-16 without a mark does; save it as UTF-8")
        plain = [QUOTED.sub(b"", line) for line in lines]

        def support(mark: str) -> tuple[int, int]:
            counts = [line.count(mark.encode()) for line in plain]
            # a pair of colons counts twice: it is longer than the others
            return (counts.count(counts[0]), counts[0] * len(mark)) if counts and counts[0] else (0, 0)

        mark = max((usual, *SEPARATORS), key=support)
        if len(mark) == 1:
            return cls(content, mark)
        return cls(whole(content).replace(mark.encode(), UNIT.encode()), UNIT)

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
        return self._scan(True, lambda names: [name.replace('""', '"') for name in names])

    def without_header(self, names: list[str] | None = None) -> pl.LazyFrame:
        """All rows of a file without a header, with these names, else 1, 2, ..."""
        return self._scan(False, lambda given: names or [str(place + 1) for place in range(len(given))])

    def _scan(self, has_header: bool, named: Callable[[list[str]], list[str]]) -> pl.LazyFrame:
        import polars as pl

        return pl.scan_csv(
            self.content,
            separator=self.separator,
            has_header=has_header,
            glob=False,
            infer_schema=False,
            with_column_names=named,
        )


def is_data(sample: pl.DataFrame) -> bool:
    """Whether the first row is no header, as it holds nothing but numbers."""
    import polars as pl

    return bool(sample.head(1).select(pl.all_horizontal(pl.all().str.contains(NUMBER)))[0, 0])


def is_header(sample: pl.DataFrame) -> bool:
    """Whether the first row is a header: it has no number, and most of a column below it are numbers."""
    import polars as pl

    number = sample.select(pl.all().str.contains(NUMBER).fill_null(False))
    shares = number.slice(1).select(pl.all().mean()).row(0)
    return not any(number.row(0)) and any(share is not None and share > 0.5 for share in shares)
