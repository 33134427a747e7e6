"""Rows fetched from memory early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from landbridge.core.prefetch_kernels import prefetch_row


@njit
def prefetched(rows_IF: Any, columns_N: Any) -> None:
    """Fetch some rows."""
    for column in columns_N:
        prefetch_row(rows_IF, column)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 64])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows_are_as_before(width: int, kind: type) -> None:
    """Also when rows are fetched that do not exist: fetching is no reading."""
    rows_IF = np.arange(8 * width, dtype=kind).reshape(8, width)
    prefetched(rows_IF, np.array([0, 7, 3, -1, 8, 10**9]))
    np.testing.assert_array_equal(rows_IF, np.arange(8 * width).reshape(8, width))


def test_the_code_says_prefetch() -> None:
    prefetched(np.ones((4, 16), np.float32), np.arange(4))
    assert all("llvm.prefetch" in code for code in prefetched.inspect_llvm().values())
