"""Who asks for scores: the one argument that models, evaluation and recommending share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.types import Ragged


@dataclass(frozen=True, eq=False)
class Queries:
    """Who asks: known users by index, and/or people by their events.

    ``user_idx``: int32 (B,), -1 for a person unknown to the model. ``events``: domain -> Rows with B
    rows of item indices; where a query has any event here, its row is folded in from these events
    instead of looked up. ``times``: domain -> int64 (N,), when the events of its rows were, for models
    that ask for their order.
    """

    user_idx: npt.NDArray[np.int32]
    events: Mapping[str, Ragged] | None = None
    times: Mapping[str, npt.NDArray[np.int64]] | None = None

    @classmethod
    def of_users(cls, user_idx: npt.ArrayLike) -> Queries:
        """Known users, nothing else."""
        return cls(np.asarray(user_idx, np.int32))

    def take(self, chosen_B: npt.NDArray[np.int64]) -> Queries:
        """The queries at these places, in their order."""
        events = self.events and {name: rows.take(chosen_B) for name, rows in self.events.items()}
        times = self.times and {
            name: time_N[(self.events or {})[name].locate(chosen_B)[1]] for name, time_N in self.times.items()
        }
        return Queries(self.user_idx[chosen_B], events, times)

    def __len__(self) -> int:
        return len(self.user_idx)
