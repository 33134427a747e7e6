"""Users a block at a time, as the events of several tables may not fit in memory.

Events are sorted by user, so that those of a block are a slice of each table. N events of a table, U users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from landbridge.core.mapped import growing
from landbridge.core.row_blocks import row_blocks
from landbridge.core.types import AnyArray
from landbridge.data.interactions import GrowingEvents, Interactions


@dataclass(frozen=True, eq=False)
class UserBlock:
    """Some consecutive users, and the events of each table that are theirs, with the users numbered from 0.

    ``is_whole``: these are all users.
    """

    users: slice
    tables: Mapping[str, Interactions]
    is_whole: bool

    @property
    def n_users(self) -> int:
        """How many users these are."""
        return int(self.users.stop - self.users.start)


def user_blocks(tables: Mapping[str, Interactions]) -> Iterator[UserBlock]:
    """All users in blocks of bounded numbers of events; a user of more is a block alone."""
    offsets_U = np.sum([events.by_user.offsets for events in tables.values()], axis=0)
    for users in row_blocks(offsets_U):
        parts = {name: _of_users(events, users) for name, events in tables.items()}
        yield UserBlock(users, parts, users == slice(0, len(offsets_U) - 1))


def merged(tables: Mapping[str, Interactions], merge: Callable[[UserBlock], Interactions]) -> Interactions:
    """One table: what ``merge`` makes of each block of users, one after the other."""
    whole = GrowingEvents.beside(next(iter(tables.values())))
    n_users = n_items = 0
    for block in user_blocks(tables):
        part = merge(block)
        if block.is_whole:
            return part
        whole.add(part, block.users.start)
        n_users, n_items = block.users.stop, part.n_items
    return whole.finished(n_users, n_items)


def labelled(
    tables: Mapping[str, Interactions], label: Callable[[UserBlock], Mapping[str, AnyArray]]
) -> dict[str, AnyArray]:
    """A number of every event, table -> int8 (N,): what ``label`` says of the events of each block."""
    columns = {name: growing(events.user_idx, np.int8) for name, events in tables.items()}
    for block in user_blocks(tables):
        for name, label_B in label(block).items():
            columns[name].append(label_B)
    return {name: column.opened() for name, column in columns.items()}


def _of_users(events: Interactions, users: slice) -> Interactions:
    """The events of some users, who are numbered from 0."""
    if users == slice(0, events.n_users):
        return events
    own = slice(*events.by_user.offsets[[users.start, users.stop]].tolist())
    columns = {name: column[own] for name, column in events.columns.items()}
    columns["user_idx"] = columns["user_idx"] - np.int32(users.start)
    return Interactions(**columns, n_users=users.stop - users.start, n_items=events.n_items)
