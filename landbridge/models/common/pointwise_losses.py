"""How good the scores of some items are, the first of which a person has: a value in torch, a slope in NumPy.

For an event (u, i) with the score s⁺ of its item and s₁ … s_K those of K items that u has not

    bce       [ -ln σ(s⁺) - Σ_k ln σ(-s_k) ] / (1 + K)                                                 (1)
    bpr       Σ_k -ln σ(s⁺ - s_k) / K                                                                  (2)
    squared   [ (1 - s⁺)² + Σ_k s_k² ] / (1 + K)                                                       (3)

and the loss of a batch is the mean over its events, weighted with w_n where events have weights,

    L = Σ_n w_n ℓ_n / Σ_n w_n                                                                          (4)

so that (1) and (2) begin at ln 2 where all scores are zero. Torch trains by the values; a new person's row
is found without torch, by the slopes ∂ℓ/∂s. Shape letters: N events, J = 1 + K items of an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = ("bce", "bpr", "squared")


def value(name: str, score_NJ: Tensor) -> Tensor:
    """ℓ of each event, (N,)."""
    from torch.nn.functional import softplus

    positive_N1, negative_NK = score_NJ[:, :1], score_NJ[:, 1:]
    if name == "bpr":
        return softplus(negative_NK - positive_N1).mean(dim=1)  # Eq. (2)
    if name == "bce":
        total_N = softplus(-positive_N1)[:, 0] + softplus(negative_NK).sum(dim=1)  # Eq. (1)
    else:
        total_N = (1 - positive_N1).square()[:, 0] + negative_NK.square().sum(dim=1)  # Eq. (3)
    return total_N / score_NJ.shape[1]


def mean(loss_N: Tensor, weight_N: Tensor | None) -> Tensor:
    """Eq. (4), a scalar."""
    return loss_N.mean() if weight_N is None else (weight_N * loss_N).sum() / weight_N.sum()


def slope(name: str, score_NJ: Float32) -> Float32:
    """∂ℓ/∂s of each item, (N, J)."""
    if name == "bpr":
        below_NK = _sigmoid(score_NJ[:, 1:] - score_NJ[:, :1]) / np.float32(score_NJ.shape[1] - 1)
        return np.concatenate([-below_NK.sum(axis=1, keepdims=True), below_NK], axis=1)
    found_NJ = _sigmoid(score_NJ) if name == "bce" else 2 * score_NJ
    found_NJ[:, 0] -= 1 if name == "bce" else 2
    return np.asarray(found_NJ / np.float32(score_NJ.shape[1]))


def _sigmoid(x: Float32) -> Float32:
    return np.asarray((np.tanh(x / 2) + 1) / 2, np.float32)
