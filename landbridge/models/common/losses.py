"""Losses of neural methods, one value per row of a batch, so that the caller can weight, average or log them.

The contrastive loss starts from log g_i of user i against n negatives
(:mod:`landbridge.models.uclr.contrastive`). With the temperature τ_i of the user

    ℓ_i = τ_i (log g_i + ρ)                                                                            (1)

where ρ = 0 is the mean form and ρ = log n the sum form -τ log(exp(cos⁺/τ) / Σ_{k≠i} exp(cos_k/τ)). Its
denominator lacks the positive, so the loss can be negative. ρ changes only the gradient of temperatures,
never that of an embedding. InfoNCE as usually written has no factor τ. With a moving average s_i of g_i
(Yuan et al. 2022) the gradient by an embedding is

    ∇ℓ_i = τ_i ∇g_i / s_i                                                                              (2)

The other losses are the reconstruction of an embedding E_i by an auto-encoder with one or more streams, the
pairwise loss of a positive item's score r⁺ and a negative's r⁻, and the L2 penalty or the norm itself:

    rec_i = Σ_streams ‖Ê_i - E_i‖²                                                                     (3)
    bpr = -log σ(r⁺ - r⁻)                                                                              (4)
    l2_penalty = λ Σ_tables ½‖x‖²  or  λ Σ_tables ‖x‖                                                  (5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def contrastive(log_g_B: Tensor, tau_B: Tensor, rho: float) -> Tensor:
    """Eq. (1), (B,). Its derivative by τ_i is ρ - KL, see :mod:`landbridge.models.uclr.temperature`."""
    return tau_B * (log_g_B + rho)


def log_ratio_estimate(log_g_B: Tensor, tau_B: Tensor, rho: float, log_s_B: Tensor) -> Tensor:
    """The value of Eq. (1) with the gradient of Eq. (2), (B,).

    Where s is the g of the batch itself, this is ``contrastive`` with constant τ.
    """
    value_B = tau_B * (log_g_B.detach() + rho)
    ratio_B = tau_B * (log_g_B - log_s_B.detach()).exp()  # Eq. (2)
    # the ratio adds its gradient and the value 0
    return value_B + ratio_B - ratio_B.detach()


def reconstruction(original_BF: Tensor, *rebuilt_BF: Tensor) -> Tensor:
    """Eq. (3): squared distance to the original, summed over the streams given, (B,)."""
    return sum(
        ((stream_BF - original_BF).square().sum(dim=1) for stream_BF in rebuilt_BF), original_BF.new_zeros(())
    )


def bpr(positive_B: Tensor, negative_B: Tensor) -> Tensor:
    """Eq. (4), (B,); log 2 where both scores are equal."""
    from torch.nn.functional import softplus

    # softplus(-x) = -log σ(x), without overflow for large x
    return softplus(negative_B - positive_B)


def reduced(values_B: Tensor, reduction: str) -> Tensor:
    """The "mean" or the "sum" of a batch's values, a scalar."""
    return values_B.mean() if reduction == "mean" else values_B.sum()


def l2_penalty(rows: tuple[Tensor, ...], reg: float, power: int = 2) -> Tensor:
    """Eq. (5) of each row of a batch, (B,): ``rows`` are its (B, F) rows of every table.

    ``power`` 2 is ½λ‖x‖², 1 is λ‖x‖, whose gradient at a zero row is defined as zero.
    """
    from torch.linalg import vector_norm

    if power == 1:
        return reg * sum((vector_norm(row_BF, dim=1) for row_BF in rows), rows[0].new_zeros(()))
    return reg / 2 * sum((row_BF.square().sum(dim=1) for row_BF in rows), rows[0].new_zeros(()))
