"""How a person stands out from a crowd: one pass over all pairs of a batch, and its gradient.

A batch of B people has two codes of each, e_i and e'_i. The anchor is e_i, her positive is her own e'_i, her
n = B - 1 negatives are the others' e'_k. With p_i = softmax(h_i/τ_i),

    h_i(k) = cos(e_i, e'_k) - cos(e_i, e'_i),   k ≠ i                                                  (1)
    log g_i = log 1/n Σ_{k≠i} exp(h_i(k)/τ_i)                                                          (2)
    KL_i = Σ_{k≠i} p_i(k) (log p_i(k) + log n)   ∈ [0, log n]                                          (3)
    ∂ log g_i / ∂cos(e_i, e'_k) = p_i(k)/τ_i,   ∂ log g_i / ∂cos(e_i, e'_i) = -1/τ_i                   (4)

Everything is measured from a person's largest gap, so that τ = 1e-5 neither overflows nor costs digits, in
blocks of rows that stay in the cache: the B × B numbers p, kept for (4), are written and read once.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from landbridge.errors import DataError
from landbridge.training.neural import torch

if TYPE_CHECKING:
    from torch import Tensor

COSINE_EPS = 1e-8
BLOCK_NUMBERS = 1 << 17  # of a block of rows: 512 KiB


def stand_out(anchor_BL: Tensor, other_BL: Tensor, tau_B: Tensor) -> tuple[Tensor, Tensor]:
    """log g, differentiable in the codes at held τ, and the KL, each (B,).

    DataError for fewer than two people.
    """
    from torch.nn.functional import normalize

    if len(anchor_BL) < 2:
        raise DataError(
            "A contrastive batch needs two people or more: raise batch_size or drop the last batch."
        )
    log_g_B, kl_B = _function().apply(
        normalize(anchor_BL, eps=COSINE_EPS), normalize(other_BL, eps=COSINE_EPS), tau_B.detach()
    )
    return log_g_B, kl_B


@cache
def _function() -> Any:
    """Eqs. (2)-(4) as an autograd function, made when torch is first needed."""

    class StandOut(torch().autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, anchor_BL: Tensor, other_BL: Tensor, tau_B: Tensor) -> tuple[Tensor, Tensor]:
            size, n = len(anchor_BL), len(anchor_BL) - 1
            p_BB = anchor_BL.new_empty((size, size))
            log_g_B, kl_B = torch().empty_like(tau_B), torch().empty_like(tau_B)
            step = max(BLOCK_NUMBERS // size, 1)
            for start in range(0, size, step):
                here = slice(start, start + step)
                _block(
                    anchor_BL[here], other_BL, tau_B[here], start, p_BB[here], log_g_B[here], kl_B[here], n
                )
            ctx.save_for_backward(anchor_BL, other_BL, tau_B, p_BB)
            ctx.mark_non_differentiable(kl_B)
            return log_g_B, kl_B

        @staticmethod
        def backward(ctx: Any, grad_B: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
            anchor_BL, other_BL, tau_B, p_BB = ctx.saved_tensors
            scale_B1 = (grad_B / tau_B).unsqueeze(1)
            return scale_B1 * (p_BB @ other_BL), p_BB.T @ (scale_B1 * anchor_BL), None  # Eq. (4)

    return StandOut


def _block(
    anchor_RL: Tensor, other_BL: Tensor, tau_R: Tensor, start: int,
    p_RB: Tensor, log_g_R: Tensor, kl_R: Tensor, n: int,
) -> None:  # fmt: skip
    """Some rows of p with -1 for the person herself, and their log g and KL, written in place."""
    below_RB = anchor_RL @ other_BL.T
    own_R = below_RB.diagonal(start).clone()
    below_RB.sub_(own_R.unsqueeze(1)).div_(tau_R.unsqueeze(1))  # Eq. (1) over τ
    below_RB.diagonal(start).fill_(-math.inf)
    top_R = below_RB.amax(dim=1)
    below_RB.sub_(top_R.unsqueeze(1))
    torch().exp(below_RB, out=p_RB)
    below_RB.diagonal(start).zero_()
    total_R = p_RB.sum(dim=1)
    p_RB.div_(total_R.unsqueeze(1))
    log_g_R.copy_(top_R + total_R.log() - math.log(n))  # Eq. (2)
    kl_R.copy_(math.log(n) - total_R.log() + below_RB.mul_(p_RB).sum(dim=1))  # Eq. (3)
    p_RB.diagonal(start).fill_(-1)  # Eq. (4)
