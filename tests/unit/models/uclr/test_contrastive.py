"""The one pass over a crowd against the same written plainly, and where plain arithmetic would fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from crowds import divergence, gaps, log_mean
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landbridge.models.uclr import contrastive as crowd
from landbridge.models.uclr.contrastive import log_partition_and_kl


def codes(size: int, seed: int = 0, width: int = 4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.standard_normal((size, width)), requires_grad=True) for _ in range(2))


def taus(size: int) -> Tensor:
    return torch.linspace(0.05, 1, size, dtype=torch.float64)


@pytest.mark.parametrize("size", [2, 3, 17])
@pytest.mark.parametrize("numbers", [1, 40, 1 << 17])
def test_values_and_gradients_are_those_of_autograd(
    size: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "BLOCK_NUMBERS", numbers)
    anchor_BL, other_BL = codes(size)
    weight_B = torch.linspace(-1, 2, size, dtype=torch.float64)
    log_g_B, kl_B = log_partition_and_kl(anchor_BL, other_BL, taus(size))
    h_BN = gaps(anchor_BL, other_BL)
    wanted_B = log_mean(h_BN, taus(size))
    np.testing.assert_allclose(log_g_B.detach(), wanted_B.detach(), atol=1e-12)
    np.testing.assert_allclose(kl_B, divergence(h_BN, taus(size)).detach(), atol=1e-12)
    found = torch.autograd.grad((weight_B * log_g_B).sum(), (anchor_BL, other_BL))
    wanted = torch.autograd.grad((weight_B * wanted_B).sum(), (anchor_BL, other_BL))
    for found_BL, wanted_BL in zip(found, wanted, strict=True):
        np.testing.assert_allclose(found_BL, wanted_BL, atol=1e-10)


def test_the_divergence_and_the_temperature_take_no_gradient() -> None:
    tau_B = taus(5).requires_grad_()
    log_g_B, kl_B = log_partition_and_kl(*codes(5), tau_B)
    assert (log_g_B.requires_grad, kl_B.requires_grad) == (True, False)
    log_g_B.sum().backward()
    assert tau_B.grad is None


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.floats(1e-5, 1), st.integers(0, 99))
def test_single_precision_is_enough_at_any_temperature(size: int, tau: float, seed: int) -> None:
    anchor_BL, other_BL = (code_BL.detach().float() for code_BL in codes(size, seed))
    tau_B = torch.full((size,), tau)
    log_g_B, kl_B = log_partition_and_kl(anchor_BL, other_BL, tau_B)
    h_BN = gaps(anchor_BL, other_BL).double()
    np.testing.assert_allclose(tau * log_g_B, tau * log_mean(h_BN, tau_B.double()), rtol=1e-5, atol=1e-5)
    assert (kl_B >= -1e-5).all()
    assert (kl_B <= math.log(size - 1) + 1e-5).all()


def test_tiny_temperature_keeps_its_precision() -> None:
    """h/τ = 2e5 in float32: right to 1e-4, where log g - Σ p h/τ is off by .007."""
    anchor_BL = torch.tensor([[1.0, 0.0]] * 64)
    other_BL = torch.tensor([[-1.0, 0.0]] * 60 + [[1.0, 0.0]] * 4)
    _, kl_B = log_partition_and_kl(anchor_BL, other_BL, torch.full((64,), 1e-5))
    assert float(kl_B[0]) == pytest.approx(math.log(63 / 4), abs=1e-4)
