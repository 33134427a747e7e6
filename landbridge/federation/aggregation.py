"""How messages become their sum: what a party sends in place of its message, and what the coordinator adds.

The coordinator needs nothing but Σ_d m_u^d, Eq. (2) of :mod:`landbridge.models.als.exchange`. An
:class:`Aggregation` is the one place where a message can be protected on its way there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from landbridge.core.types import Float32, Int64


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one party sent: ``encoded_MF`` and the rows of the joint list that it belongs to, (M,)."""

    place_M: Int64
    encoded_MF: Float32


class Aggregation(Protocol):
    """A pair of functions: before sending, and at the coordinator."""

    def encoded(self, message_UF: Float32, number: int) -> Float32:
        """What a party sends in round ``number``, (M, F)."""

    def summed(self, contributions: Sequence[Contribution], shape: tuple[int, int]) -> Float32:
        """The sum of the messages, ``shape`` is (joint rows, F)."""


@dataclass(frozen=True)
class PlainSum:
    """Messages as they are, summed in float32 in the order of the parties, as one process does."""

    def encoded(self, message_UF: Float32, number: int) -> Float32:
        """The message itself."""
        return message_UF

    def summed(self, contributions: Sequence[Contribution], shape: tuple[int, int]) -> Float32:
        """As in :class:`Aggregation`."""
        sum_UF = np.zeros(shape, np.float32)
        for each in contributions:
            sum_UF[each.place_M] += each.encoded_MF  # a party has every place once
        return sum_UF
