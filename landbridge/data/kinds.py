"""Kinds of events: what a view, a purchase or a dislike says of a user and an item.

An event of a kind is learned from with a weight, only marks its item as seen, or counts against it. With a
half-life h an event of time t counts 2^(-(T - t) / h) of its weight, T being the time of the latest event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Float32, Seconds
from landbridge.data.interactions import DAY

LEARNED, SEEN, DISLIKED = range(3)  # the standing of an event
MARKS: Mapping[str, int] = MappingProxyType({"seen": SEEN, "against": DISLIKED})
USUAL: Mapping[str, float | str] = MappingProxyType(
    {
        **dict.fromkeys(("view", "click"), 0.2),
        **dict.fromkeys(("cart", "addtocart", "add_to_cart", "save"), 0.5),
        **dict.fromkeys(("buy", "purchase", "transaction", "like"), 1.0),
        "impression": "seen",
        **dict.fromkeys(("dislike", "hide"), "against"),
    }
)
MOST_KINDS = 63  # learned ones: a pair keeps its kinds as the bits of an int64
LEAST_WEIGHT = 1e-6  # of an event however old: weights stay positive


@dataclass(frozen=True)
class EventKinds:
    """``values``: kind -> a weight above 0, "seen" (never learned from, never listed) or "against" (a
    dislike: the same, and a weak negative for methods that take one). ``half_life_days``: 0 for none."""

    values: Mapping[str, float | str] = field(default_factory=lambda: USUAL)
    half_life_days: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        for kind, value in self.values.items():
            _check(kind, value)
        if len(self.names) > MOST_KINDS:
            raise DataError(f"At most {MOST_KINDS} kinds of events may have weights, not {len(self.names)}.")
        if not 0 <= self.half_life_days < math.inf:
            raise DataError(f"half_life_days must be 0 or more, not {self.half_life_days}.")

    @classmethod
    def of(cls, given: Mapping[str, float | str] | None, half_life_days: float = 0.0) -> EventKinds:
        """The usual kinds, and those given in place of them or beside them."""
        return cls({**USUAL, **(given or {})}, half_life_days)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The kinds that are learned from, in the order of their bits."""
        return tuple(sorted(kind for kind, value in self.values.items() if value not in MARKS))

    def standing(self, kind: str | None) -> int:
        """What becomes of an event of a kind; one without a kind is learned from. DataError for an unknown
        kind."""
        return LEARNED if kind is None else MARKS.get(str(self._value(kind)), LEARNED)

    def knows(self, kind: str | None) -> bool:
        """Whether events may be of this kind, or have none."""
        return kind is None or kind in self.values

    def weight(self, kind: str | None) -> float:
        """How much an event of a kind counts, 1 where that says nothing."""
        return 1.0 if self.standing(kind) != LEARNED or kind is None else float(self._value(kind))

    def bit(self, kind: str | None) -> int:
        """The kind as a set of kinds; 0 where it is not learned from."""
        return 1 << self.names.index(kind) if kind in self.names else 0

    def faded(self, time_N: Seconds, latest: float) -> Float32:
        """What is left of the weight of each event, (N,)."""
        if not self.half_life_days:
            return np.ones(len(time_N), np.float32)
        age_N = np.maximum(latest - time_N.astype(np.float64), 0)
        return np.exp2(-age_N / (DAY * self.half_life_days)).astype(np.float32)

    def aged(self, weight_N: Float32 | None, time_N: Seconds, latest: float) -> Float32:
        """Weights by the age of events at the time ``latest``, positive however far they have faded, (N,)."""
        factor_N = self.faded(time_N, latest)
        return at_least(factor_N if weight_N is None else weight_N * factor_N)

    def _value(self, kind: str) -> float | str:
        if kind not in self.values:
            raise DataError(
                f"{unknown('kind of event', kind, self.values)} Say what it counts, for example "
                f"kinds={{{kind!r}: 0.5}} or --kind {kind}=0.5."
            )
        return self.values[kind]


def at_least(weight_N: Float32) -> Float32:
    """Weights that are positive however far they have faded, (N,)."""
    return np.maximum(weight_N, np.float32(LEAST_WEIGHT))


def _check(kind: str, value: object) -> None:
    weighs = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    if not kind or not (weighs or value in tuple(MARKS)):
        raise DataError(f"Kind {kind!r} has the value {value!r}; give a weight above 0, 'seen' or 'against'.")
