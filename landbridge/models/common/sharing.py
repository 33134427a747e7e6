"""Several domains as tables of events: one table per domain, or one joined table for all."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from landbridge.core.types import Int32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

Sharing = Literal["separate", "joined"]
SHARING = get_args(Sharing)


def consecutive(item_I: Int32) -> slice | None:
    """The items as a slice, which indexes without a copy; None where they are not consecutive."""
    first, end = (int(item_I[0]), int(item_I[-1]) + 1) if len(item_I) else (0, 0)
    return slice(first, end) if np.array_equal(item_I, np.arange(first, end)) else None


def tables_of(data: MultiDomain, sharing: str) -> dict[str, tuple[Interactions, dict[str, slice]]]:
    """Label -> (table, the item columns of every domain): one entry per domain, or one named "all"."""
    if sharing == "joined":
        return {"all": data.joined()}
    return {name: (events, {name: slice(0, events.n_items)}) for name, events in data.domains.items()}


def product_tables_of(data: MultiDomain, sharing: str) -> dict[str, tuple[Interactions, dict[str, Int32]]]:
    """As :func:`tables_of`, a joined table with one column per product, and columns as numbers, (I,)."""
    if sharing == "joined":
        return {"all": data.by_product()}
    tables = tables_of(data, sharing).items()
    return {name: (events, {name: np.arange(events.n_items, dtype=np.int32)}) for name, (events, _) in tables}
