"""The items' table: what a shop knows of its items (genre, language, in stock), to filter lists by.

Values are compared as text, so that 3, 3.0 and "3" are one value in a CSV file, a Parquet file and a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import AnyArray, Int32, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import raw_table

if TYPE_CHECKING:
    import polars as pl

KEYS = ("domain", "item")
TITLE = "title"


class AttributeColumn(NamedTuple):
    """Which of the ``values`` an item has, -1 for none."""

    code_I: Int32
    values: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """A domain's part of the table. ``titles``: of its items, None where the table has none."""

    columns: Mapping[str, AttributeColumn] = field(default_factory=dict)
    titles: AnyArray | None = None

    def matching(self, where: Values, n_items: int) -> npt.NDArray[np.bool_]:
        """Which items have one of the wanted values in every column, (I,)."""
        matches_I = np.ones(n_items, bool)
        for name, wanted in where.items():
            if not self.columns:
                raise DataError("This model is served without a table of its items; leave 'where' out.")
            if name not in self.columns:
                raise DataError(unknown("column of the items' table", name, self.columns))
            values = wanted if isinstance(wanted, list | tuple) else (wanted,)
            # -2: an unknown value must match no item, not even those without a value (-1)
            codes = [self.columns[name].values.get(as_text(value), -2) for value in values]
            matches_I &= np.isin(self.columns[name].code_I, codes)
        return matches_I


NO_ATTRIBUTES = ItemAttributes()


def read_attributes(path: Path, history: MultiDomain) -> dict[str, ItemAttributes]:
    """Domain -> its part of the table in a Parquet, CSV or JSON-lines file with the columns ``KEYS``.

    Items the model does not know are left out; of a repeated item the last row counts.
    """
    table = raw_table(path, str(path))
    if missing := [name for name in KEYS if name not in table.columns]:
        raise DataError(f"The items' table {path} has no column {missing[0]!r}; it needs domain and item.")
    domain = table["domain"].cast(str)
    return {
        name: _columns(table.filter(domain == name), history, name, path) for name in history.domain_names
    }


def as_text(value: object) -> str:
    """A value as it is compared."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise DataError(
        f"A value in 'where' is text, a number, true or false, or a list of these, not {value!r}."
    )


def _columns(table: pl.DataFrame, history: MultiDomain, domain: str, path: Path) -> ItemAttributes:
    vocabulary = history.items[domain]
    place_N = vocabulary.index(_raw(EventTable(table, str(path)).ids("item")))
    kept_N = place_N >= 0
    rows = table.drop(KEYS).filter(kept_N)
    columns = {
        column.name: _column(column, place_N[kept_N], len(vocabulary))
        for column in rows
        if not column.dtype.is_nested()
    }
    titles = columns.get(TITLE)
    return ItemAttributes(columns, _titles(titles) if titles and titles.values else None)


def _column(values: pl.Series, place_N: Int32, n_items: int) -> AttributeColumn:
    import polars as pl

    text = _as_texts(values)
    given = text.drop_nulls().unique().sort()
    numbers = pl.arange(len(given), dtype=pl.Int32, eager=True)
    code_I = np.full(n_items, -1, np.int32)
    code_I[place_N] = text.replace_strict(given, numbers, default=-1, return_dtype=pl.Int32).to_numpy()
    return AttributeColumn(code_I, dict(zip(given.to_list(), range(len(given)), strict=True)))


def _as_texts(values: pl.Series) -> pl.Series:
    """As :func:`as_text` writes them."""
    import polars as pl

    if values.dtype.is_float() and bool((values == values.floor()).all()):
        values = values.cast(pl.Int64)
    return values.cast(pl.String)


def _titles(titles: AttributeColumn) -> AnyArray:
    """A title per item, empty where the table has none."""
    texts = np.array([*titles.values, ""], np.dtypes.StringDType())
    return np.asarray(texts[titles.code_I])


def _raw(column: pl.Series) -> AnyArray | list[str]:
    import polars as pl

    return column.to_list() if column.dtype == pl.String else column.to_numpy()
