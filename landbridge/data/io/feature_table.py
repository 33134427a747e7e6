"""A table of items (domain, item, any columns) as item features.

Text is read as categories, lists as several categories; the columns :data:`WORDS` as words. Numbers with more
than :data:`BINS` different values are divided into bins of about equally many items, at bounds that are the
same for all domains. With N items that have a value in the column, n_v of them v,

    f_iv = ln(N / n_v) / ‖·‖    for each v of item i, so that every column of an item has norm 1           (1)

Equally long lists of decimals are a vector per item, of norm 1 too: a feature for each of its numbers. A
value of one item alone says nothing about another, and one of all items nothing about any: both are left out.
A later table is read by the same bounds, N and n_v, so that its rows say to a fitted model what
they would have said when it was fitted. Letters: I items, V features, N entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Float64, Int32, Ragged, row_offsets
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.encoding import id_array
from landbridge.data.io.event_table import EventTable, with_decimal_points
from landbridge.data.io.tables import raw_table
from landbridge.data.item_features import ItemFeatures, unit_rows
from landbridge.data.new_items import with_items
from landbridge.data.titles import without_blank
from landbridge.data.vocabulary import IdArray, Vocabulary

if TYPE_CHECKING:
    import polars as pl

KEYS, TITLE = ("domain", "item"), "title"
WORDS = (TITLE, "text", "description")  # columns of running text
BINS = 10
WHERE = "the table of item features"
WORD = r"[\p{L}\p{N}]+"
NUMBER = "number"  # of a vector, by which the weight of its feature is multiplied


def with_features(data: MultiDomain, source: object, domains: Collection[str] | None = None) -> MultiDomain:
    """The data with the features of a table, and with the items that only the table names.

    ``domains``: those that a row may name, None for any; rows of others than the data's are left out. Of a
    repeated item the last row counts. DataError for anything unusable.
    """
    table = _ItemRows.of(source, data, domains)
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


def with_new_items(data: MultiDomain, source: object) -> MultiDomain:
    """The data with the items that a later table names, and with its features for those without events.

    What a model has learned of items with events stays: of them the table says nothing. Columns and values
    without a feature are left out, and so are items that are by their id the product of another domain.
    DataError for anything unusable.
    """
    before = data.item_features
    if before is None or before.weight_V is None:
        raise DataError(
            "The run was fitted without item features, or by an older version; refit it with --item-features."
        )
    table = _ItemRows.of(source, data, None)
    data = with_items(
        data, {name: _unshared(data, name, table.ids(data, name)) for name in data.domain_names}
    )
    grown = data.item_features
    assert grown is not None
    whole = _known(table.frame, grown)
    rows = {}
    for name, own in grown.rows.items():
        row_I = np.where(data[name].item_counts == 0, table.row_of(data, name), -1)
        kept_I = np.where(row_I < 0, np.arange(len(own)), -1)
        rows[name] = own.take(kept_I).concat(whole.take(row_I))
    return replace(data, titles=table.titles(data), item_features=replace(grown, rows=rows))


def _unshared(data: MultiDomain, name: str, ids: IdArray) -> IdArray:
    """The ids without those that would be a known product of another domain."""
    if data.products is None or not data.products.by_id:
        return ids
    others = [data.items[other].index(ids) >= 0 for other in data.domain_names if other != name]
    known_N = np.any(others, axis=0) if others else np.zeros(len(ids), bool)
    return ids[~known_N | (data.items[name].index(ids) >= 0)]


@dataclass(frozen=True, eq=False)
class _ItemRows:
    """``frame``: one row per item, with ``domain`` and ``item`` as text, and the columns of features."""

    frame: pl.DataFrame

    @classmethod
    def of(cls, source: object, data: MultiDomain, domains: Collection[str] | None) -> _ItemRows:
        import polars as pl

        frame = with_decimal_points(raw_table(source, WHERE), WHERE, keep=(*KEYS, *WORDS))
        usual = domains or data.domain_names
        if "domain" not in frame.columns and len(usual) == 1:
            frame = frame.with_columns(domain=pl.lit(next(iter(usual))))
        if missing := [name for name in KEYS if name not in frame.columns]:
            raise DataError(f"No column {missing[0]} in {WHERE}; it needs domain and item.")
        if len(frame.columns) == len(KEYS):
            raise DataError(f"There is no column beside domain and item in {WHERE}; give one with a feature.")
        fold = data.users.folded  # as all ids of the data
        domain, item = (EventTable(frame.select(name), WHERE, fold=fold).ids(name) for name in KEYS)
        for name in domain.cast(pl.String).unique().sort():
            if domains is not None and name not in domains:
                raise DataError(f"In {WHERE}: {unknown('domain', name, domains)}")
        frame = frame.with_columns(domain.cast(pl.String), item.cast(pl.String))
        frame = frame.filter(pl.col("domain").is_in(data.domain_names))
        if frame.is_empty():
            raise DataError(f"No row of {WHERE} is of a domain of the data: {', '.join(data.domain_names)}.")
        return cls(frame.unique(KEYS, keep="last", maintain_order=True))

    def ids(self, data: MultiDomain, name: str) -> IdArray:
        """The ids of a domain, of the type that the domain has."""
        import polars as pl

        own = self.frame.filter(pl.col("domain") == name)["item"]
        return checked_ids(own, data.items[name], f"Items of domain {name!r}", WHERE)

    def titles(self, data: MultiDomain) -> dict[str, IdArray]:
        """The titles of the data, and those of the table for items that are called by their ids."""
        titles = dict(data.titles)
        for name in data.domain_names if TITLE in self.frame.columns else ():
            row_I = self.row_of(data, name)
            own = without_blank(self.frame[TITLE]).fill_null("")
            of_table_I = id_array(own)[row_I]
            ids = data.items[name].ids.astype(np.dtypes.StringDType())
            known_I = titles.get(name, ids)
            titles[name] = np.where((known_I == ids) & (row_I >= 0) & (of_table_I != ""), of_table_I, known_I)
        return titles

    def features(self, data: MultiDomain) -> ItemFeatures:
        """The features of all items of the data."""
        names, whole, bounds = encoded(self.frame.drop(KEYS), WHERE, "items")
        rows = {name: whole.take(self.row_of(data, name)) for name in data.domain_names}
        columns_V, values_V = id_array(names["column"]), id_array(names["value"])
        return ItemFeatures(columns_V, values_V, rows, names["weight"].to_numpy(), bounds)

    def row_of(self, data: MultiDomain, name: str) -> Int32:
        """The row of each item of a domain, (I,), -1 without one."""
        import polars as pl

        own = self.frame.with_row_index("row").filter(pl.col("domain") == name)
        row_I = np.full(len(data.items[name]), -1, np.int32)
        row_I[data.items[name].index(id_array(own["item"]))] = own["row"].to_numpy()
        return row_I


def checked_ids(texts: pl.Series, vocabulary: Vocabulary, whose: str, where: str) -> IdArray:
    """Ids of the type that a vocabulary has; DataError for text among whole numbers."""
    import polars as pl

    if vocabulary.is_text:
        return id_array(texts)
    whole = texts.cast(pl.Int64, strict=False)
    odd = texts.filter(whole.is_null() | (whole.cast(pl.String) != texts))  # "007" casts to 7
    if len(odd):
        raise DataError(
            f"{whose} are whole numbers, but {where} names {odd[0]!r}; write ids as in the events."
        )
    return id_array(whole)


def encoded(
    columns: pl.DataFrame, where: str, things: str
) -> tuple[pl.DataFrame, Ragged, Mapping[str, Float64]]:
    """The features of a table (column, value, weight), its rows of them, (R, V), and the bounds of bins."""
    import polars as pl

    bounds = {column.name: _bounds(column) for column in columns}
    bounds = {name: own for name, own in bounds.items() if len(own)}
    coded = [_coded(column, bounds, where) for column in columns]
    if not any(pairs.height for pairs in coded):
        raise DataError(f"No value in {where} is of two {things} or more; give features that {things} share.")
    # numbered by column, then by value
    pairs = pl.concat(coded)
    names = pairs.select("column", "value", "weight").unique(
        ("column", "value"), keep="first", maintain_order=True
    )
    return names, _rows(pairs.drop("weight"), names, columns.height), bounds


def _known(frame: pl.DataFrame, features: ItemFeatures) -> Ragged:
    """The rows of a table as the features that are known, (R, V)."""
    import polars as pl

    assert features.weight_V is not None
    texts = (
        pl.Series(texts_V.tolist(), dtype=pl.String) for texts_V in (features.columns_V, features.values_V)
    )
    names = pl.DataFrame(dict(zip(("column", "value"), texts, strict=True)) | {"weight": features.weight_V})
    learned = names["column"].unique().to_list()
    columns = [column for column in frame.drop(KEYS) if column.name in learned]
    if not columns:
        raise DataError(f"No column of {WHERE} is one that the run knows: {', '.join(sorted(learned))}.")
    pairs = [
        _vectors(column, WHERE) if _is_vector(column) else _pairs(column, features.bounds, WHERE)
        for column in columns
    ]
    for column, coded in zip(columns, pairs, strict=True):
        own = names.filter(pl.col("column") == column.name)["value"]
        if _is_vector(column) and not coded["value"].unique().sort().equals(own.sort()):
            raise DataError(
                f"Column {column.name!r} of {WHERE} holds vectors of another length than those of the run."
            )
    return _rows(pl.concat(pairs, how="diagonal"), names, frame.height)


def _rows(pairs: pl.DataFrame, names: pl.DataFrame, n_rows: int) -> Ragged:
    """Pairs of row and value as rows of features, Eq. (1); ``names``: the features and their weights."""
    import polars as pl

    names = names.with_row_index("feature")
    pairs = pairs.join(names, on=("column", "value"), maintain_order="left").sort("row", "feature")
    if NUMBER in pairs.columns:
        pairs = pairs.with_columns(pl.col("weight") * pl.col(NUMBER).fill_null(1.0))
    row_N, feature_N = (pairs[key].to_numpy().astype(np.int32) for key in ("row", "feature"))
    weight_N = pairs["weight"].to_numpy().astype(np.float32)
    # features are numbered by column: what one row has in one column stands together
    column_N = names["column"].rle_id().to_numpy()[feature_N].astype(np.int64)
    begins_N = np.append(True, (np.diff(row_N) != 0) | (np.diff(column_N) != 0))[: len(row_N)]
    groups = Ragged(np.append(np.flatnonzero(begins_N), len(row_N)).astype(np.int64), feature_N, weight_N)
    return Ragged(row_offsets(row_N, n_rows), feature_N, unit_rows(groups).weights)


def _coded(column: pl.Series, bounds: Mapping[str, Float64], where: str) -> pl.DataFrame:
    """A column as row, column, value and the weight of the value, ln(N / n_v); of vectors their numbers."""
    import polars as pl

    if _is_vector(column):
        return _vectors(column, where).with_columns(weight=pl.lit(1, pl.Float32))
    pairs = _pairs(column, bounds, where)
    n_items = pairs["row"].n_unique()
    pairs = pairs.with_columns(n=pl.len().over("value")).filter((pl.col("n") > 1) & (pl.col("n") < n_items))
    weight = pl.Series("weight", np.log(n_items / pairs["n"].to_numpy()).astype(np.float32))
    number = pl.lit(None, pl.Float32).alias(NUMBER)
    return pairs.select("row", "column", "value", number, weight).sort("value", "row")


def _pairs(column: pl.Series, bounds: Mapping[str, Float64], where: str) -> pl.DataFrame:
    """A column as row, column and value."""
    import polars as pl

    pairs = _values(column, bounds.get(column.name), where).drop_nulls().unique(maintain_order=True)
    return pairs.select("row", pl.lit(column.name).alias("column"), "value")


def _is_vector(column: pl.Series) -> bool:
    import polars as pl

    return isinstance(column.dtype, pl.List | pl.Array) and bool(column.explode().dtype.is_float())


def _vectors(column: pl.Series, where: str) -> pl.DataFrame:
    """A column of lists of decimals as row, column, value (the place in the list) and number."""
    import polars as pl

    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    given = lists.drop_nulls()
    length_N = given.list.len().to_numpy()
    size = int(length_N.max(initial=0))
    numbers = given.explode()
    if not size or bool((length_N != size).any()) or not numbers.is_finite().fill_null(False).all():
        raise DataError(
            f"Column {column.name!r} of {where} holds lists of decimals; as vectors they must be of one "
            "length and without gaps."
        )
    row_N = lists.is_not_null().arg_true().to_numpy()
    names = pl.Series([f"{number:0{len(str(size))}}" for number in range(1, size + 1)])
    columns = {
        "row": np.repeat(row_N, size).astype(np.int32),
        "column": pl.repeat(column.name, len(numbers), eager=True),
        "value": names.gather(pl.Series(np.tile(np.arange(size), len(row_N)))),
        NUMBER: numbers.cast(pl.Float32),
    }
    return pl.DataFrame(columns)


def _values(column: pl.Series, bounds: Float64 | None, where: str) -> pl.DataFrame:
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
            f"Column {column.name!r} of {where} holds {column.dtype}; convert it to text, numbers, dates, "
            "true or false, or lists of these, or remove it."
        )
    if dtype.is_temporal() and dtype != pl.Time:
        return frame.with_columns(pl.col("value").dt.year().cast(pl.String))
    if dtype.is_numeric():
        return frame.with_columns(
            _as_text(frame["value"]) if bounds is None else _binned(frame["value"], bounds)
        )
    text = pl.col("value").cast(pl.String).str.strip_chars()
    if column.name.lower() in WORDS:
        text = text.str.to_lowercase().str.extract_all(WORD)
        return frame.with_columns(text).explode("value")
    return frame.with_columns(pl.when(text != "").then(text))


def _bounds(column: pl.Series) -> Float64:
    """The bounds of a column's bins; none where it has few values, or no numbers."""
    import polars as pl

    if isinstance(column.dtype, pl.List | pl.Array):
        column = column.explode() if not _is_vector(column) else column
    if not column.dtype.is_numeric():
        return np.empty(0)
    number_N = column.drop_nulls().cast(pl.Float64).to_numpy()
    number_N = number_N[np.isfinite(number_N)]
    if len(np.unique(number_N)) <= BINS:
        return np.empty(0)
    # bounds are numbers of the table, so that a bin is named by what is in it
    return np.unique(np.quantile(number_N, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest"))


def _binned(numbers: pl.Series, bounds: Float64) -> pl.Series:
    """The bin of each number as text, such as ``5 to 9.99``."""
    import polars as pl

    number_N = numbers.cast(pl.Float64).fill_null(np.nan).to_numpy()
    known_N = np.isfinite(number_N)
    bin_N = np.searchsorted(bounds, number_N, side="right")
    names = [f"below {bounds[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(bounds))]
    names.append(f"{bounds[-1]:g} or more")
    named = pl.Series("value", np.array([*names, ""], object)[np.where(known_N, bin_N, -1)], pl.String)
    return named.set(pl.Series(~known_N), None)


def _as_text(numbers: pl.Series) -> pl.Series:
    """As text, 3.0 as 3."""
    import polars as pl

    numbers = numbers.set(~numbers.is_finite(), None) if numbers.dtype.is_float() else numbers
    text = numbers.cast(pl.String)
    return text.str.replace(r"\.0$", "") if numbers.dtype.is_float() else text
