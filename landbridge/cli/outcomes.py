"""What came of the lists of a server: events of its store that name them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from landbridge.data.kinds import LEARNED, EventKinds

if TYPE_CHECKING:
    import polars as pl


def outcomes_of(url: str, kinds: EventKinds, wanted: Collection[str] | None) -> pl.DataFrame:
    """The events of a store that are of one of the ``wanted`` kinds; None: of those that are learned from,
    and without a kind. DataError for a kind that the run does not know."""
    import polars as pl

    from landbridge.serving.events.store import EventStore

    for kind in wanted or ():
        kinds.standing(kind)
    store = EventStore.existing(url)
    try:
        frame = store.frame()
    finally:
        store.close()
    if wanted:
        return frame.filter(pl.col("kind").is_in(list(wanted)))
    others = [kind for kind in kinds.values if kinds.standing(kind) != LEARNED]
    return frame.filter(pl.col("kind").is_null() | ~pl.col("kind").is_in(others))
