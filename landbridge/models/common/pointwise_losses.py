"""Losses of an event and its sampled negatives: values in torch for training, gradients in NumPy for fold-in.

For an event (u, i) with the score s⁺ of its item and the scores s₁ … s_K of K sampled negatives

    bce       [ -ln σ(s⁺) - Σ_k ln σ(-s_k) ] / (1 + K)                                                 (1)
    bpr       Σ_k -ln σ(s⁺ - s_k) / K                                                                  (2)
    squared   [ (1 - s⁺)² + Σ_k s_k² ] / (1 + K)                                                       (3)
    softmax   -s⁺ + ln (e^s⁺ + Σ_k e^s_k)                                                              (4)

The loss of a batch is the mean over its events, weighted with w_n where events have weights,

    L = Σ_n w_n ℓ_n / Σ_n w_n                                                                          (5)

The divisors make (1) and (2) start at ln 2 when all scores are zero, for every K; (4) starts at ln (1 + K).
Training uses the values;
the fold-in of new users runs without torch and uses the gradients ∂ℓ/∂s. Shape letters: N events, J = 1 + K
items of an event, the positive first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = ("bce", "bpr", "squared", "softmax")


@dataclass(frozen=True)
class PointwiseLoss(Settings):
    """The loss of an event, Eqs. (1) to (4), and the negatives that it is compared with."""

    kind: Literal["bce", "bpr", "squared", "softmax"] = setting("bce", "Loss of an event and its negatives.")
    negatives_per_positive: int = setting(
        1, "Items drawn per event that the user has not.", low=1, symbol="K"
    )
    negatives: Literal["domain", "popularity"] = setting(
        "domain", "How negatives are drawn from the event's domain: evenly, or by popularity."
    )


def event_losses(name: str, score_NJ: Tensor) -> Tensor:
    """The loss ℓ of each event, (N,), Eqs. (1) to (4)."""
    from torch.nn.functional import softplus

    positive_N1, negative_NK = score_NJ[:, :1], score_NJ[:, 1:]
    if name == "bpr":
        return softplus(negative_NK - positive_N1).mean(dim=1)  # Eq. (2)
    if name == "softmax":
        return score_NJ.logsumexp(dim=1) - positive_N1[:, 0]  # Eq. (4)
    if name == "bce":
        total_N = softplus(-positive_N1)[:, 0] + softplus(negative_NK).sum(dim=1)  # Eq. (1)
    else:
        total_N = (1 - positive_N1).square()[:, 0] + negative_NK.square().sum(dim=1)  # Eq. (3)
    return total_N / score_NJ.shape[1]


def batch_loss(loss_N: Tensor, weight_N: Tensor | None) -> Tensor:
    """The loss of a batch, Eq. (5), a scalar."""
    return loss_N.mean() if weight_N is None else (weight_N * loss_N).sum() / weight_N.sum()


def score_gradients(name: str, score_NJ: Float32) -> Float32:
    """The derivatives ∂ℓ/∂s by the score of each item, (N, J)."""
    if name == "bpr":
        below_NK = _sigmoid(score_NJ[:, 1:] - score_NJ[:, :1]) / np.float32(score_NJ.shape[1] - 1)
        return np.concatenate([-below_NK.sum(axis=1, keepdims=True), below_NK], axis=1)
    if name == "softmax":
        power_NJ = np.exp(score_NJ - score_NJ.max(axis=1, keepdims=True))
        share_NJ = power_NJ / power_NJ.sum(axis=1, keepdims=True)
        share_NJ[:, 0] -= 1
        return np.asarray(share_NJ)
    gradient_NJ = _sigmoid(score_NJ) if name == "bce" else 2 * score_NJ
    # column 0 is the positive, whose label is 1
    gradient_NJ[:, 0] -= 1 if name == "bce" else 2
    return np.asarray(gradient_NJ / np.float32(score_NJ.shape[1]))


def _sigmoid(x: Float32) -> Float32:
    return np.asarray((np.tanh(x / 2) + 1) / 2, np.float32)  # tanh cannot overflow, exp(-x) can
