"""More users in a vocabulary: users without events, of whom something else is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landbridge.core.types import Int32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.seen import Seen
from landbridge.data.vocabulary import IdArray, Vocabulary


def with_users(data: MultiDomain, ids: IdArray) -> MultiDomain:
    """The same events over a vocabulary of users that holds these ids, too, which are of its type."""
    users = Vocabulary(np.unique(np.concatenate([data.users.ids, ids])), data.users.folded)
    place_U = users.index(data.users.ids)
    features = data.user_features
    return replace(
        data,
        users=users,
        domains={name: _moved(table, place_U, len(users)) for name, table in data.domains.items()},
        seen={
            name: Seen(_moved(seen.pairs, place_U, len(users)), seen.disliked_N)
            for name, seen in data.seen.items()
        },
        user_features=None if features is None else features.take(data.users.index(users.ids)),
    )


def _moved(events: Interactions, place_U: Int32, n_users: int) -> Interactions:
    # ids stay in order, and so do the events
    return replace(events, user_idx=place_U[events.user_idx], n_users=n_users)
