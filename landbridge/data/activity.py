"""Groups of users by how many events they have in a domain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Int64

ACTIVITY: Mapping[str, int] = {"0": 0, "1-2": 1, "3-5": 3, "6-10": 6, "11-30": 11, "31+": 31}
"""Label -> smallest number of events of the group."""


def activity_group(count_B: npt.ArrayLike) -> Int64:
    """The position in ``ACTIVITY`` of users with these numbers of events, (B,)."""
    return np.asarray(np.searchsorted(list(ACTIVITY.values()), np.asarray(count_B), side="right") - 1)
