"""A table of items (domain, item, any columns) as item features.

Text is read as categories, lists as several categories; the columns :data:`WORDS` as words. Numbers with more
than :data:`BINS` different values are divided into bins of about equally many items, at bounds that are the
same for all domains. With N items that have a value in the column, n_v of them v,

    f_iv = ln(N / n_v) / ‖·‖    for each v of item i, so that every column of an item has norm 1           (1)

Equally long lists of decimals are a vector per item, of norm 1 too: a feature for each of its numbers. A
value of one item alone says nothing about another, and one of all items nothing about any: both are left out.
Letters: I items, V features, N entries.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Int32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.encoding import id_array
from landbridge.data.io.event_table import EventTable, with_decimal_points
from landbridge.data.io.tables import raw_table
from landbridge.data.item_features import ItemFeatures, unit_rows
from landbridge.data.new_items import with_items
from landbridge.data.titles import without_blank
from landbridge.data.vocabulary import IdArray

if TYPE_CHECKING:
    import polars as pl

KEYS, TITLE = ("domain", "item"), "title"
WORDS = (TITLE, "text", "description")  # columns of running text
BINS = 10
WHERE = "the table of item features"
WORD = r"[\p{L}\p{N}]+"


def with_features(data: MultiDomain, source: object, domains: Collection[str], fold: bool) -> MultiDomain:
    """The data with the features of a table, and with the items that only the table names.

    ``domains``: those that a row may name; rows of others than the data's are left out. ``fold``: ids were
    folded, and those of the table are to be. Of a repeated item the last row counts. DataError for anything
    unusable.
    """
    table = _ItemRows.of(source, data, domains, fold)
    before = {name: len(vocabulary) for name, vocabulary in data.items.items()}
    data = with_items(data, {name: table.ids(data, name) for name in data.domain_names})
    data = replace(data, titles=table.titles(data))
    features = table.features(data)
    about = {
        "have no events; methods that use features list them as new": sum(
            len(vocabulary) - before[name] for name, vocabulary in data.items.items()
        ),
        "with events have no row": sum(int((rows.lengths == 0).sum()) for rows in features.rows.values()),
    }
    provenance = replace(data.provenance, item_features={why: n for why, n in about.items() if n})
    return replace(data, item_features=features, provenance=provenance)


@dataclass(frozen=True, eq=False)
class _ItemRows:
    """``frame``: one row per item, with ``domain`` and ``item`` as text, and the columns of features."""

    frame: pl.DataFrame

    @classmethod
    def of(cls, source: object, data: MultiDomain, domains: Collection[str], fold: bool) -> _ItemRows:
        import polars as pl

        frame = with_decimal_points(raw_table(source, WHERE), WHERE, keep=(*KEYS, *WORDS))
        if "domain" not in frame.columns and len(domains) == 1:
            frame = frame.with_columns(domain=pl.lit(next(iter(domains))))
        if missing := [name for name in KEYS if name not in frame.columns]:
            raise DataError(f"No column {missing[0]} in {WHERE}; it needs domain and item.")
        if len(frame.columns) == len(KEYS):
            raise DataError(f"There is no column beside domain and item in {WHERE}; give one with a feature.")
        domain, item = (EventTable(frame.select(name), WHERE, fold=fold).ids(name) for name in KEYS)
        for name in domain.cast(pl.String).unique().sort():
            if name not in domains:
                raise DataError(f"In {WHERE}: {unknown('domain', name, domains)}")
        frame = frame.with_columns(domain.cast(pl.String), item.cast(pl.String))
        frame = frame.filter(pl.col("domain").is_in(data.domain_names))
        return cls(frame.unique(KEYS, keep="last", maintain_order=True))

    def ids(self, data: MultiDomain, name: str) -> IdArray:
        """The ids of a domain, of the type that the domain has."""
        import polars as pl

        own = self.frame.filter(pl.col("domain") == name)["item"]
        if data.items[name].is_text:
            return id_array(own)
        whole = own.cast(pl.Int64, strict=False)
        odd = own.filter(whole.is_null() | (whole.cast(pl.String) != own))  # "007" casts to 7
        if len(odd):
            raise DataError(
                f"Items of domain {name!r} are whole numbers, but {WHERE} names {odd[0]!r}; write ids as in "
                "the events."
            )
        return id_array(whole)

    def titles(self, data: MultiDomain) -> dict[str, IdArray]:
        """The titles of the data, and those of the table for items that are called by their ids."""
        titles = dict(data.titles)
        for name in data.domain_names if TITLE in self.frame.columns else ():
            row_I = self._row_of(data, name)
            own = without_blank(self.frame[TITLE]).fill_null("")
            of_table_I = id_array(own)[row_I]
            ids = data.items[name].ids.astype(np.dtypes.StringDType())
            known_I = titles.get(name, ids)
            titles[name] = np.where((known_I == ids) & (row_I >= 0) & (of_table_I != ""), of_table_I, known_I)
        return titles

    def features(self, data: MultiDomain) -> ItemFeatures:
        """The features of all items of the data."""
        import polars as pl

        columns = [_coded(column) for column in self.frame.drop(KEYS)]
        if not any(coded.height for coded in columns):
            raise DataError(f"No value in {WHERE} is of two items or more; give features that items share.")
        # numbered by column, then by value
        pairs = pl.concat(columns)
        names = pairs.select("column", "value").unique(maintain_order=True).with_row_index("feature")
        pairs = pairs.join(names, on=("column", "value"), maintain_order="left").sort("row", "feature")
        row_N, feature_N = (pairs[key].to_numpy().astype(np.int32) for key in ("row", "feature"))
        whole = Ragged.from_index(row_N, feature_N, self.frame.height, pairs["weight"].to_numpy())
        rows = {name: whole.take(self._row_of(data, name)) for name in data.domain_names}
        return ItemFeatures(id_array(names["column"]), id_array(names["value"]), rows)

    def _row_of(self, data: MultiDomain, name: str) -> Int32:
        """The row of each item of a domain, (I,), -1 without one."""
        import polars as pl

        own = self.frame.with_row_index("row").filter(pl.col("domain") == name)
        row_I = np.full(len(data.items[name]), -1, np.int32)
        row_I[data.items[name].index(id_array(own["item"]))] = own["row"].to_numpy()
        return row_I


def _coded(column: pl.Series) -> pl.DataFrame:
    """A column as row, column, value and weight, Eq. (1)."""
    import polars as pl

    if isinstance(column.dtype, pl.List | pl.Array) and column.explode().dtype.is_float():
        return _vectors(column)
    pairs = _values(column).drop_nulls().unique(maintain_order=True)
    n_items = pairs["row"].n_unique()
    pairs = pairs.with_columns(n=pl.len().over("value")).filter((pl.col("n") > 1) & (pl.col("n") < n_items))
    pairs = pairs.sort("value", "row")
    rows = Ragged.from_index(
        pairs["row"].to_numpy(),
        np.arange(pairs.height),
        len(column),
        np.log(n_items / pairs["n"].to_numpy()).astype(np.float32),
    )
    weight_N = np.empty(pairs.height, np.float32)
    weight_N[rows.columns] = unit_rows(rows).weights
    return pairs.select("row", pl.lit(column.name).alias("column"), "value", pl.Series("weight", weight_N))


def _vectors(column: pl.Series) -> pl.DataFrame:
    """A column of lists of decimals as row, column, value (the place in the list) and weight."""
    import polars as pl

    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    given = lists.drop_nulls()
    length_N = given.list.len().to_numpy()
    size = int(length_N.max(initial=0))
    numbers = given.explode()
    if not size or bool((length_N != size).any()) or not numbers.is_finite().fill_null(False).all():
        raise DataError(
            f"Column {column.name!r} of {WHERE} holds lists of decimals; as vectors they must be of one "
            "length and without gaps."
        )
    row_N = lists.is_not_null().arg_true().to_numpy()
    whole = np.arange(len(row_N) + 1, dtype=np.int64) * size
    weight_N = numbers.cast(pl.Float32).to_numpy()
    rows = unit_rows(Ragged(whole, np.tile(np.arange(size, dtype=np.int32), len(row_N)), weight_N))
    names = pl.Series([f"{number:0{len(str(size))}}" for number in range(1, size + 1)])
    columns = {
        "row": np.repeat(row_N, size).astype(np.int32),
        "column": pl.repeat(column.name, len(weight_N), eager=True),
        "value": names.gather(pl.Series(rows.columns)),
        "weight": rows.weights,
    }
    return pl.DataFrame(columns)


def _values(column: pl.Series) -> pl.DataFrame:
    """Rows of the table and their values in a column, as text; a row for each value of a list."""
    import polars as pl

    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    frame = pl.DataFrame({"row": pl.int_range(len(column), dtype=pl.Int32, eager=True), "value": column})
    if isinstance(column.dtype, pl.List):
        frame = frame.explode("value")
    dtype = frame["value"].dtype
    if dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Duration | pl.Object):
        raise DataError(
            f"Column {column.name!r} of {WHERE} holds {column.dtype}; convert it to text, numbers, dates, "
            "true or false, or lists of these, or remove it."
        )
    if dtype.is_temporal() and dtype != pl.Time:
        return frame.with_columns(pl.col("value").dt.year().cast(pl.String))
    if dtype.is_numeric():
        return frame.with_columns(_binned(frame["value"]))
    text = pl.col("value").cast(pl.String).str.strip_chars()
    if column.name.lower() in WORDS:
        text = text.str.to_lowercase().str.extract_all(WORD)
        return frame.with_columns(text).explode("value")
    return frame.with_columns(pl.when(text != "").then(text))


def _binned(numbers: pl.Series) -> pl.Series:
    """Numbers as text: few different ones as they are, else the bin of each, such as ``5 to 9.99``."""
    import polars as pl

    numbers = numbers.set(~numbers.is_finite(), None) if numbers.dtype.is_float() else numbers
    if numbers.drop_nulls().n_unique() <= BINS:
        return _as_text(numbers)
    number_N = numbers.cast(pl.Float64).to_numpy()
    given_N = number_N[~np.isnan(number_N)]
    # bounds are numbers of the table, so that a bin is named by what is in it
    bounds = np.unique(np.quantile(given_N, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest"))
    bin_N = np.searchsorted(bounds, number_N, side="right")
    names = [f"below {bounds[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(bounds))]
    names.append(f"{bounds[-1]:g} or more")
    named = pl.Series("value", np.array(names, object)[bin_N], pl.String)
    return named.set(pl.Series(np.isnan(number_N)), None)


def _as_text(numbers: pl.Series) -> pl.Series:
    """As text, 3.0 as 3."""
    import polars as pl

    text = numbers.cast(pl.String)
    return text.str.replace(r"\.0$", "") if numbers.dtype.is_float() else text
