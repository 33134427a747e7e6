"""Noise that no other party can repeat: normal numbers from ChaCha20's key stream under a key drawn for them.

    n = Φ⁻¹((w + ½) 2^-52),   w uniform in 0 … 2^52 - 1                                               (1)

NumPy's generators would do for a simulation. Their state can be computed from what they gave out, and a party
gives out sums of rows and noise.
"""

from __future__ import annotations

import secrets

import numpy as np

from landbridge.core.types import Float32
from landbridge.federation.agreement import SECRET_BYTES
from landbridge.federation.masks import key_stream


class SecretNoise:
    """A source of noise, see :class:`landbridge.models.als.privacy.NormalSource`."""

    def standard_normal(self, size: tuple[int, ...], dtype: type[np.float32], /) -> Float32:
        """Eq. (1), under a new key in every call."""
        from scipy.special import ndtri

        word = key_stream(secrets.token_bytes(SECRET_BYTES), size, np.dtype("<u8"))
        return np.asarray(ndtri(((word >> np.uint64(12)) + 0.5) * 2.0**-52), dtype)
