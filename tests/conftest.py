"""What all tests share: where the real data are, and quiet, repeatable property tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "landbridge", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# some 2,000 examples of what needs many, other ones in every run
settings.register_profile(
    "thorough", settings.get_profile("landbridge"), max_examples=1000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "landbridge"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    where = os.environ.get("LANDBRIDGE_DATA")
    if not where:
        pytest.skip("LANDBRIDGE_DATA is not set: this test needs the real data sets")
    return Path(where)
