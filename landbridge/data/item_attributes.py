"""The items' table: what a shop knows of its items (genre, language, in stock), to filter lists by.

:mod:`.item_rules` says which items; here a table is read and its columns are searched.

Numbers are compared as numbers, independent of the column's type: 3 and 3.0 are one value, and so are true
and 1. Text is compared exactly, but a wanted number also finds the text that reads as it, so that a CSV file,
which knows no types, filters as a Parquet file does. Dates are text in ISO form.

Letters: I items, N rows of the table, M pairs of an item and a value, V distinct values.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import AnyArray, Bool, Int32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.encoding import EncodedColumn
from landbridge.data.io.event_table import EventTable, with_decimal_points
from landbridge.data.io.tables import raw_table
from landbridge.data.item_patches import placed, titles_of
from landbridge.data.item_rules import NUMBER, Rule, Value, number_of
from landbridge.data.titles import without_blank
from landbridge.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import polars as pl

KEYS = ("domain", "item")
TITLE = "title"
HIDDEN = "hidden"  # an item of which this is true is in no list
_BOOLEANS = {"true": 1, "false": 0}
_WHOLE = r"^-?[0-9]+$"
_EXACT = float(1 << 53)  # whole numbers from here on are no longer apart as floats: their text is compared
MASK_BYTES = 1 << 26  # of the masks that are kept for each domain


@dataclass(frozen=True, eq=False)
class OrderedValues:
    """Values in rising order, and in row k the items of value k."""

    values: Sequence[Any]
    items_K: Ragged

    def items(self, order: str, value: Value) -> Int32:
        """The items of the values on this side of the given one, such as "<="."""
        cut = bisect_left if order in ("<", ">=") else bisect_right
        place = self.items_K.offsets[cut(self.values, value)]
        return self.items_K.columns[:place] if order in ("<", "<=") else self.items_K.columns[place:]


@dataclass(frozen=True, eq=False)
class AttributeColumn:
    """One column for the items of a domain. ``row_of``: value -> row of ``items_V``, the items that have it;
    the value None is that of items without one."""

    row_of: Mapping[Value, int]
    items_V: Ragged
    is_text: bool

    @classmethod
    def of(cls, values: pl.Series, item_N: Int32, n_items: int) -> AttributeColumn:
        """A column whose row n, a value or a list of them, is about item ``item_N[n]``."""
        import polars as pl

        values, item_N = _one_per_row(values, item_N)
        row_of: dict[Value, int] = {None: 0}
        has_none_I = np.ones(n_items, bool)
        items, rows = [], []
        readings = _readings(values)
        for reading in readings:
            given_N = reading.is_not_null().to_numpy()
            encoded = EncodedColumn.of(reading.drop_nulls())
            items.append(item_N[given_N])
            rows.append(encoded.idx + len(row_of))
            has_none_I[item_N[given_N]] = False
            # true and 1 are one key, but a column of booleans names its values true and false
            names = map(bool, encoded.ids) if values.dtype.is_(pl.Boolean) else encoded.ids.to_list()
            row_of |= dict(zip(names, itertools.count(len(row_of))))
        without_I = np.flatnonzero(has_none_I)
        row_M = np.concatenate([np.zeros(len(without_I), np.int32), *rows])
        item_M = np.concatenate([without_I, *items])
        return cls(row_of, Ragged.from_index(row_M, item_M, len(row_of)), len(readings) > 1)

    def items_with(self, values: tuple[Value, ...]) -> Int32:
        """The items that have one of these values."""
        rows = (self.row_of.get(reading, -1) for value in values for reading in self._readings(value))
        # slices: for the few values of a rule they are quicker than Ragged.take
        offsets, items = self.items_V.offsets, self.items_V.columns
        return np.concatenate([items[:0], *(items[offsets[v] : offsets[v + 1]] for v in rows if v >= 0)])

    def items_ordered(self, order: str, value: Value) -> Int32:
        """The items that have a value below or above this one: numbers by a number, text by a text."""
        reading = self._readings(value)[0]
        return (self._texts if isinstance(reading, str) else self._numbers).items(order, reading)

    def item_counts(self, among_I: Bool | None = None) -> dict[Value, int]:
        """Value -> how many items (of those ``among_I``) have it, None for those without one; text as it is,
        not as numbers."""
        if among_I is None:
            counts_V = self.items_V.lengths.tolist()
        else:
            row_M = self.items_V.entry_rows[among_I[self.items_V.columns]]
            counts_V = np.bincount(row_M, minlength=len(self.items_V.lengths)).tolist()
        return {
            value: counts_V[row]
            for value, row in self.row_of.items()
            if counts_V[row] and (value is None or isinstance(value, str) or not self.is_text)
        }

    @cached_property
    def values(self) -> tuple[tuple[Value, ...], Ragged]:
        """The distinct values, text as it is and not as numbers, and in row v the items that have value v."""
        own = [each for each in self.row_of if isinstance(each, str if self.is_text else int | float)]
        return tuple(own), self.items_V.take([self.row_of[each] for each in own])

    def _readings(self, wanted: Value) -> tuple[Value, ...]:
        """The values of this column that are equal to the wanted one."""
        if wanted is None:
            return (None,)
        if isinstance(wanted, str):
            return (wanted if self.is_text else _number(wanted),)
        is_large = abs(wanted) >= _EXACT and math.isfinite(wanted)
        return (wanted, str(int(wanted))) if is_large else (wanted,)

    @cached_property
    def _texts(self) -> OrderedValues:
        return self._ordered([value for value in self.row_of if isinstance(value, str)])

    @cached_property
    def _numbers(self) -> OrderedValues:
        # Python compares whole numbers and floats exactly
        return self._ordered([value for value in self.row_of if isinstance(value, int | float)])

    def _ordered(self, values: list[Any]) -> OrderedValues:
        values.sort()
        return OrderedValues(values, self.items_V.take([self.row_of[value] for value in values]))


@dataclass(frozen=True, eq=False)
class PatchedColumn:
    """A column of which some items have other values: those of ``new`` where ``patched_I``, else of
    ``table``. Its cost is that of the patched items, not of the table."""

    table: AttributeColumn
    new: AttributeColumn
    patched_I: Bool

    @classmethod
    def of(cls, table: AttributeColumn, values: pl.Series, item_P: Int32, n_items: int) -> PatchedColumn:
        """The column with the values of the items ``item_P`` in place of its own."""
        patched_I = np.zeros(n_items, bool)
        patched_I[item_P] = True
        return cls(table, AttributeColumn.of(values, item_P, n_items), patched_I)

    def items_with(self, values: tuple[Value, ...]) -> Int32:
        """As of :class:`AttributeColumn`."""
        return self._divided(self.table.items_with(values), self.new.items_with(values))

    def items_ordered(self, order: str, value: Value) -> Int32:
        """As of :class:`AttributeColumn`."""
        return self._divided(self.table.items_ordered(order, value), self.new.items_ordered(order, value))

    def item_counts(self) -> dict[Value, int]:
        """As of :class:`AttributeColumn`."""
        counts = Counter(self.table.item_counts(~self.patched_I))
        counts.update(self.new.item_counts(self.patched_I))
        return dict(counts)

    @property
    def values(self) -> tuple[tuple[Value, ...], Ragged]:
        """As of :class:`AttributeColumn`; a value of both may be there twice."""
        (known, known_V), (given, given_V) = self.table.values, self.new.values
        known_N, given_N = ~self.patched_I[known_V.columns], self.patched_I[given_V.columns]
        rows_N = [known_V.entry_rows[known_N], given_V.entry_rows[given_N] + len(known)]
        items_N = [known_V.columns[known_N], given_V.columns[given_N]]
        every = (*known, *given)
        return every, Ragged.from_index(np.concatenate(rows_N), np.concatenate(items_N), len(every))

    def _divided(self, table_N: Int32, new_N: Int32) -> Int32:
        return np.concatenate([table_N[~self.patched_I[table_N]], new_N[self.patched_I[new_N]]])


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """A domain's part of the table, about ``n_items`` items. ``titles``: None where the table has none;
    ``new_titles``: titles that were patched, empty where none was."""

    n_items: int
    columns: Mapping[str, AttributeColumn | PatchedColumn] = field(default_factory=dict)
    titles: AnyArray | None = None
    new_titles: AnyArray | None = None

    def patched(
        self, tables: Mapping[str, pl.DataFrame], before: Mapping[str, pl.DataFrame], items: Vocabulary
    ) -> ItemAttributes:
        """With what was said of items since (:mod:`.item_patches`); ``before``: what these attributes have of
        it. Only columns that differ are made anew."""
        columns, new_titles = dict(self.columns), self.new_titles
        differ = {name: table for name, table in tables.items() if table is not before.get(name)}
        if not differ:
            return self
        for name, table in differ.items():
            item_P, values = placed(table, items)
            columns[name] = PatchedColumn.of(self._of_table(name), values, item_P, self.n_items)
            if name == TITLE:
                new_titles = titles_of(item_P, values, self.n_items)
        return ItemAttributes(self.n_items, columns, self.titles, new_titles)

    def matching(self, rule: Rule) -> Bool:
        """Which items a rule is true of, (I,), to be read only; hidden items are left out. The masks of the
        latest rules are kept."""
        return self._mask(rule)

    @cached_property
    def shown_I(self) -> Bool | None:
        """Which items are not hidden, (I,); None where all are shown."""
        hidden_N = self.columns[HIDDEN].items_with((1,)) if HIDDEN in self.columns else ()
        if not len(hidden_N):
            return None
        shown_I = np.ones(self.n_items, bool)
        shown_I[hidden_N] = False
        return shown_I

    def column(self, name: str) -> AttributeColumn | PatchedColumn:
        """A column; DataError for one that the table does not have."""
        if not self.columns:
            raise DataError(
                "This model is served without a table of its items; leave rules about columns out."
            )
        if name not in self.columns:
            raise DataError(unknown("column of the items' table", name, self.columns))
        return self.columns[name]

    def _of_table(self, name: str) -> AttributeColumn:
        """A column without what was said since; one of no values where the table lacks it."""
        import polars as pl

        column = self.columns.get(name)
        if column is None:
            return AttributeColumn.of(pl.Series([], dtype=pl.Int64), np.zeros(0, np.int32), self.n_items)
        return column.table if isinstance(column, PatchedColumn) else column

    @cached_property
    def _mask(self) -> Callable[[Rule], Bool]:
        return lru_cache(max(1, MASK_BYTES // max(self.n_items, 1)))(self._computed)

    def _computed(self, rule: Rule) -> Bool:
        mask_I = rule.mask(self, self.n_items)
        if self.shown_I is not None:
            mask_I &= self.shown_I
        mask_I.setflags(write=False)
        return mask_I


@dataclass(frozen=True, eq=False)
class ItemsTable:
    """``parts``: domain -> its part. ``rows``: of the file; ``used``: domain -> how many of them count."""

    parts: Mapping[str, ItemAttributes]
    rows: int
    used: Mapping[str, int]


def read_items(path: Path, history: MultiDomain) -> ItemsTable:
    """The table in a Parquet, CSV or JSON-lines file with the columns ``KEYS``.

    Items the model does not know are left out; of a repeated item the last row counts. DataError where a
    column cannot be compared, or where no row is about an item of the model.
    """
    table = raw_table(path, str(path))
    if missing := [name for name in KEYS if name not in table.columns]:
        raise DataError(f"The items' table {path} has no column {missing[0]!r}; it needs domain and item.")
    _raise_on_odd_columns(table, path)
    table = with_decimal_points(table, f"the items' table {path}", keep=(*KEYS, TITLE))
    domain = EventTable(table, str(path)).ids("domain").cast(str)
    parts = {
        name: _DomainRows.of(table.filter(domain == name), history, name, path)
        for name in history.domain_names
    }
    used = {name: len(part.rows) for name, part in parts.items()}
    if not any(used.values()):
        raise DataError(
            f"No row of the items' table {path} is about an item of this model; write domains and ids as in "
            f"the events, {_example(history)}."
        )
    return ItemsTable({name: part.attributes(path) for name, part in parts.items()}, len(table), used)


@dataclass(frozen=True, eq=False)
class _DomainRows:
    """The last row of each known item: ``rows`` (N rows), ``item_N`` of ``n_items``."""

    rows: pl.DataFrame
    item_N: Int32
    n_items: int

    @classmethod
    def of(cls, table: pl.DataFrame, history: MultiDomain, domain: str, path: Path) -> _DomainRows:
        import polars as pl

        vocabulary = history.items[domain]
        place = pl.Series("item", vocabulary.index(_raw(EventTable(table, str(path)).ids("item"))))
        rows = table.with_columns(place).filter(place >= 0).unique("item", keep="last", maintain_order=True)
        return cls(rows.drop(KEYS), rows["item"].to_numpy().astype(np.int32), len(vocabulary))

    def attributes(self, path: Path) -> ItemAttributes:
        columns = {column.name: AttributeColumn.of(column, self.item_N, self.n_items) for column in self.rows}
        return ItemAttributes(self.n_items, columns, self._titles(path) if TITLE in columns else None)

    def _titles(self, path: Path) -> AnyArray | None:
        """A title per item, empty where the table has none; None where it has none at all."""
        if self.rows[TITLE].dtype.is_nested():
            raise DataError(
                f"Column {TITLE!r} of the items' table {path} holds lists; give one text per item."
            )
        titles = without_blank(_as_text(self.rows[TITLE])).fill_null("")
        title_I = np.full(self.n_items, "", np.dtypes.StringDType())
        title_I[self.item_N] = np.array(titles.to_list(), np.dtypes.StringDType())
        return title_I if (title_I != "").any() else None


def _raise_on_odd_columns(table: pl.DataFrame, path: Path) -> None:
    """A DataError for the first column whose values cannot be compared with those of a request."""
    import polars as pl

    for column in table.drop(KEYS):
        inner = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else column.dtype
        if inner.is_nested() or isinstance(inner, pl.Binary | pl.Duration | pl.Object):
            raise DataError(
                f"Column {column.name!r} of the items' table {path} holds {column.dtype}; convert it to "
                "text, numbers, dates, true or false, or lists of these, or remove it."
            )


def _one_per_row(values: pl.Series, item_N: Int32) -> tuple[pl.Series, Int32]:
    """Each value of a list in a row of its own."""
    import polars as pl

    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if not isinstance(values.dtype, pl.List):
        return values, item_N
    pairs = pl.DataFrame({"item": item_N, "value": values}).explode("value").unique(maintain_order=True)
    return pairs["value"], pairs["item"].to_numpy()


def _readings(values: pl.Series) -> list[pl.Series]:
    """The values as they are compared: as numbers, or as text and as the numbers that the text reads as."""
    import polars as pl

    if values.dtype.is_numeric() or values.dtype.is_(pl.Boolean):
        return [_as_numbers(values)]
    text = _as_text(values)
    lower = text.str.to_lowercase()
    number = text.set(~text.str.contains(f"^{NUMBER}$"), None).cast(float)
    number = number.set(text.str.contains(_WHOLE) & (number.abs() >= _EXACT), None)
    boolean = lower.replace_strict(_BOOLEANS, default=None, return_dtype=number.dtype)
    return [text, _finite(number.fill_null(boolean))]


def _as_numbers(values: pl.Series) -> pl.Series:
    import polars as pl

    if values.dtype.is_(pl.Boolean):
        return values.cast(pl.Int64)
    if values.dtype.is_integer():
        return values
    # by its digits: as a Float64, the Float32 of 0.1 is not 0.1
    return _finite(values.cast(str).cast(float))


def _finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(~numbers.is_finite(), None)


def _as_text(values: pl.Series) -> pl.Series:
    """Values as text, null where there is none."""
    import polars as pl

    if isinstance(values.dtype, pl.Datetime):
        return values.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    text = values.cast(str)
    if values.dtype.is_float():
        text = text.str.replace(r"\.0$", "")
    return text.set(text == "", None)


def _number(text: str) -> Value:
    """The number that a text reads as, else the text."""
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    return number_of(text)


def _raw(column: pl.Series) -> AnyArray | list[str]:
    import polars as pl

    return column.to_list() if column.dtype == pl.String else column.to_numpy()


def _example(history: MultiDomain) -> str:
    domain = history.domain_names[0]
    return f"such as domain {domain!r} and item {history.items[domain].ids.tolist()[0]!r}"
