"""Loss weighting for multi-domain training: constant, random, and uncertainty weights, and learning rates.

A weighting gives each domain's loss L_d one weight w_d per training step; the network minimises Σ_d w_d L_d.
A weighting is an immutable value. What changes from step to step is its state, a mapping of arrays that is
passed in and returned, so that a checkpoint can store it.

Uncertainty weighting (Kendall, Gal and Cipolla, CVPR 2018, Section 3.2, the form for classification) learns
s_d = ln σ_d² by gradient descent with step η on

    F = Σ_d exp(-s_d) L_d + s_d / 2                                                                    (1)
    s_d ← s_d - η max(1/2 - exp(-s_d) L_d, -1),   |s_d| ≤ 10                                           (2)

The weight is w_d = exp(-s_d). The bounds in Eq. (2) are ours: a single huge loss moves s_d by at most η.

Letters: D domains, N random weightings or sets of rates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.rng import generator
from landbridge.training.epochs import State
from landbridge.training.gradients import Losses

if TYPE_CHECKING:
    from torch import Tensor

LogValues = Mapping[str, float | Mapping[str, float]]  # name -> value, or domain -> value

MAX_LR_FACTOR = 10.0  # a domain's own learning rate is between 1/10 of the method's and 10 times it
MAX_LOG_VARIANCE = 10.0  # of |s|: beyond it exp(-s) is so large or small that training cannot recover


class Weighting(Protocol):
    """Weights of the domains' losses for one step.

    By default no gradients are needed, nothing is logged and the learning rate is unchanged.
    """

    @property
    def gradient_parameter(self) -> str | None:
        """Name of the parameter at which ``weights`` takes gradients; views of it make that cheap."""
        return None

    def weights(
        self, losses: Losses, parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """Domain -> weight of its loss, and the state after this step.

        ``losses``: domain -> scalar tensor, with access to their gradients; ``parameters``: those of the
        phase, by name; ``state``: what the previous call returned, empty at the first.
        """

    def lr_factors(self, state: State) -> Mapping[str, float]:
        """Name of a parameter -> factor of its learning rate in this step; others have 1."""
        return {}

    def log_values(self, state: State) -> LogValues:
        """Values to log after an epoch: name -> value, or name -> domain -> value."""
        return {}


@dataclass(frozen=True)
class Uniform(Weighting):
    """Every domain's loss has weight 1."""

    def weights(
        self, losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """Ones."""
        return dict.fromkeys(losses, 1.0), state


@dataclass(frozen=True)
class Fixed(Weighting):
    """Constant weights, one for every domain that has a loss."""

    by_domain: Mapping[str, float]

    def __post_init__(self) -> None:
        for domain, weight in self.by_domain.items():
            if not 0 <= weight < np.inf:
                raise SettingsError(
                    f"The weight of domain {domain!r} must be 0 or more and finite, not {weight}."
                )
        # the dataclass is frozen; a read-only copy keeps the caller from changing weights during a fit
        object.__setattr__(self, "by_domain", MappingProxyType(dict(self.by_domain)))

    def weights(
        self, losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """The constant weights; SettingsError for a domain without one."""
        for domain in losses:
            if domain not in self.by_domain:
                raise SettingsError(unknown("domain in the weights", domain, self.by_domain))
        return {domain: self.by_domain[domain] for domain in losses}, state

    def log_values(self, state: State) -> LogValues:
        """``weight`` by domain."""
        return {"weight": dict(self.by_domain)}


def random_weightings(domains: Sequence[str], number: int = 10, seed: int = 0) -> tuple[Fixed, ...]:
    """Random weights from the flat Dirichlet distribution times the number of domains, as a control.

    The first ones are the same for every ``number``.
    """
    # a flat Dirichlet is uniform on the simplex: every direction of the trade-off is equally likely
    share_ND = generator(seed, "random weightings").dirichlet(np.ones(len(domains)), number)
    return tuple(
        Fixed(dict(zip(domains, weight_D.tolist(), strict=True))) for weight_D in len(domains) * share_ND
    )


@dataclass(frozen=True)
class DomainRates(Weighting):
    """Every domain's loss has weight 1, and the parameters of each domain a learning rate of their own.

    ``by_domain``: factors of the learning rate, above 0, 1 where none is given. ``own``: the names of each
    domain's own parameters; what several domains share keeps the learning rate of the method.
    """

    by_domain: Mapping[str, float]
    own: Mapping[str, Collection[str]]

    def __post_init__(self) -> None:
        for domain, factor in self.by_domain.items():
            if not 0 < factor < np.inf:
                raise SettingsError(
                    f"The learning rate factor of domain {domain!r} must be above 0 and finite, not {factor}."
                )
        for key in ("by_domain", "own"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))

    def weights(
        self, losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """Ones."""
        return dict.fromkeys(losses, 1.0), state

    def lr_factors(self, state: State) -> Mapping[str, float]:
        """The factor of its domain for every parameter that is a domain's own."""
        return {name: self._factor(domain) for domain, names in self.own.items() for name in names}

    def log_values(self, state: State) -> LogValues:
        """``pace``, the factor, by domain."""
        return {"pace": {domain: self._factor(domain) for domain in self.own}}

    def _factor(self, domain: str) -> float:
        return self.by_domain.get(domain, 1.0)


def random_rates(domains: Sequence[str], number: int = 10, seed: int = 0) -> tuple[dict[str, float], ...]:
    """Random factors of learning rates by domain, log-uniform between 1/10 and 10, as a control.

    The first ones are the same for every ``number``.
    """
    log_ND = generator(seed, "random rates").uniform(-1, 1, (number, len(domains))) * np.log(MAX_LR_FACTOR)
    return tuple(dict(zip(domains, rate_D.tolist(), strict=True)) for rate_D in np.exp(log_ND))


@dataclass(frozen=True)
class Uncertainty(Weighting):
    """Uncertainty weighting: weights exp(-s_d) of Eq. (1), which converge to 1/(2 L_d); ``lr`` is η.

    The weights have no fixed sum.
    """

    lr: float = 0.025

    def __post_init__(self) -> None:
        within("lr", self.lr, 0, np.inf)

    def weights(
        self, losses: Mapping[str, Tensor], parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """The weights before this step; a domain without a loss keeps its s."""
        s_of = {domain: float(state[domain][0]) if domain in state else 0.0 for domain in losses}
        weights = {domain: exp(-s) for domain, s in s_of.items()}
        # ∂F/∂s of Eq. (1)
        numbers = Losses.of(losses, parameters).numbers
        slopes = {domain: 0.5 - weights[domain] * number for domain, number in numbers.items()}
        moved = {domain: s - self.lr * max(slopes[domain], -1.0) for domain, s in s_of.items()}  # Eq. (2)
        bounded = {domain: np.clip([s], -MAX_LOG_VARIANCE, MAX_LOG_VARIANCE) for domain, s in moved.items()}
        # domains without a loss in this batch are not in ``bounded`` and keep their previous s
        return weights, {**state, **bounded}

    def log_values(self, state: State) -> LogValues:
        """``weight`` by domain."""
        return {"weight": {domain: exp(-s_1[0]) for domain, s_1 in state.items()}} if state else {}


def within(key: str, value: float, least: float, below: float) -> None:
    """Raise SettingsError unless ``least`` <= ``value`` < ``below``."""
    if not least <= value < below:
        raise SettingsError(f"{key} must be {least} or more and below {below}, not {value}.")
