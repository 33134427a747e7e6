"""Losses against loops written from the equations, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from crowds import gaps, log_mean
from torch import Tensor

from landbridge.core.errors import DataError
from landbridge.models.common import losses
from landbridge.models.uclr.contrastive import log_partition_and_kl

WIDE = torch.float64


def codes(size: int, width: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Two codes of each user that resemble each other."""
    rng = np.random.default_rng(seed)
    anchor_BL = rng.standard_normal((size, width))
    return torch.tensor(anchor_BL), torch.tensor(anchor_BL + 0.3 * rng.standard_normal((size, width)))


def temperatures(size: int) -> Tensor:
    return torch.linspace(0.2, 0.9, size, dtype=WIDE)


def cosine(one_L: Tensor, other_L: Tensor) -> float:
    return float(one_L @ other_L / one_L.norm() / other_L.norm())


def published(anchor_BL: Tensor, other_BL: Tensor, tau_B: Tensor, *, mean: bool) -> list[float]:
    """Eq. 3 of the paper (or its mean form, Eq. 9), user by user, with its exponentials."""
    found = []
    for i, tau in enumerate(tau_B.tolist()):
        others = [k for k in range(len(anchor_BL)) if k != i]
        below = sum(math.exp(cosine(anchor_BL[i], other_BL[k]) / tau) for k in others)
        below /= len(others) if mean else 1
        found.append(-tau * math.log(math.exp(cosine(anchor_BL[i], other_BL[i]) / tau) / below))
    return found


def contrast(anchor_BL: Tensor, other_BL: Tensor, tau_B: Tensor, rho: float) -> Tensor:
    return losses.contrastive(log_partition_and_kl(anchor_BL, other_BL, tau_B)[0], tau_B, rho)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_contrastive_loss_is_the_published_one(size: int, mean: bool) -> None:
    anchor_BL, other_BL = codes(size)
    tau_B = temperatures(size)
    found_B = contrast(anchor_BL, other_BL, tau_B, 0.0 if mean else math.log(size - 1))
    np.testing.assert_allclose(found_B, published(anchor_BL, other_BL, tau_B, mean=mean), atol=1e-7)


def test_positive_is_in_no_denominator() -> None:
    """With it there, no loss could be negative."""
    anchor_BL = torch.eye(4, dtype=WIDE)
    assert contrast(anchor_BL, anchor_BL, torch.full((4,), 0.1, dtype=WIDE), math.log(3)).max() < -0.8


def test_equal_codes_cost_nothing_in_the_mean_and_tau_log_n_in_the_sum() -> None:
    same_BL, tau_B = torch.ones(9, 3, dtype=WIDE), temperatures(9)
    np.testing.assert_allclose(contrast(same_BL, same_BL, tau_B, 0.0), 0, atol=1e-12)
    np.testing.assert_allclose(
        contrast(same_BL, same_BL, tau_B, math.log(8)), tau_B * math.log(8), atol=1e-12
    )


def test_one_negative_costs_its_gap_at_any_temperature() -> None:
    for tau in (0.1, 1.0):
        loss_B = contrast(*codes(2), torch.full((2,), tau, dtype=WIDE), 0.0)
        np.testing.assert_allclose(loss_B, gaps(*codes(2))[:, 0], atol=1e-12)


def test_one_user_has_no_negatives() -> None:
    with pytest.raises(DataError, match="two users"):
        log_partition_and_kl(*codes(1), temperatures(1))


def test_positive_scaling_of_codes_changes_nothing() -> None:
    anchor_BL, other_BL = codes(6)
    scale_B1 = torch.linspace(0.1, 50, 6, dtype=WIDE).unsqueeze(1)
    for found_B, wanted_B in zip(
        log_partition_and_kl(anchor_BL * scale_B1, other_BL * scale_B1.flip(0), temperatures(6)),
        log_partition_and_kl(anchor_BL, other_BL, temperatures(6)),
        strict=True,
    ):
        np.testing.assert_allclose(found_B, wanted_B, atol=1e-12)


def test_order_of_a_batch_permutes_its_losses() -> None:
    anchor_BL, other_BL = codes(7)
    tau_B, order_B = temperatures(7), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    straight_B = contrast(anchor_BL, other_BL, tau_B, 0.5)
    turned_B = contrast(anchor_BL[order_B], other_BL[order_B], tau_B[order_B], 0.5)
    np.testing.assert_allclose(turned_B, straight_B[order_B], atol=1e-12)


def test_tiny_temperature_takes_the_hardest_negative_without_overflow() -> None:
    anchor_BL, other_BL = (code_BL.float().requires_grad_() for code_BL in codes(8))
    h_BN = gaps(anchor_BL, -other_BL)  # gaps beyond 1.7, exponents beyond 1.7e5
    loss_B = contrast(anchor_BL, -other_BL, torch.full((8,), 1e-5), 0.0)
    assert h_BN.max() > 1.7
    np.testing.assert_allclose(loss_B.detach(), h_BN.detach().amax(dim=1), atol=1e-4)
    loss_B.sum().backward()
    assert anchor_BL.grad is not None
    assert anchor_BL.grad.isfinite().all()
    assert anchor_BL.grad.abs().max() > 1e-3


def test_tracked_loss_has_the_value_of_the_loss_and_the_gradient_of_the_estimator() -> None:
    """Eq. (2) from its own terms: τ ∇g / s."""
    h_BN, tau_B = gaps(*codes(6)).requires_grad_(), temperatures(6)
    s_B, log_g_B = torch.linspace(0.05, 2, 6, dtype=WIDE), log_mean(h_BN, tau_B)
    loss_B = losses.log_ratio_estimate(log_g_B, tau_B, 0.7, s_B.log())
    wanted_B = losses.contrastive(log_g_B, tau_B, 0.7)
    np.testing.assert_allclose(loss_B.detach(), wanted_B.detach(), atol=1e-12)
    (found_BN,) = torch.autograd.grad(loss_B.sum(), h_BN)
    g_B = (h_BN / tau_B.unsqueeze(1)).exp().mean(dim=1)
    (wanted_BN,) = torch.autograd.grad((tau_B * g_B / s_B).sum(), h_BN)
    np.testing.assert_allclose(found_BN, wanted_BN, atol=1e-12)


def test_tracked_loss_at_the_batch_s_own_mean_is_the_loss() -> None:
    h_BN, tau_B = gaps(*codes(6)).requires_grad_(), temperatures(6)
    log_g_B = log_mean(h_BN, tau_B)
    (found_BN,) = torch.autograd.grad(
        losses.log_ratio_estimate(log_g_B, tau_B, 0.0, log_g_B).sum(), h_BN, retain_graph=True
    )
    (wanted_BN,) = torch.autograd.grad(losses.contrastive(log_g_B, tau_B, 0.0).sum(), h_BN)
    np.testing.assert_allclose(found_BN, wanted_BN, atol=1e-12)


def test_reconstruction_adds_the_streams() -> None:
    one_BF, two_BF = codes(4)
    zero_BF = torch.zeros_like(one_BF)
    both_B = losses.reconstruction(zero_BF, one_BF, two_BF)
    wanted_B = [float(one_BF[i] @ one_BF[i] + two_BF[i] @ two_BF[i]) for i in range(4)]
    np.testing.assert_allclose(both_B, wanted_B, atol=1e-12)
    np.testing.assert_allclose(losses.reconstruction(zero_BF, one_BF), one_BF.square().sum(dim=1), atol=1e-12)


def test_bpr_is_log_two_at_equal_scores_and_the_negative_log_of_sigma_elsewhere() -> None:
    assert float(losses.bpr(torch.zeros(1), torch.zeros(1))) == pytest.approx(math.log(2))
    better_B = torch.tensor([-3.0, 0.5, 4.0], dtype=WIDE)
    wanted_B = [-math.log(1 / (1 + math.exp(-r))) for r in better_B.tolist()]
    np.testing.assert_allclose(losses.bpr(better_B + 1, torch.ones(3)), wanted_B, atol=1e-12)
    assert float(losses.bpr(torch.tensor([-1e4]), torch.tensor([1e4]))) == pytest.approx(2e4)


def test_shrinkage_in_both_powers() -> None:
    users_BF = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    items_BF = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    np.testing.assert_allclose(losses.l2_penalty((users_BF, items_BF), 0.1).detach(), [1.45, 0.05], rtol=1e-6)
    unsquared_B = losses.l2_penalty((users_BF, items_BF), 0.1, power=1)
    np.testing.assert_allclose(unsquared_B.detach(), [0.7, 0.1], rtol=1e-6)
    unsquared_B.sum().backward()
    np.testing.assert_allclose(users_BF.grad, [[0.06, 0.08], [0, 0]], rtol=1e-6)
