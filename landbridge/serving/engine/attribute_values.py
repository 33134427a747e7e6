"""The values of a column of the items' table, to choose a filter from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.data.item_attributes import AttributeColumn, PatchedColumn
from landbridge.data.item_rules import Value
from landbridge.serving.engine.messages import AttributeValue
from landbridge.serving.engine.text_search import folded, holds_all, words_of

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class AttributeValues:
    """A column's values over several domains, those of most items first; ``texts``: folded, in this order."""

    values: Sequence[AttributeValue]
    texts: pl.Series

    @classmethod
    def of(cls, columns: Iterable[AttributeColumn | PatchedColumn]) -> AttributeValues:
        """The values of the column in each domain, added up."""
        counts: Counter[Value] = Counter()
        for column in columns:
            counts.update(column.item_counts())
        values = [AttributeValue(value, items) for value, items in counts.most_common()]
        return cls(values, folded([_text(each.value) for each in values]))

    def search(self, text: str, k: int) -> list[AttributeValue]:
        """Of the values that hold all words of a text, the ``k`` of most items."""
        found = np.flatnonzero(holds_all(self.texts, words_of(text)))[:k]
        return [self.values[place] for place in found.tolist()]


def _text(value: Value) -> str:
    """A value as JSON writes it; nothing for none."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
