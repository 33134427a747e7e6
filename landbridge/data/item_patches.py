"""What was said of items since their table: values of columns, which go before those of the table.

A patch is a layer over the table: a value of null takes back what was said before, so that the table's holds
again. Letters: I items, P patched items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from landbridge.core.types import AnyArray, Int32
from landbridge.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import polars as pl

TAKEN_BACK = "null"
ROW = ("domain", "item", "column", "value")


@dataclass(frozen=True, eq=False)
class ItemPatches:
    """``columns``: domain -> column -> table of item and value (JSON). ``revision``: of the latest change."""

    columns: Mapping[str, Mapping[str, pl.DataFrame]] = field(default_factory=dict)
    revision: int = 0

    def of(self, domain: str) -> Mapping[str, pl.DataFrame]:
        """Column -> what was said of the items of a domain, nothing in columns of other domains: as in a
        table, every domain has all columns."""
        own = self.columns.get(domain, {})
        return {name: own.get(name, _nothing()) for name in self.names}

    @cached_property
    def names(self) -> frozenset[str]:
        """The columns of all domains."""
        return frozenset(chain.from_iterable(self.columns.values()))

    def updated(self, rows: Sequence[tuple[str, str, str, str]], revision: int) -> ItemPatches:
        """With further rows (domain, item, column, value), oldest first; tables of other columns are the same
        objects as before."""
        import polars as pl

        changed = {domain: dict(tables) for domain, tables in self.columns.items()}
        said = pl.DataFrame(rows, dict.fromkeys(ROW, pl.String), orient="row")
        for (domain, column), part in said.group_by("domain", "column", maintain_order=True):
            own = changed.setdefault(str(domain), {})
            parts = [own[str(column)]] if str(column) in own else []
            table = pl.concat([*parts, part.select("item", "value")])
            table = table.unique("item", keep="last", maintain_order=True)
            own[str(column)] = table.filter(pl.col("value") != TAKEN_BACK)
        return ItemPatches(changed, revision)


NO_PATCHES = ItemPatches()


def placed(table: pl.DataFrame, items: Vocabulary) -> tuple[Int32, pl.Series]:
    """The items of a table that the vocabulary holds, (P,), and their values; of two spellings of one item
    the later counts."""
    import polars as pl

    place = pl.Series("place", items.index(table["item"].to_list()))
    rows = table.with_columns(place).filter(place >= 0).unique("place", keep="last", maintain_order=True)
    return rows["place"].to_numpy().astype(np.int32), series_of(rows["value"].to_list())


def series_of(values: Sequence[str]) -> pl.Series:
    """JSON values as a column of one type: of numbers, of booleans, of lists, else of text."""
    import orjson
    import polars as pl

    parsed: list[Any] = orjson.loads(f"[{','.join(values)}]")
    kinds = {type(value) for value in parsed}
    if list in kinds:
        lists = [[_text(each) for each in (value if type(value) is list else [value])] for value in parsed]
        return pl.Series(lists, dtype=pl.List(pl.String))
    if kinds <= {int} or kinds <= {bool}:
        return pl.Series(parsed, dtype=pl.Boolean if kinds == {bool} else pl.Int64)
    if kinds <= {int, float}:
        return pl.Series([float(value) for value in parsed])
    return pl.Series([_text(value) for value in parsed], dtype=pl.String)


def titles_of(place_P: Int32, values: pl.Series, n_items: int) -> AnyArray:
    """A title per item, empty where none was said, (I,)."""
    import polars as pl

    from landbridge.data.titles import without_blank

    texts = without_blank(values.cast(pl.String)).fill_null("")
    title_I = np.full(n_items, "", np.dtypes.StringDType())
    title_I[place_P] = np.array(texts.to_list(), np.dtypes.StringDType())
    return title_I


@cache
def _nothing() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame([], {"item": pl.String, "value": pl.String})


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
