"""UCLR's Lemma 1: how small a user's g can get, which is what every constant of its Theorem 1 divides by."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landbridge.models.uclr.contrastive import log_partition_and_kl

TAU_HIGH = 1.0  # the largest temperature that the paper allows


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of both streams and temperatures; opposite and equal codes abound."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    size, width = draw(st.integers(2, 30)), draw(st.integers(1, 8))
    noise = draw(st.sampled_from([0.0, 1e-3, 1.0]))
    direction_BL = rng.choice([-1.0, 1.0], (2, size, 1)) * rng.standard_normal(width)
    code_2BL = torch.from_numpy(direction_BL + noise * rng.standard_normal((2, size, width)))
    tau_B = 10 ** rng.uniform(-5, 0, size)
    return code_2BL[0], code_2BL[1], torch.from_numpy(tau_B)


@settings(deadline=None)
@given(batches())
def test_g_is_at_least_exp_minus_two_by_tau(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    code_BL, other_BL, tau_B = batch
    log_g_B, _ = log_partition_and_kl(code_BL, other_BL, tau_B)
    # h lies in [-2, 2]; the slack is rounding of a cosine, over τ
    assert bool((log_g_B * tau_B >= -2 - 1e-12).all())
    assert bool((log_g_B * tau_B <= 2 + 1e-12).all())


def test_the_published_bound_does_not_hold_below_the_largest_temperature() -> None:
    own_BL = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    log_g_B, _ = log_partition_and_kl(own_BL, own_BL, torch.full((2,), 0.1, dtype=torch.float64))
    np.testing.assert_allclose(log_g_B, -20.0)
    assert float(log_g_B[0]) < math.log(math.exp(-2 / TAU_HIGH))
