"""Orders of a catalogue that are the same for every user, from the events that the model was fitted on.

Of an item with events at the times t, T being the latest time of its domain and h a week, the score is

    popular    the number of its events
    trending   Σ 2^(-(T - t) / h)                                                                        (1)
    latest     min t, in seconds: when it was first seen                                                 (2)

Letters: I items, N events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.types import AnyArray, Float64
from landbridge.data.interactions import DAY, Interactions

HALF_LIFE = 7 * DAY
POPULAR = "popular"


def item_scores(strategy: str, events: Interactions, domain: str) -> Float64:
    """The score of every item, (I,); -inf where an item has no event to say when.

    SettingsError for an unknown strategy, DataError for data without times, which are popular at most.
    """
    if strategy == POPULAR:
        return events.item_counts.astype(np.float64)
    if strategy not in TIMED:
        raise SettingsError(unknown("strategy", strategy, [POPULAR, *TIMED]))
    if events.time is None:
        raise DataError(f"Domain {domain!r} has no times, so nothing in it is {strategy}; take popular.")
    score_I = TIMED[strategy](events, events.time)
    return np.where(events.item_counts > 0, score_I, -np.inf)


def _trending(events: Interactions, time_N: AnyArray) -> Float64:
    age_N = (time_N.max() if len(time_N) else 0) - time_N.astype(np.float64)
    weight_N = np.exp2(-age_N / HALF_LIFE)
    score_I = np.bincount(events.item_idx, weight_N, minlength=events.n_items)  # Eq. (1)
    return score_I.astype(np.float64)


def _latest(events: Interactions, time_N: AnyArray) -> Float64:
    first_I = np.full(events.n_items, np.inf)
    np.minimum.at(first_I, events.item_idx, time_N)  # Eq. (2)
    return first_I


TIMED: Mapping[str, Callable[[Interactions, AnyArray], Float64]] = {
    "trending": _trending,
    "latest": _latest,
}
