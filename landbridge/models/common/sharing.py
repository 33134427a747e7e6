"""Each domain as a table of its own, or all as one: the two ways a model can look at several domains."""

from __future__ import annotations

from typing import Literal, get_args

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

Sharing = Literal["separate", "joined"]
SHARING = get_args(Sharing)


def tables_of(data: MultiDomain, sharing: str) -> dict[str, tuple[Interactions, dict[str, slice]]]:
    """Label -> (table, where each domain's items stand in it)."""
    if sharing == "joined":
        return {"all": data.joined()}
    return {name: (events, {name: slice(0, events.n_items)}) for name, events in data.domains.items()}
