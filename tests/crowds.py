"""The crowd of :mod:`landbridge.models.uclr.contrastive` written plainly, differentiable in everything."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import normalize


def gaps(anchor_BL: Tensor, other_BL: Tensor) -> Tensor:
    """How much closer each anchor is to another's code than to their own, (B, N), without herself."""
    cosine_BB = normalize(anchor_BL, eps=1e-8) @ normalize(other_BL, eps=1e-8).T
    size = len(cosine_BB)
    others_BN = cosine_BB.flatten()[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)
    return others_BN - cosine_BB.diagonal().unsqueeze(1)


def log_mean(h_BN: Tensor, tau_B: Tensor) -> Tensor:
    """log g, (B,)."""
    return (h_BN / tau_B.unsqueeze(1)).logsumexp(dim=1) - math.log(h_BN.shape[1])


def divergence(h_BN: Tensor, tau_B: Tensor) -> Tensor:
    """The KL of softmax(h/τ) from the uniform distribution, (B,)."""
    log_p_BN = (h_BN / tau_B.unsqueeze(1)).log_softmax(dim=1)
    return (log_p_BN.exp() * (log_p_BN + math.log(h_BN.shape[1]))).sum(dim=1)
