"""How the losses of several domains become one: weights as a function of the losses.

A weighting is a value. What it has to remember from step to step is an array mapping that it is given and
gives back, so that it is part of a checkpoint like everything else.

Uncertainty (Kendall, Gal and Cipolla, CVPR 2018), the form for classification, with learned s_d = ln σ_d²:

    Σ_d exp(-s_d) L_d + s_d/2,   s_d ← s_d - η max(½ - exp(-s_d) L_d, -1),   |s_d| ≤ 10               (1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.training.gradients import Losses

State = dict[str, npt.NDArray[Any]]

WIDEST = 10.0  # of |s|


class Weighting(Protocol):
    """Weights for one step; by default no gradients are needed, nothing is logged and the step length is
    unchanged."""

    @property
    def looks_at(self) -> str | None:
        """Name of the parameter at which gradients are needed: views of it make that cheap."""
        return None

    def weigh(
        self, losses: Losses, parameters: Mapping[str, Any], state: State
    ) -> tuple[dict[str, float], State]:
        """Domain -> weight of its loss, and what is to be remembered.

        ``losses``: domain -> scalar tensor, of which gradients may be needed; ``parameters``: those of
        the phase, by name; ``state``: what the last call gave, empty at the first.
        """

    def paces(self, state: State) -> Mapping[str, float]:
        """Name of a parameter -> factor of its step length (lr) in this step; others have 1."""
        return {}

    def facts(self, state: State) -> Mapping[str, Any]:
        """What is put on record after an epoch: figure -> number, or domain -> number."""
        return {}


@dataclass(frozen=True)
class Uniform(Weighting):
    """Every domain's loss counts once."""

    def weigh(
        self, losses: Mapping[str, Any], parameters: Mapping[str, Any], state: State
    ) -> tuple[dict[str, float], State]:
        """Ones."""
        return dict.fromkeys(losses, 1.0), state


@dataclass(frozen=True)
class Fixed(Weighting):
    """Fixed weights, one for every domain that has a loss."""

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

    def facts(self, state: State) -> Mapping[str, Any]:
        """``weight`` by domain."""
        return {"weight": dict(self.weights)}


def random_weightings(domains: Sequence[str], number: int = 10, seed: int = 0) -> tuple[Fixed, ...]:
    """Weights drawn from the flat Dirichlet distribution times the number of domains, a control by search.

    The first ones do not depend on ``number``.
    """
    share_ND = generator(seed, "random weightings").dirichlet(np.ones(len(domains)), number)
    return tuple(
        Fixed(dict(zip(domains, weight_D.tolist(), strict=True))) for weight_D in len(domains) * share_ND
    )


@dataclass(frozen=True)
class Uncertainty(Weighting):
    """Weights exp(-s_d), Eq. (1), that come to 1/(2 L_d); ``lr`` is η. They have no fixed sum."""

    lr: float = 0.025

    def __post_init__(self) -> None:
        within("lr", self.lr, 0, np.inf)

    def weigh(
        self, losses: Mapping[str, Any], parameters: Mapping[str, Any], state: State
    ) -> tuple[dict[str, float], State]:
        """The weights before this step; a domain without a loss keeps its s."""
        spread = {domain: float(state[domain][0]) if domain in state else 0.0 for domain in losses}
        weights = {domain: exp(-s) for domain, s in spread.items()}
        slopes = {domain: 0.5 - weights[domain] * float(loss.detach()) for domain, loss in losses.items()}
        moved = {domain: s - self.lr * max(slopes[domain], -1.0) for domain, s in spread.items()}  # Eq. (1)
        kept = {domain: np.clip([s], -WIDEST, WIDEST) for domain, s in moved.items()}
        return weights, {**state, **kept}

    def facts(self, state: State) -> Mapping[str, Any]:
        """``weight`` by domain."""
        return {"weight": {domain: exp(-s_1[0]) for domain, s_1 in state.items()}} if state else {}


def within(key: str, value: float, least: float, below: float) -> None:
    """SettingsError for a setting that is not between the two."""
    if not least <= value < below:
        raise SettingsError(f"{key} must be {least} or more and below {below}, not {value}.")
