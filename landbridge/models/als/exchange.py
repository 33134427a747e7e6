"""The exchange of a consensus round: what every domain sends, what is made of it, and what comes back.

A round has two steps. In the first, the messages of all domains make the consensus of the tied users,

    m_u^d = x_u^d + t_u^d                                   (all that ever leaves a domain)                (1)
    z_u   = Σ_d m_u^d / (D_u + λ_z / ρ)                     (D_u: the domains that sent a row of u)        (2)

In the second, every domain reports how far its embeddings are from the consensus, and all learn the sums over
the domains. A :class:`Channel` does both. In one process it is :class:`LocalChannel`, which copies nothing;
between processes it is a connection (:mod:`landbridge.federation`). CDIMF itself does not know which. With
``privacy`` (:mod:`landbridge.models.als.privacy`) a message is clipped and has noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from landbridge.core.mapped import zeros
from landbridge.core.rng import generator
from landbridge.core.types import Float32, Values
from landbridge.models.als.participants import DomainState
from landbridge.models.als.privacy import Privacy
from landbridge.training.epochs import State


@dataclass(frozen=True)
class Round:
    """A round: its number in the fit, from 0, and the penalty ρ of its messages.

    ``dual``: whether the duals t are updated after it.
    """

    number: int
    rho: float
    dual: bool = True


@dataclass(frozen=True)
class Residuals:
    """Sums of squares after a round, over the tied users.

    ``apart`` is Σ‖x - z‖² and ``tied`` Σ‖z‖², over users and domains; ``moved`` is Σ‖z - z_before‖² and
    ``norm`` Σ‖z‖², over users.
    """

    apart: float
    tied: float
    moved: float
    norm: float

    @property
    def gap(self) -> float:
        """How far the embeddings are from the consensus, relative to its size."""
        return float(np.sqrt(self.apart / self.tied)) if self.tied > 0 else 0.0

    @property
    def shift(self) -> float:
        """How far the consensus has moved, relative to its size."""
        return float(np.sqrt(self.moved / self.norm)) if self.norm > 0 else 0.0


class Channel(Protocol):
    """Joins the domains at hand with all that take part in the consensus."""

    @property
    def identity(self) -> Values:
        """What a checkpoint must match besides settings, data and seed."""

    def consensus(self, domains: Mapping[str, DomainState], state: State, current: Round) -> Float32:
        """The consensus z after this round's messages, Eq. (2), for the users at hand, (U, F)."""

    def residuals(
        self, current: Round, apart: float, tied: float, before_UF: Float32, after_UF: Float32
    ) -> Residuals:
        """The sums over all domains; ``apart`` and ``tied`` are those of the domains at hand, and
        ``before_UF`` and ``after_UF`` the consensus there before and after this round."""


@dataclass(frozen=True)
class LocalChannel:
    """All domains are in this process. ``reg``: λ_z; ``privacy`` and ``seed``: of what a domain sends."""

    reg: float
    privacy: Privacy = field(default_factory=Privacy)
    seed: int = 0

    @property
    def identity(self) -> Values:
        """Nothing else."""
        return {}

    def consensus(self, domains: Mapping[str, DomainState], state: State, current: Round) -> Float32:
        """As in :class:`Channel`."""
        return self.privacy.shrunk(*self.received(domains, state, current))

    def received(
        self, domains: Mapping[str, DomainState], state: State, current: Round
    ) -> tuple[Float32, Float32]:
        """Eq. (2) as it passes to the domains, (U, F), and the number of messages of each user, (U,)."""
        from landbridge.models.als import admm_kernels as kernels

        sum_UF = zeros(state["z"].shape, state["z"])
        count_U = np.zeros(len(sum_UF), np.float32)
        for name, domain in domains.items():
            if self.privacy.active:
                sum_UF[domain.users[domain.tied]] += self.message(name, domain, state, current)
            else:
                own = domain.users, domain.tied, state[f"x:{name}"], state[f"t:{name}"]
                kernels.add_messages(len(domain.users), *own, sum_UF)  # Eq. (1)
            count_U[domain.users[domain.tied]] += 1
        return consensus_of(sum_UF, count_U, self.reg, current.rho), count_U

    def message(self, name: str, domain: DomainState, state: State, current: Round) -> Float32:
        """What a domain sends in a round, Eq. (1), (M, F); the same in every call."""
        message_MF = message_of(domain, state[f"x:{name}"], state[f"t:{name}"])
        if not self.privacy.active:
            return message_MF
        return self.privacy.sent(message_MF, generator(self.seed, "privacy", name, str(current.number)))

    def residuals(
        self, current: Round, apart: float, tied: float, before_UF: Float32, after_UF: Float32
    ) -> Residuals:
        """As in :class:`Channel`."""
        return Residuals(apart, tied, *change(before_UF, after_UF))


def message_of(domain: DomainState, x_UF: Float32, t_UF: Float32) -> Float32:
    """The message of a domain, Eq. (1): one row for each of its tied users, (M, F)."""
    return np.asarray(x_UF[domain.tied] + t_UF[domain.tied])


def consensus_of(sum_UF: Float32, count_U: Float32, reg: float, rho: float) -> Float32:
    """Eq. (2), the minimum of λ_z/2 ‖z‖² + ρ/2 Σ ‖x + t - z‖², from the sums of messages and their numbers,
    in the memory of the sums; rows without a message are zero. (U, F)"""
    shrunk_U = count_U + reg / rho if rho > 0 else count_U
    sum_UF /= np.maximum(shrunk_U, 1)[:, None]
    return sum_UF


def change(before_UF: Float32, after_UF: Float32) -> tuple[float, float]:
    """‖after - before‖² and ‖after‖²."""
    from landbridge.models.als import admm_kernels as kernels

    moved_U, norm_U = kernels.squared_change(before_UF, after_UF)
    return float(moved_U.sum()), float(norm_U.sum())
