"""Texts compared as a search field compares them: by words, without case and accents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Bool

if TYPE_CHECKING:
    import polars as pl

# letters that Unicode takes for letters of their own, and keyboards of other languages lack
STROKES = {
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "d",
    "ħ": "h",
    "ı": "i",
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
}


def folded(texts: Sequence[str]) -> pl.Series:
    """Texts without case and accents, (N,)."""
    import polars as pl

    series = pl.Series(texts, dtype=pl.String)
    plain = series.str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase()
    return plain.str.replace_many(dict(STROKES))


def words_of(text: str) -> list[str]:
    """The words of a query, folded."""
    words: list[str] = folded([text])[0].split()
    return words


def holds_all(texts: pl.Series, words: Sequence[str]) -> Bool:
    """Which of the folded texts hold all words, (N,)."""
    held = np.ones(len(texts), bool)
    for word in words:
        held[held] = texts.filter(held).str.contains(word, literal=True).to_numpy()
        if not held.any():
            break
    return held
