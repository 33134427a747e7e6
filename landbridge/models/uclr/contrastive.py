"""UCLR's loss: reconstruction, and InfoNCE with one temperature per user.

Source: UCLR (Yang et al., WWW 2024, Eqs. 3-5). A batch of B users has embeddings E_i, reconstructed as Ê_i
and, from the masked stream, as Ê'_i (:mod:`landbridge.models.uclr.autoencoder`), and two codes per user, e_i
and e'_i. A step minimises

    mean_i α (‖Ê_i - E_i‖² + ‖Ê'_i - E_i‖²)  +  mean_i ℓ_i                                             (1)

or the two sums, with ℓ_i of :mod:`landbridge.models.common.losses` at one temperature for all users or at
one per user. The anchor of ℓ_i is e_i, its positive is the same user's e'_i, and its n = B - 1 negatives are
the other users' e'_k. With p_i = softmax(h_i/τ_i),

    h_i(k) = cos(e_i, e'_k) - cos(e_i, e'_i),   k ≠ i                                                  (2)
    log g_i = log 1/n Σ_{k≠i} exp(h_i(k)/τ_i)                                                          (3)
    KL_i = Σ_{k≠i} p_i(k) (log p_i(k) + log n)   ∈ [0, log n]                                          (4)
    ∂ log g_i / ∂cos(e_i, e'_k) = p_i(k)/τ_i,   ∂ log g_i / ∂cos(e_i, e'_i) = -1/τ_i                   (5)

Numerics: exponents are relative to each user's largest gap, so τ = 1e-5 neither overflows nor loses digits.
Memory: the B × B matrix p is kept for (5); it is computed in blocks of rows that fit the cache, and is
written and read once.

Letters: B users, R rows of a block, L numbers of a code, F factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from landbridge.core.errors import DataError
from landbridge.models.common import losses
from landbridge.models.uclr.autoencoder import AutoEncoder
from landbridge.models.uclr.temperature import Temperatures
from landbridge.training.torch_backend import torch

if TYPE_CHECKING:
    from torch import Tensor

COSINE_EPS = 1e-8  # as in torch's cosine_similarity
BLOCK_NUMBERS = 1 << 17  # of a block of rows of p: 512 KiB
# users (B,), their codes (B, L) in both streams -> ℓ (B,)
Contrast = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class DualStream:
    """The loss of Eq. (1). ``contrast``: ℓ, or None for the reconstruction of the plain stream only.

    ``reduction``: "mean" over the users of a batch, or "sum".
    """

    encoder: AutoEncoder
    alpha: float
    contrast: Contrast | None
    reduction: str = "mean"

    def terms(
        self, layers: Mapping[str, Tensor], rows_BF: Tensor, users_B: Tensor, kept_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Ê (B, F), and the terms of Eq. (1); without the contrast for one user, who has no negatives."""
        if self.contrast is None:
            rebuilt_BF = self.encoder.decode(layers, self.encoder.encode(layers, rows_BF))
            return rebuilt_BF, {"rebuilt": self._reduced(losses.reconstruction(rows_BF, rebuilt_BF))}
        streams = self.encoder.streams(layers, rows_BF, kept_B)
        distance_B = losses.reconstruction(rows_BF, streams.rebuilt_BF, streams.blanked_rebuilt_BF)
        terms = {"rebuilt": self.alpha * self._reduced(distance_B)}  # Eq. (1)
        if len(rows_BF) > 1:
            contrast_B = self.contrast(users_B, streams.code_BL, streams.blanked_code_BL)
            terms["contrast"] = self._reduced(contrast_B)  # Eq. (1)
        return streams.rebuilt_BF, terms

    def _reduced(self, values_B: Tensor) -> Tensor:
        return losses.reduced(values_B, self.reduction)


def fixed_temperature(tau: float) -> Contrast:
    """The sum form of ℓ at the same fixed temperature for every user."""

    def contrast(users_B: Tensor, code_BL: Tensor, blanked_BL: Tensor) -> Tensor:
        tau_B = code_BL.new_full((len(users_B),), tau)
        log_g_B, _ = log_partition_and_kl(code_BL, blanked_BL, tau_B)
        return losses.contrastive(log_g_B, tau_B, math.log(len(users_B) - 1))

    return contrast


def user_temperatures(temperatures: Temperatures) -> Contrast:
    """ℓ at each user's own temperature; every call also updates the temperatures."""
    rule = temperatures.rule

    def contrast(users_B: Tensor, code_BL: Tensor, blanked_BL: Tensor) -> Tensor:
        n = len(users_B) - 1
        log_g_B, kl_B = log_partition_and_kl(code_BL, blanked_BL, temperatures.tau_U[users_B])
        # Algorithm 1: temperatures move first, but the network's gradient takes those from before the move
        tau_B, log_s_B = temperatures.advance(users_B, log_g_B, kl_B, n)
        if rule.partition_ema < 1:
            return losses.log_ratio_estimate(log_g_B, tau_B, rule.rho(n), log_s_B)
        return losses.contrastive(log_g_B, tau_B, rule.rho(n))

    return contrast


def log_partition_and_kl(anchor_BL: Tensor, other_BL: Tensor, tau_B: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE's log g, Eq. (3), differentiable in the codes at constant τ, and its KL, Eq. (4), each (B,).

    DataError for fewer than two users.
    """
    from torch.nn.functional import normalize

    if len(anchor_BL) < 2:
        raise DataError(
            "A contrastive batch needs two users or more: raise batch_size or drop the last batch."
        )
    log_g_B, kl_B = _function().apply(
        normalize(anchor_BL, eps=COSINE_EPS), normalize(other_BL, eps=COSINE_EPS), tau_B.detach()
    )
    return log_g_B, kl_B


@cache
def _function() -> type[torch.autograd.Function]:
    """Eqs. (3)-(5) as an autograd function, made when torch is first needed."""

    class LogPartition(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, anchor_BL: Tensor, other_BL: Tensor, tau_B: Tensor) -> tuple[Tensor, Tensor]:
            size = len(anchor_BL)
            p_BB = anchor_BL.new_empty((size, size))
            log_g_B, kl_B = torch.empty_like(tau_B), torch.empty_like(tau_B)
            step = max(BLOCK_NUMBERS // size, 1)
            for start in range(0, size, step):
                here = slice(start, start + step)
                rows = _Rows(p_BB[here], log_g_B[here], kl_B[here])
                _write_block(anchor_BL[here], other_BL, tau_B[here], start, rows)
            ctx.save_for_backward(anchor_BL, other_BL, tau_B, p_BB)
            ctx.mark_non_differentiable(kl_B)
            return log_g_B, kl_B

        @staticmethod
        def backward(ctx: Any, grad_B: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
            anchor_BL, other_BL, tau_B, p_BB = ctx.saved_tensors
            scale_B1 = (grad_B / tau_B).unsqueeze(1)
            return scale_B1 * (p_BB @ other_BL), p_BB.T @ (scale_B1 * anchor_BL), None  # Eq. (5)

    return LogPartition


class _Rows(NamedTuple):
    """A block of rows of the results, views to write into: p, log g and KL."""

    p_RB: Tensor
    log_g_R: Tensor
    kl_R: Tensor


def _write_block(anchor_RL: Tensor, other_BL: Tensor, tau_R: Tensor, start: int, rows: _Rows) -> None:
    """Write a block of rows of p, with -1 at the user's own entry, and their log g and KL in place."""
    p_RB, n = rows.p_RB, len(other_BL) - 1
    gap_RB = anchor_RL @ other_BL.T
    own_R = gap_RB.diagonal(start).clone()
    gap_RB.sub_(own_R.unsqueeze(1)).div_(tau_R.unsqueeze(1))  # Eq. (2) over τ
    gap_RB.diagonal(start).fill_(-math.inf)
    top_R = gap_RB.amax(dim=1)
    gap_RB.sub_(top_R.unsqueeze(1))
    torch.exp(gap_RB, out=p_RB)
    gap_RB.diagonal(start).zero_()  # p is 0 there, and 0 · (-∞) in the sum of Eq. (4) would be NaN
    total_R = p_RB.sum(dim=1)
    p_RB.div_(total_R.unsqueeze(1))
    rows.log_g_R.copy_(top_R + total_R.log() - math.log(n))  # Eq. (3)
    rows.kl_R.copy_(math.log(n) - total_R.log() + gap_RB.mul_(p_RB).sum(dim=1))  # Eq. (4)
    p_RB.diagonal(start).fill_(-1)  # the positive's factor in Eq. (5): one product then gives both parts
