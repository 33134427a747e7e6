"""Item linking: which items of different domains are one product.

``"shared"``: items of equal ids. A link table ``domain_a, item_a, domain_b, item_b[, confidence]``: the items
of each row. Both may be given. Without either every item is a product of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Bool, Int64
from landbridge.data.io.encoding import id_array
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import raw_table
from landbridge.data.products import Products, equal_ids, products_of, starts
from landbridge.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("domain_a", "item_a", "domain_b", "item_b")
CHOICES = (None, "shared", "local")
WHERE = "the table of item links"


@dataclass(frozen=True)
class ItemLinks:
    """How items are linked. ``items``: "shared" (equal ids are one product), "local" or None (they are not);
    ``table``: of links, or None; ``min_confidence``: below it a row of the table is left out."""

    items: str | None = None
    table: object = None
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        if self.items not in CHOICES:
            raise DataError(
                f"Cannot use items={self.items!r}; valid are 'shared' (equal ids are one product) and "
                "'local'. Give links between other ids as item_links=TABLE."
            )
        if self.min_confidence is not None and self.table is None:
            raise DataError("min_confidence is about item_links; give such a table, or leave it out.")

    @property
    def given(self) -> bool:
        """Whether any item of one domain can be one of another."""
        return self.items == "shared" or self.table is not None

    def products(
        self, items: Mapping[str, Vocabulary], domains: Collection[str], fold: bool
    ) -> tuple[Products, dict[str, int]]:
        """The products, and why rows of the table were left out -> how many.

        ``domains``: those that a row may name, ``items`` those that were read; ``fold``: ids were folded, and
        those of the table are to be. DataError for anything unusable."""
        pairs = [np.empty((0, 2), np.int64)]
        left_out: dict[str, int] = {}
        if self.items == "shared":
            pairs.append(equal_ids(items))
        if self.table is not None:
            linked, left_out = self._linked(items, domains, fold)
            pairs.append(linked)
        return products_of(items, np.concatenate(pairs), self.items == "shared"), left_out

    def _linked(
        self, items: Mapping[str, Vocabulary], domains: Collection[str], fold: bool
    ) -> tuple[Int64, dict[str, int]]:
        """The usable rows as pairs of items, (L, 2)."""
        import polars as pl

        frame = raw_table(self.table, WHERE)
        if missing := [name for name in COLUMNS if name not in frame.columns]:
            raise DataError(f"No column {missing[0]} in {WHERE}; it has {', '.join(COLUMNS)}[, confidence].")
        sure_L = self._sure(frame)
        frame = frame.filter(pl.Series(sure_L))
        one, two = (_numbers(frame, side, items, domains, fold) for side in ("a", "b"))
        of_items_L = (one >= 0) & (two >= 0)
        left_out = {
            f"have a confidence below {self.min_confidence}": int((~sure_L).sum()),
            "name an item without events": int((~of_items_L).sum()),
        }
        return np.stack([one, two], axis=1)[of_items_L], {why: n for why, n in left_out.items() if n}

    def _sure(self, frame: pl.DataFrame) -> Bool:
        """Which rows have enough confidence, (L,)."""
        if self.min_confidence is None:
            return np.ones(frame.height, bool)
        if "confidence" not in frame.columns:
            raise DataError(f"No column confidence in {WHERE}; add one, or leave out min_confidence.")
        numbers = EventTable(frame.select(weight="confidence"), WHERE, {"weight": "confidence"}).numbers(
            "weight"
        )
        assert numbers is not None
        return np.asarray(numbers.to_numpy() >= self.min_confidence)


def _numbers(
    frame: pl.DataFrame, side: str, items: Mapping[str, Vocabulary], domains: Collection[str], fold: bool
) -> Int64:
    """The items of one side as numbers counted through the domains, (L,); -1 for those without events."""
    import polars as pl

    named = EventTable(frame.select(domain=f"domain_{side}"), WHERE, {"domain": f"domain_{side}"}).ids(
        "domain"
    )
    ids = EventTable(frame.select(item=f"item_{side}"), WHERE, {"item": f"item_{side}"}, fold).ids("item")
    for name in named.cast(pl.String).unique().sort():
        if name not in domains:
            raise DataError(f"In {WHERE}: {unknown('domain', name, domains)}")
    number_L = np.full(frame.height, -1, np.int64)
    for name, start in starts(items).items():
        here_L = (named.cast(pl.String) == name).to_numpy()
        place_M = items[name].index(id_array(ids.filter(pl.Series(here_L)))).astype(np.int64)
        number_L[here_L] = np.where(place_M >= 0, start + place_M, -1)
    return number_L
