"""Explanations: a score as a sum over the user's events, the item's popularity, and a rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from landbridge.core.types import Float32


@dataclass(frozen=True, eq=False)
class Explanation:
    """A score in parts that sum to it.

    ``events``: domain -> the contribution of each of the query's events there (of its own events where it
    brings any, else of the user's history), in their order; 0 for events that the score does not use.
    ``popularity``: the part that every cold-start user of the domain gets. ``rest``: what no single event
    explains; rounding only where the user's embedding is the optimum of these events.
    """

    events: Mapping[str, Float32]
    popularity: float
    rest: float


def in_parts(score: float, popularity: float, events: Mapping[str, Float32]) -> Explanation:
    """The explanation with the rest that makes its parts sum to ``score``."""
    # float64: the rest is a small difference of large sums
    total = sum(float(part_E.sum(dtype=np.float64)) for part_E in events.values())
    return Explanation(events, popularity, score - popularity - total)
