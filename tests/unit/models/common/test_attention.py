"""Softmax over the domains in which a user has events, on tensors and on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from landbridge.models.common.attention import masked_softmax

torch = pytest.importorskip("torch")

SCORES = arrays(np.float32, (3, 4, 2), elements=st.floats(-200, 200, width=32))
PRESENT = arrays(np.bool_, (3, 4, 1))


def naive(score_SBF: Any, present_SB1: Any) -> Any:
    """User after user, element after element, in float64."""
    out = np.zeros(score_SBF.shape)
    for b in range(score_SBF.shape[1]):
        chosen = [s for s in range(len(score_SBF)) if present_SB1[s, b, 0]]
        for f in range(score_SBF.shape[2]):
            values = np.array([score_SBF[s, b, f] for s in chosen], float)
            parts = np.exp(values - values.max()) if len(chosen) else values
            for s, part in zip(chosen, parts, strict=True):
                out[s, b, f] = part / parts.sum()
    return out


@given(SCORES, PRESENT)
def test_it_is_the_softmax_of_the_present_ones(score_SBF: Any, present_SB1: Any) -> None:
    mask = present_SB1.astype(np.float32)
    found = np.stack(masked_softmax(list(score_SBF), list(mask)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive(score_SBF, present_SB1), atol=1e-5)
    totals = found.sum(axis=0)
    np.testing.assert_allclose(totals, np.broadcast_to(present_SB1.any(axis=0), totals.shape), atol=1e-6)
    tensors = (list(torch.from_numpy(each)) for each in (score_SBF, mask))
    np.testing.assert_allclose(torch.stack(masked_softmax(*tensors)), found, atol=1e-6)


def test_its_gradient_is_that_of_torch() -> None:
    score_SB = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight_SB = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    here, there = score_SB.clone().requires_grad_(), score_SB.clone().requires_grad_()
    (torch.stack(masked_softmax(list(here), list(torch.ones_like(score_SB)))) * weight_SB).sum().backward()
    (there.softmax(dim=0) * weight_SB).sum().backward()
    np.testing.assert_allclose(here.grad, there.grad, atol=1e-12)
