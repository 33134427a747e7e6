"""How the losses of several domains become one: weights as a function of the losses.

A weighting is a value. What it has to remember from step to step is an array mapping that it is given and
gives back, so that it is part of a checkpoint like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from landbridge.errors import SettingsError, unknown

State = dict[str, npt.NDArray[Any]]


class Weighting(Protocol):
    """Weights for one step.

    ``losses``: domain -> scalar tensor that still has its graph, so that gradients may be asked for;
    ``parameters``: those of the phase, by name; ``state``: what the last call gave, empty at the first.
    """

    def weigh(
        self, losses: Mapping[str, Any], parameters: Mapping[str, Any], state: State
    ) -> tuple[dict[str, float], State]:
        """Domain -> weight of its loss, and what is to be remembered."""


@dataclass(frozen=True)
class Uniform:
    """Every domain's loss counts once."""

    def weigh(
        self, losses: Mapping[str, Any], parameters: Mapping[str, Any], state: State
    ) -> tuple[dict[str, float], State]:
        """Ones."""
        return dict.fromkeys(losses, 1.0), state


@dataclass(frozen=True)
class Fixed:
    """Weights given beforehand, one for every domain that has a loss."""

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        for domain, weight in self.weights.items():
            if not 0 <= weight < np.inf:
                raise SettingsError(f"The weight of {domain!r} must be 0 or more and finite, not {weight}.")
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))

    def weigh(
        self, losses: Mapping[str, Any], parameters: Mapping[str, Any], state: State
    ) -> tuple[dict[str, float], State]:
        """As given; SettingsError for a domain without a weight."""
        for domain in losses:
            if domain not in self.weights:
                raise SettingsError(unknown("domain in the weights", domain, self.weights))
        return {domain: self.weights[domain] for domain in losses}, state
