"""How many threads numba's kernels and BLAS may use for a while.

To look for the BLAS libraries of a process takes longer than many a product, so they are remembered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from landbridge.core.errors import SettingsError


@contextmanager
def thread_limit(threads: int, blas: int = 1) -> Iterator[None]:
    """numba on ``threads`` threads, BLAS on ``blas`` inside each."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        with _libraries("torch" in sys.modules).limit(limits=blas, user_api="blas"):
            yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def all_threads(threads: int | None) -> Iterator[None]:
    """``threads`` for BLAS and for kernels, which take turns (default: the processors we may use)."""
    wanted = len(os.sched_getaffinity(0)) if threads is None else threads
    if wanted < 1:
        raise SettingsError(f"threads must be 1 or more, not {wanted}.")
    with thread_limit(wanted, wanted):
        yield


@cache
def _libraries(torch: bool) -> Any:
    """What this process has loaded; ``torch`` comes with a BLAS of its own."""
    import scipy.linalg  # noqa: F401  the BLAS that numba calls must be loaded to be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
