"""Vectors of the running text in a table of items, by a local static embedding.

A text's vector is the mean of its tokens' vectors. Tokens and their vectors are part of the package
``wordllama`` (extra ``text``): nothing is fetched, and nothing is learned from the table, so that a later one
gets vectors that a fitted model knows. As a column of item features they are read by
:mod:`landbridge.data.io.feature_table`. Letters: N texts, F numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, MissingExtraError, SettingsError, unknown
from landbridge.core.types import Float32
from landbridge.data.io.feature_table import WORDS
from landbridge.data.io.tables import raw_table

if TYPE_CHECKING:
    import polars as pl

COLUMN = "text_vector"
SIZES = (64, 128, 256)  # the first numbers of a vector say most
WHERE = "the table of texts"


def with_text_vectors(source: object, columns: Iterable[str] = (), size: int = SIZES[0]) -> pl.DataFrame:
    """The table with a column ``text_vector`` of ``size`` decimals, none where there is no text.

    ``source``: a path or a data frame. ``columns``: whose text is joined; by default those called title, text
    or description. DataError for a table without them, SettingsError for a size that is not of ``SIZES``.
    """
    import polars as pl

    if size not in SIZES:
        raise SettingsError(f"The size of text vectors must be {', '.join(map(str, SIZES))}, not {size}.")
    table = raw_table(source, WHERE)
    names = list(columns) or [name for name in table.columns if name.lower() in WORDS]
    if not names:
        raise DataError(f"No column {', '.join(WORDS)} in {WHERE}; name those with text.")
    for name in names:
        if name not in table.columns:
            raise DataError(f"In {WHERE}: {unknown('column', name, table.columns)}")
    joined = pl.concat_str(pl.col(names).cast(pl.String), separator=" ", ignore_nulls=True).str.strip_chars()
    text = table.select(joined.alias(COLUMN))[COLUMN]
    has_text = text.fill_null("") != ""
    vector_NF = np.full((len(text), size), np.nan, np.float32)
    vector_NF[has_text.to_numpy()] = embedded(text.filter(has_text).to_list(), size)
    vectors = pl.Series(COLUMN, vector_NF)
    return table.with_columns(pl.when(has_text).then(vectors).alias(COLUMN))


def embedded(texts: Sequence[str], size: int) -> Float32:
    """The vector of every text, (N, F)."""
    try:
        import wordllama
    except ModuleNotFoundError:
        raise MissingExtraError("Text vectors need wordllama: pip install 'landbridge[text]'.") from None

    # its folder is where it would keep what it fetches: all is there
    model = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, trunc_dim=size, disable_download=True
    )
    vector_NF: Float32 = model.embed(list(texts))
    return vector_NF
