"""Noise of parties: normal, and never the same twice."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from landbridge.federation import noise
from landbridge.federation.noise import SecretNoise
from landbridge.models.als.privacy import Privacy


def test_it_is_normal_and_new_in_every_call() -> None:
    one, other = (SecretNoise().standard_normal((300, 70), np.float32) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == (300, 70)
    for each in (one, other):
        assert kstest(each.ravel(), "norm").pvalue > 1e-6
    assert (one != other).mean() > 0.99
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 6 / np.sqrt(one.size)


def test_the_ends_of_the_key_stream_are_finite(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    words = np.array([[0, 2**64 - 1]], "<u8")
    monkeypatch.setattr(noise, "key_stream", lambda key, size, dtype: words)
    low, high = SecretNoise().standard_normal((1, 2), np.float32)[0]
    assert -9 < low == -high < -8


def test_what_is_sent_has_it() -> None:
    sent = Privacy(0.5, 3.0).sent(np.zeros((400, 50), np.float32), SecretNoise())
    assert abs(sent.std() - 1.5) < 0.05
