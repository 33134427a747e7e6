"""Who asks for scores: the one argument that models, evaluation and recommending share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.data.interactions import Rows


@dataclass(frozen=True, eq=False)
class Queries:
    """Who asks: known users by index, and/or people by their events.

    ``user_idx``: int32 (B,), -1 for a person unknown to the model. ``events``: domain -> Rows with B
    rows of item indices; where a query has any event here, its row is folded in from these events
    instead of looked up.
    """

    user_idx: npt.NDArray[np.int32]
    events: Mapping[str, Rows] | None = None

    @classmethod
    def of_users(cls, user_idx: npt.ArrayLike) -> Queries:
        """Known users, nothing else."""
        return cls(np.asarray(user_idx, np.int32))

    def __len__(self) -> int:
        return len(self.user_idx)
