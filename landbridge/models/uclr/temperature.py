"""Per-user temperatures of the contrastive loss, updated by a moving average of their gradients.

Source: UCLR (Yang et al., WWW 2024, Algorithm 2). With log g and KL of
:mod:`landbridge.models.uclr.contrastive` over n negatives, F = τ_i (log g_i + ρ) has the derivative

    ∂F/∂τ_i = ρ - KL_i,   KL_i ∈ [0, log n]                                                            (1)

so ρ determines the equilibrium of a temperature:

- ρ = 0 ("uco", their Eqs. 9 and 14): the derivative is never positive; every τ rises to its upper bound.
- ρ = log n ("eq3", their Eq. 3): the derivative is the entropy of p; every τ falls until one negative
  dominates, or
  to its lower bound where several tie.
- between ("rgcl", Qiu et al., ICML 2023): τ settles where KL = ρ.

Algorithm 2 updates each user of the batch, with G the gradient (1) times ``grad_scale``:

    u_i ← (1 - β₀) u_i + β₀ G_i                                                                        (2)
    τ_i ← clip(τ_i - η u_i, low, high)                                                                 (3)

The log of a batch mean is biased. A moving average s of g (Yuan et al., ICML 2022) reduces the bias and
changes (1) to

    s_i ← (1 - γ) s_i + γ g_i,   s_i = g_i at the first visit                                          (4)
    ∂F/∂τ_i ≈ ρ + log s_i - g_i/s_i (KL + log g_i)                                                     (5)

clipped to [ρ - log n, ρ], the range of every exact gradient. With γ = 1 nothing is averaged and (5) is (1).

Letters: U users, B users of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
from landbridge.core.types import AnyArray
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

GROUPS: Mapping[str, int] = {
    "1": 1,
    "2": 2,
    "3": 3,
    "4-5": 4,
    "6-8": 6,
    "9-13": 9,
    "14-25": 14,
    "26-50": 26,
    "51+": 51,
}  # label -> least number of events in all domains; the nine groups of the paper's plot


@dataclass(frozen=True)
class TemperatureRule(Settings):
    """Settings of the temperature updates.

    If h is Gaussian, the distance of τ to its equilibrium is multiplied by 1 - 2ηρ/τ per step: it oscillates
    with an ``lr`` above τ/ρ.
    """

    objective: Literal["uco", "eq3", "rgcl"] = setting(
        "rgcl", "Where a temperature comes to rest: at its upper bound, its lower bound, or at KL = ρ."
    )
    radius: float = setting(0.4, "ρ of the objective rgcl as a share of log n.", low=0, high=1, symbol="ρ")
    start: float = setting(0.1, "Temperature at first, throughout in stage cl.", above=0, symbol="τ")
    lr: float = setting(0.01, "Step of the temperatures, Eq. (3).", low=0, symbol="η")
    gradient_ema: float = setting(
        0.9, "Weight of the new gradient in its moving average, Eq. (2).", above=0, high=1, symbol="β₀"
    )
    grad_scale: Literal["literal", "batch", "one"] = setting(
        "one", "Factor on the gradient: 1/|U|, 1/B or 1."
    )
    low: float = setting(1e-5, "Smallest temperature.", above=0)
    high: float = setting(1.0, "Largest temperature.", above=0)
    partition_ema: float = setting(
        1.0, "Weight of the new partition sum in its moving average, Eq. (4).", above=0, high=1, symbol="γ"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.start <= self.high:
            raise SettingsError(
                f"start is {self.start:g}, outside [{self.low:g}, {self.high:g}]: "
                "choose low <= start <= high."
            )

    def rho(self, negatives: int) -> float:
        """ρ of Eq. (1) for ``negatives`` = n."""
        share = {"uco": 0.0, "eq3": 1.0, "rgcl": self.radius}[self.objective]
        return share * math.log(negatives)

    def factor(self, users: int, batch: int) -> float:
        """The factor ``grad_scale`` of the gradient G in Eq. (2)."""
        return {"literal": 1 / users, "batch": 1 / batch, "one": 1.0}[self.grad_scale]


@dataclass(frozen=True, eq=False)
class Temperatures:
    """The temperature state of all users: τ, u of Eq. (2), log s of Eq. (4), each float32 (U,).

    It changes in place. log s is -inf before a user's first visit.
    """

    rule: TemperatureRule
    tau_U: Tensor
    average_U: Tensor
    log_mean_U: Tensor

    @classmethod
    def start(cls, rule: TemperatureRule, users: int, device: torch.device | str = "cpu") -> Temperatures:
        """Every user's τ at ``rule.start``, no user visited."""
        tau_U = torch.full((users,), rule.start, dtype=torch.float32, device=device)
        return cls(rule, tau_U, torch.zeros_like(tau_U), torch.full_like(tau_U, -math.inf))

    def copy(self) -> Temperatures:
        """An independent copy, for the adaptation to one domain."""
        return Temperatures(self.rule, *(values_U.clone() for values_U in self.buffers().values()))

    def buffers(self) -> dict[str, Tensor]:
        """The state by name, for checkpoints."""
        return {"tau": self.tau_U, "average": self.average_U, "log_mean": self.log_mean_U}

    def statistics(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation of τ."""
        return {"temperature": {"mean": float(self.tau_U.mean()), "sd": float(self.tau_U.std(correction=0))}}

    def advance(
        self, users_B: Tensor, log_g_B: Tensor, kl_B: Tensor, negatives: int
    ) -> tuple[Tensor, Tensor]:
        """One step of Algorithm 2 for the distinct users ``users_B`` with ``negatives`` = n; no autograd.

        ``log_g_B`` and ``kl_B`` are those at the present τ.

        Returns what the network's own step needs: τ before this step and log s after it, each (B,).
        """
        tau_B, log_g_B, kl_B = self.tau_U[users_B], log_g_B.detach(), kl_B.detach()
        log_s_B = _tracked(self.log_mean_U[users_B], log_g_B, self.rule.partition_ema)
        slope_B = gradient(log_g_B, kl_B, log_s_B, self.rule.rho(negatives), negatives)
        slope_B = slope_B * self.rule.factor(len(self.tau_U), len(tau_B))
        average_B = self.average_U[users_B].lerp(slope_B, self.rule.gradient_ema)  # Eq. (2)
        self.log_mean_U[users_B] = log_s_B
        self.average_U[users_B] = average_B
        self.tau_U[users_B] = (tau_B - self.rule.lr * average_B).clamp(
            self.rule.low, self.rule.high
        )  # Eq. (3)
        return tau_B, log_s_B


def by_activity(tau_U: npt.NDArray[np.float32], events_U: AnyArray) -> dict[str, dict[str, float]]:
    """Activity group -> mean and standard deviation of its users' τ, and the number of users.

    Users without events have no temperature; groups without users are left out.
    """
    group_U = np.searchsorted(list(GROUPS.values()), events_U, side="right") - 1
    groups = {}
    for number, label in enumerate(GROUPS):
        if len(own := tau_U[group_U == number].astype(np.float64)):
            groups[label] = {"mean": float(own.mean()), "sd": float(own.std()), "users": len(own)}
    return groups


def gradient(log_g_B: Tensor, kl_B: Tensor, log_s_B: Tensor, rho: float, negatives: int) -> Tensor:
    """Eq. (5), (B,), from log g, KL and log s over ``negatives`` = n; Eq. (1) exactly where s = g."""
    ratio_B = (log_g_B - log_s_B).exp()
    slope_B = rho + (log_s_B - log_g_B) + log_g_B * (1 - ratio_B) - ratio_B * kl_B  # Eq. (5)
    # the estimate of Eq. (5) can leave the range of exact gradients and would then throw τ far off
    return slope_B.clamp(rho - math.log(negatives), rho)


def _tracked(log_s_B: Tensor, log_g_B: Tensor, gamma: float) -> Tensor:
    """Eq. (4) in the log domain, (B,)."""
    if gamma == 1:
        return log_g_B
    mixed_B = (log_s_B + math.log1p(-gamma)).logaddexp(log_g_B + math.log(gamma))
    return log_g_B.where(log_s_B.isneginf(), mixed_B)
