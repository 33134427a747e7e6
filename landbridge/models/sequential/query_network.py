"""The way from a user's events to their vector as a function of torch, for export.

With the state q_u and the temperature T of :mod:`landbridge.models.sequential.fitted`, and the weight w of
popularity that the cold policy gives a user without events in the domain,

    vector = [x, w],   x = q_u   or   q_u / (‖q_u‖ T)                                                    (1)

The function takes histories of any length W, oldest event first and -1 behind the last, and reads the last L
events of each. The gaps, which :mod:`landbridge.data.sampling.sequences` computes by a logarithm, are counted
in whole numbers:

    gap = 1 + ⌊log₂(1 + Δ)⌋ = 1 + #{k ≥ 1: 1 + Δ ≥ 2^k}                                                  (2)

Letters: B users, W events of a history, L positions, F factors, K powers of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from landbridge.core.types import Float32
from landbridge.data.sampling.sequences import GAPS
from landbridge.models.sequential.cross_domain import CrossDomain
from landbridge.models.sequential.transformer import LEAST_NORM, Encoder, Reading
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor


BEHIND = 1 << 31  # more than the events of any history


@dataclass(frozen=True, eq=False)
class SequenceNetwork:
    """The :class:`~landbridge.models.base.QueryNetwork` of a sequence model towards one domain.

    ``weights``: those of the model. ``domain_I``: the domain of each item; ``number``: the domain's.
    ``empty_G``: the vector of a user without events that the model reads. ``no_events``: what Eq. (1)
    multiplies x by and adds as w for a user without events in the domain.
    """

    encoder: Encoder
    cross_domain: CrossDomain
    weights: Mapping[str, Float32]
    temperature: float | None
    domain_I: Tensor
    number: int
    empty_G: Tensor
    no_events: tuple[float, float]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Item numbers, and times in seconds where the model reads them."""
        return ("items", "times") if self.encoder.time_gaps else ("items",)

    def vectors(self, weights: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
        """Eq. (1), (B, F + 1)."""
        inputs = inputs if self.cross_domain.mixed_history else self._own(inputs)
        item_BW, place_L = inputs[0], torch.arange(self.encoder.max_length)
        count_B1 = (item_BW >= 0).sum(dim=1, keepdim=True)
        place_BL = (count_B1 - self.encoder.max_length).clamp(min=0) + place_L
        read_BL = place_BL.clamp(max=item_BW.shape[1] - 1)
        item_BL = torch.where(place_BL < count_B1, item_BW.gather(1, read_BL), -1)
        # any item is read for a user without events, whose vector is replaced below
        item_BL = torch.where((count_B1 == 0) & (place_L == 0), 0, item_BL)
        gap_BL = gaps(inputs[1]).gather(1, read_BL) if self.encoder.time_gaps else None
        at_B = (
            torch.arange(len(item_BW)),
            (item_BL >= 0).sum(dim=1) - 1,
            torch.full((len(item_BW),), self.number),
        )
        state_BF = self.cross_domain.states(
            self.encoder, weights, Reading(item_BL, gap_BL), self.domain_I, at_B
        )
        if self.temperature is not None:
            state_BF = torch.nn.functional.normalize(state_BF, dim=-1, eps=LEAST_NORM) / self.temperature
        # not only of the events read: the cold policy counts all
        own_BW = (item_BW >= 0) & (self.domain_I[item_BW.clamp(min=0)] == self.number)
        own_B1 = own_BW.any(dim=1, keepdim=True)
        factor, weight = self.no_events
        vector_BG = torch.cat(
            [torch.where(own_B1, state_BF, factor * state_BF), torch.where(own_B1, 0.0, weight)], dim=1
        )  # Eq. (1)
        return torch.where(count_B1 == 0, self.empty_G, vector_BG)

    def _own(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The events of the domain alone, and the times of these."""
        item_BW = inputs[0]
        own_BW = (item_BW >= 0) & (self.domain_I[item_BW.clamp(min=0)] == self.number)
        # all differ, so that no sort has to keep the order of equals
        order_BW = (torch.arange(item_BW.shape[1]) + BEHIND * ~own_BW).argsort(dim=1)
        return (
            torch.where(own_BW, item_BW, -1).gather(1, order_BW),
            *(x.gather(1, order_BW) for x in inputs[1:]),
        )


def gaps(time_BW: Tensor) -> Tensor:
    """Eq. (2), (B, W); 0 for the first event."""
    power_K = 2 ** torch.arange(1, GAPS - 1)
    passed_BW1 = 1 + (time_BW[:, 1:] - time_BW[:, :-1])[:, :, None]
    gap_BW = 1 + (passed_BW1 >= power_K).sum(dim=2)
    return torch.cat([torch.zeros_like(time_BW[:, :1]), gap_BW], dim=1)
