"""Titles that show nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# spaces, control and zero-width characters, lone accents, and the fillers of Hangul and Braille
_UNSEEN = r"^[\s\p{Cc}\p{Cf}\p{Z}\p{M}\u{115F}\u{1160}\u{2800}\u{3164}\u{FFA0}]*$"


def without_blank(titles: pl.Series) -> pl.Series:
    """The titles as text, null where one holds no visible character."""
    import polars as pl

    text = titles.cast(pl.String)
    return text.set(text.str.contains(_UNSEEN), None)
