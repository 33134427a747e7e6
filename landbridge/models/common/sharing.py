"""Several domains as tables of events: one table per domain, or one joined table for all."""

from __future__ import annotations

from typing import Literal, get_args

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

Sharing = Literal["separate", "joined"]
SHARING = get_args(Sharing)


def tables_of(data: MultiDomain, sharing: str) -> dict[str, tuple[Interactions, dict[str, slice]]]:
    """Label -> (table, the item columns of every domain): one entry per domain, or one named "all"."""
    if sharing == "joined":
        return {"all": data.joined()}
    return {name: (events, {name: slice(0, events.n_items)}) for name, events in data.domains.items()}
