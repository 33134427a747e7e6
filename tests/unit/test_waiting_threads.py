"""Idle threads sleep soon: what the OpenMP libraries read when they are loaded, and what the user has set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "found"), [(None, "10000"), ("7", "7")])
def test_the_import_bounds_the_loop_and_keeps_what_the_user_has_set(given: str | None, found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {} if given is None else {"GOMP_SPINCOUNT": given}
    code = (
        "import sys, landbridge, os; assert 'numba' not in sys.modules; print(os.environ['GOMP_SPINCOUNT'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == found
