"""What a two-stream auto-encoder learns from: rebuilding people, and telling each of them from a crowd.

For a batch of people with rows E_i, rebuilt as Ê_i and from the stream in which some are blanked out as Ê'_i
(:mod:`landbridge.models.parts.autoencoder`),

    mean_i α (‖Ê_i - E_i‖² + ‖Ê'_i - E_i‖²)  +  mean_i ℓ_i                                             (1)

with ℓ_i of :mod:`landbridge.models.parts.losses` at a temperature for all, or at everybody's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from landbridge.models.parts import losses
from landbridge.models.parts.autoencoder import AutoEncoder
from landbridge.models.parts.crowd import stand_out
from landbridge.models.parts.temperature import Temperatures

if TYPE_CHECKING:
    from torch import Tensor

Contrast = Callable[[Any, Any, Any], Any]  # people (B,), their codes (B, L) in both streams -> ℓ (B,)


@dataclass(frozen=True)
class DualStream:
    """``contrast``: ℓ of Eq. (1); None: the plain stream is rebuilt, and nothing else."""

    encoder: AutoEncoder
    alpha: float
    contrast: Contrast | None

    def terms(
        self, layers: Mapping[str, Tensor], rows_BF: Tensor, users_B: Tensor, kept_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Ê (B, F), and the terms of Eq. (1); in a crowd of one there is nobody to be told from."""
        if self.contrast is None:
            rebuilt_BF = self.encoder.decode(layers, self.encoder.encode(layers, rows_BF))
            return rebuilt_BF, {"rebuilt": losses.reconstruction(rows_BF, rebuilt_BF).mean()}
        streams = self.encoder.streams(layers, rows_BF, kept_B)
        distance_B = losses.reconstruction(rows_BF, streams.rebuilt_BF, streams.blanked_rebuilt_BF)
        terms = {"rebuilt": self.alpha * distance_B.mean()}  # Eq. (1)
        if len(rows_BF) > 1:
            contrast_B = self.contrast(users_B, streams.code_BL, streams.blanked_code_BL)
            terms["contrast"] = contrast_B.mean()  # Eq. (1)
        return streams.rebuilt_BF, terms


def at_one_temperature(tau: float) -> Contrast:
    """The sum form of ℓ at the same fixed temperature for everybody."""

    def contrast(users_B: Tensor, code_BL: Tensor, blanked_BL: Tensor) -> Tensor:
        tau_B = code_BL.new_full((len(users_B),), tau)
        log_g_B, _ = stand_out(code_BL, blanked_BL, tau_B)
        return losses.contrastive(log_g_B, tau_B, math.log(len(users_B) - 1))

    return contrast


def at_own_temperatures(temperatures: Temperatures) -> Contrast:
    """ℓ at everybody's own temperature, which it moves."""
    rule = temperatures.rule

    def contrast(users_B: Tensor, code_BL: Tensor, blanked_BL: Tensor) -> Tensor:
        n = len(users_B) - 1
        log_g_B, kl_B = stand_out(code_BL, blanked_BL, temperatures.tau_U[users_B])
        tau_B, log_s_B = temperatures.advance(users_B, log_g_B, kl_B, n)
        if rule.tracking < 1:
            return losses.tracked(log_g_B, tau_B, rule.rho(n), log_s_B)
        return losses.contrastive(log_g_B, tau_B, rule.rho(n))

    return contrast
