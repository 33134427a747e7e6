"""A table of events as a graph: users and items are nodes, events are edges."""

from __future__ import annotations

import numpy as np

from landbridge.core.types import Ragged
from landbridge.data.interactions import Interactions


def neighbours(events: Interactions) -> Ragged:
    """The neighbours of every node, users before items, (U + I rows) without weights."""
    users, items = events.by_user, events.by_item
    offsets = np.concatenate([users.offsets, items.offsets[1:] + users.offsets[-1]])
    columns = np.concatenate([users.columns + np.int32(events.n_users), items.columns])
    return Ragged(offsets, columns)
