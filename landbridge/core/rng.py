"""Random generators: one root seed, and an independent generator for every named purpose.

A generator depends on the root seed and the names of its purpose alone, never on the order in which
generators are made: a random step added in one place changes no other.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *purpose: str) -> np.random.Generator:
    """An independent generator for ``purpose`` (e.g. ``"init", "books"``) under the root ``seed``."""
    # crc32 and not hash(), which differs between processes; independent streams, so that a new purpose
    # leaves all other draws as they were
    words = [zlib.crc32(name.encode()) for name in purpose]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))
