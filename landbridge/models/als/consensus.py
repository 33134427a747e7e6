"""Settings of CDIMF's consensus: how ADMM runs, and which users it ties (:mod:`landbridge.models.als.cdimf`).

In epoch e of the ADMM variant, with a warm-up of w epochs and a growth of g, the penalty is

    ρ_e = ρ g^{e-w}      e ≥ w, else 0                                                                 (1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from landbridge.core.settings import Settings, setting


@dataclass(frozen=True)
class ADMM(Settings):
    """The rounds that bring the domains to agree."""

    rho: float = setting(
        0.1, "Penalty that ties a user's embeddings to the consensus; 0: separate ALS.", low=0, symbol="ρ"
    )
    rho_warmup: int = setting(1, "First epochs without the penalty ρ.", low=0)
    rho_growth: float = setting(1.0, "Factor on ρ per epoch after the warm-up.", above=0)
    inner_sweeps: int = setting(5, "Rounds (1) to (4) per exchange between the domains.", low=1, symbol="K")
    tolerance: float = setting(1e-5, "Gap and shift at which the last rounds of parties end.", above=0)
    variant: Literal["admm", "paper_code"] = setting("admm", "ADMM, or the published program, Eq. (6).")
    on_divergence: Literal["stop", "log"] = setting(
        "stop", "What a growing consensus gap of the published program does: an error, or a record."
    )

    @property
    def exact(self) -> bool:
        """Whether this is ADMM and not the published program."""
        return self.variant == "admm"

    def warming_up(self, epoch: int) -> bool:
        """Whether the penalty is still left out; the published program has no warm-up."""
        return self.exact and epoch < self.rho_warmup

    def grown_rho(self, epoch: int) -> float:
        """The penalty ρ of an epoch after the warm-up."""
        return self.rho * self.rho_growth ** max(0, epoch - self.rho_warmup)  # Eq. (1)

    def rho_in(self, epoch: int) -> float:
        """The penalty ρ in an epoch, 0 while warming up."""
        return 0.0 if self.warming_up(epoch) else self.grown_rho(epoch)


@dataclass(frozen=True)
class Consensus(Settings):
    """Who takes part in the consensus z, how often it is made, and its penalty."""

    domains: Literal["all", "active"] = setting(
        "all", "A user takes part in all domains, or in those in which they have events."
    )
    shared_fraction: float = setting(1.0, "Share of the overlapping users that is tied.", low=0, high=1)
    every: int = setting(1, "Epochs between exchanges.", low=1)
    reg: float = setting(0.0, "L2 penalty of the consensus.", low=0, symbol="λ_z")
