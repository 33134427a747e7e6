"""A temperature per user, moved by a running average of its own gradient.

With log g and KL of :mod:`landbridge.models.uclr.contrastive` over n negatives, F = τ_i (log g_i + ρ) has

    ∂F/∂τ_i = ρ - KL_i,   KL_i ∈ [0, log n]                                                            (1)

so ρ says where a temperature comes to rest. ρ = 0 ("uco", Eq. 9 and 14 of Yang et al. 2024): the slope is
never positive and every τ climbs to its upper bound. ρ = log n ("eq3", their Eq. 3): the slope is the
entropy of p and every τ falls until one competitor stands alone, to its lower bound where several tie.
Between them ("rgcl", Qiu et al. 2023) a τ rests where KL = ρ. Algorithm 2 moves each user of the batch,
with G the gradient (1) times ``grad_scale``:

    u_i ← (1 - β₀) u_i + β₀ G_i                                                                        (2)
    τ_i ← clip(τ_i - η u_i, low, high)                                                                 (3)

The log of a batch mean is biased; a running mean (Yuan et al. 2022) repairs that and changes (1) to

    s_i ← (1 - γ) s_i + γ g_i,   s_i = g_i at the first visit                                          (4)
    ∂F/∂τ_i ≈ ρ + log s_i - g_i/s_i (KL + log g_i)                                                     (5)

kept inside [ρ - log n, ρ], where every exact gradient lies. γ = 1 tracks nothing and (5) is (1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
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
}  # label -> fewest events in all domains; nine, as in the figure of the paper


@dataclass(frozen=True)
class TemperatureRule(Settings):
    """How temperatures move.

    Near its rest a τ's distance shrinks by 1 - 2ηρ/τ a step where h is Gaussian: an ``lr`` above τ/ρ makes
    it swing.
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
                f"Temperatures start at {self.start:g}, outside [{self.low:g}, {self.high:g}]: "
                "choose low <= start <= high."
            )

    def rho(self, negatives: int) -> float:
        """ρ of Eq. (1) for ``negatives`` = n."""
        share = {"uco": 0.0, "eq3": 1.0, "rgcl": self.radius}[self.objective]
        return share * math.log(negatives)

    def factor(self, users: int, batch: int) -> float:
        """What the gradient is multiplied by."""
        return {"literal": 1 / users, "batch": 1 / batch, "one": 1.0}[self.grad_scale]


@dataclass(frozen=True, eq=False)
class Temperatures:
    """The state of every user, float32 and changed in place: τ, u of Eq. (2), log s of Eq. (4)
    (-inf before the first visit), each (U,)."""

    rule: TemperatureRule
    tau_U: Tensor
    average_U: Tensor
    log_mean_U: Tensor

    @classmethod
    def start(cls, rule: TemperatureRule, users: int, device: torch.device | str = "cpu") -> Temperatures:
        """Every user at ``rule.start``, none visited."""
        tau_U = torch.full((users,), rule.start, dtype=torch.float32, device=device)
        return cls(rule, tau_U, torch.zeros_like(tau_U), torch.full_like(tau_U, -math.inf))

    def copy(self) -> Temperatures:
        """The same, to be moved on its own."""
        return Temperatures(self.rule, *(values_U.clone() for values_U in self.buffers().values()))

    def buffers(self) -> dict[str, Tensor]:
        """What moves, by name."""
        return {"tau": self.tau_U, "average": self.average_U, "log_mean": self.log_mean_U}

    def figures(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation of τ."""
        return {"temperature": {"mean": float(self.tau_U.mean()), "sd": float(self.tau_U.std(correction=0))}}

    def advance(
        self, users_B: Tensor, log_g_B: Tensor, kl_B: Tensor, negatives: int
    ) -> tuple[Tensor, Tensor]:
        """One step of Algorithm 2 for the distinct users ``users_B`` with ``negatives`` = n; no autograd.

        ``log_g_B`` and ``kl_B`` are those at the present τ.

        Returns what the network's own step takes: τ before this step and log s after it, each (B,).
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


def by_activity(tau_U: npt.NDArray[np.float32], events_U: npt.NDArray[Any]) -> dict[str, dict[str, float]]:
    """Group of users with similar numbers of events -> mean and sd of their τ, and how many they are.

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
    return slope_B.clamp(rho - math.log(negatives), rho)


def _tracked(log_s_B: Tensor, log_g_B: Tensor, gamma: float) -> Tensor:
    """Eq. (4) in the log domain, (B,)."""
    if gamma == 1:
        return log_g_B
    mixed_B = (log_s_B + math.log1p(-gamma)).logaddexp(log_g_B + math.log(gamma))
    return log_g_B.where(log_s_B.isneginf(), mixed_B)
