"""Why an item has its score: what the person's events say, what the crowd says, and what neither explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from landbridge.models.base import Float32


@dataclass(frozen=True, eq=False)
class Explanation:
    """A score in parts that sum to it.

    ``events``: domain -> what each of the person's events there adds, in their order, zero for events the
    score does not use. ``popularity``: what any newcomer of the domain would get just as well. ``rest``:
    what the person's stored row adds beyond her events; rounding where the row is their optimum.
    """

    events: Mapping[str, Float32]
    popularity: float
    rest: float


@runtime_checkable
class Explains(Protocol):
    """A fitted model that can say what each known event of a person adds to a score."""

    def explain(self, domain: str, user_idx: int, item_idx: int) -> Explanation:
        """The score of one item for one known person, in parts."""
