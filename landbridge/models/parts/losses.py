"""Losses of neural methods, one value per row of a batch so that a caller can weight, average or log them.

A contrastive batch of B people has two codes of each, e_i and e'_i. The anchor is e_i, her positive is her
own e'_i, her n = B - 1 negatives are the others' e'_k:

    h_i(k) = cos(e_i, e'_k) - cos(e_i, e'_i),   k ≠ i                                                  (1)
    ℓ_i = τ_i (log g_i + ρ),   g_i = 1/n Σ_{k≠i} exp(h_i(k)/τ_i)                                       (2)

The positive is in no denominator, so ℓ_i can be negative. ρ = 0 is the mean form, ρ = log n the sum form
-τ log(exp(cos⁺/τ) / Σ_{k≠i} exp(cos_k/τ)); ρ moves temperatures only, never a code. With a tracked inner
mean s_i (Yuan et al. 2022) the gradient of a code is

    ∇ℓ_i = τ_i ∇g_i / s_i                                                                              (3)

An auto-encoder rebuilds a row E_i in one or several streams, a pairwise loss wants a positive item's score r⁺
above a negative's r⁻, and shrinkage is the usual ½λ‖x‖² or the norm itself:

    rec_i = Σ_streams ‖Ê_i - E_i‖²                                                                     (4)
    combined = mean_i (ℓ_i + α rec_i)                                                                  (5)
    bpr = -log σ(r⁺ - r⁻)                                                                              (6)
    shrinkage = λ Σ_tables ½‖x‖²  or  λ Σ_tables ‖x‖                                                   (7)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from landbridge.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

COSINE_EPS = 1e-8


def gaps(anchor_BL: Tensor, other_BL: Tensor) -> Tensor:
    """Eq. (1): how much closer each anchor is to another's code than to her own, (B, N), N = B - 1.

    Row i holds k = 0 .. B-1 without i. Fewer than two people: ``DataError``.
    """
    from torch.nn.functional import normalize

    if len(anchor_BL) < 2:
        raise DataError(
            "A contrastive batch needs two people or more: raise batch_size or drop the last batch."
        )
    cosine_BB = normalize(anchor_BL, eps=COSINE_EPS) @ normalize(other_BL, eps=COSINE_EPS).T
    return _without_diagonal(cosine_BB) - cosine_BB.diagonal().unsqueeze(1)


def log_mean(h_BN: Tensor, tau_B: Tensor) -> Tensor:
    """log g of Eq. (2), (B,), without leaving the log domain."""
    return (h_BN / tau_B.unsqueeze(1)).logsumexp(dim=1) - math.log(h_BN.shape[1])


def contrastive(h_BN: Tensor, tau_B: Tensor, rho: float) -> Tensor:
    """Eq. (2), (B,). Its derivative by τ_i is ρ - KL, see :mod:`landbridge.models.parts.temperature`."""
    return tau_B * (log_mean(h_BN, tau_B) + rho)


def tracked(h_BN: Tensor, tau_B: Tensor, rho: float, log_mean_B: Tensor) -> Tensor:
    """The value of Eq. (2) with the gradient of Eq. (3), (B,); ``log_mean_B`` is log s.

    Where s is the batch's own g, this is ``contrastive`` with τ held.
    """
    log_g_B = log_mean(h_BN, tau_B)
    value_B = tau_B * (log_g_B.detach() + rho)
    ratio_B = tau_B * (log_g_B - log_mean_B.detach()).exp()  # Eq. (3)
    return value_B + ratio_B - ratio_B.detach()


def plain_contrastive(h_BN: Tensor, tau: float) -> Tensor:
    """The sum form of Eq. (2) with one fixed temperature for everybody, (B,).

    InfoNCE as usually written has no factor τ: it is this loss divided by τ, so that (5) with α then
    has the optimum of (5) with ατ here.
    """
    return contrastive(h_BN, h_BN.new_full((len(h_BN),), tau), math.log(h_BN.shape[1]))


def reconstruction(original_BF: Tensor, *rebuilt_BF: Tensor) -> Tensor:
    """Eq. (4): squared distance to the original, summed over the streams given, (B,)."""
    return sum(
        ((stream_BF - original_BF).square().sum(dim=1) for stream_BF in rebuilt_BF), original_BF.new_zeros(())
    )


def combined(contrast_B: Tensor, rebuilt_B: Tensor, alpha: float) -> Tensor:
    """Eq. (5), a scalar: the mean over the batch, where a paper's sum would change with its size."""
    return (contrast_B + alpha * rebuilt_B).mean()


def bpr(positive_B: Tensor, negative_B: Tensor) -> Tensor:
    """Eq. (6), (B,); log 2 where both scores are equal."""
    from torch.nn.functional import softplus

    return softplus(negative_B - positive_B)


def shrinkage(rows: tuple[Tensor, ...], reg: float, power: int = 2) -> Tensor:
    """Eq. (7) of each row of a batch, (B,): ``rows`` are its (B, F) rows of every table.

    ``power`` 2 is ½λ‖x‖², 1 is λ‖x‖, whose gradient at a zero row is taken as zero.
    """
    from torch.linalg import vector_norm

    if power == 1:
        return reg * sum((vector_norm(row_BF, dim=1) for row_BF in rows), rows[0].new_zeros(()))
    return reg / 2 * sum((row_BF.square().sum(dim=1) for row_BF in rows), rows[0].new_zeros(()))


def _without_diagonal(square_BB: Tensor) -> Tensor:
    """All entries off the diagonal, (B, B - 1). An entry of -inf in its place would make 0 · (-inf) = NaN
    of the divergence and of the gradient of a temperature."""
    size = len(square_BB)
    return square_BB.flatten()[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)
