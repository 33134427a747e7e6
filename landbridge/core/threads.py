"""Thread limits for numba kernels and BLAS, and blocks of rows that share threads.

Finding the BLAS libraries of a process takes longer than a small matrix product, so they are cached.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from landbridge.core.errors import SettingsError
from landbridge.core.system import processors
from landbridge.core.types import AnyArray, blocks

T = TypeVar("T")


@contextmanager
def thread_limit(threads: int, blas: int = 1) -> Iterator[None]:
    """Limit numba to ``threads`` threads and BLAS to ``blas`` threads inside each of them.

    BLAS defaults to 1: its own threads inside a parallel kernel would oversubscribe the processor.
    """
    import numba

    _start_numba()
    with _libraries("torch" in sys.modules).limit(limits=blas, user_api="blas"):
        before = numba.get_num_threads()
        # numba refuses more threads than it started with
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            numba.set_num_threads(before)


@contextmanager
def all_threads(threads: int | None) -> Iterator[None]:
    """Limit numba and BLAS, which take turns, to ``threads`` each (default: the processors available)."""
    limit = processors() if threads is None else threads
    if limit < 1:
        raise SettingsError(f"threads must be 1 or more, not {limit}.")
    with thread_limit(limit, limit):
        yield


def over_blocks(work: Callable[[slice], T], rows: int, size: int, threads: int) -> Iterator[T]:
    """``work`` of every block of at most ``size`` rows, in the order of the blocks: a sum over them has the
    same bits for any number of threads. Without a new thread where there is one block or one thread."""
    if threads == 1 or rows <= size:
        yield from map(work, blocks(rows, size))
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, blocks(rows, size))


def tree_sum(parts: Iterable[AnyArray]) -> AnyArray:
    """The sum of one or more arrays by a binary tree over their order: of neighbours, then of such pairs.

    Sums of whole subtrees, of 2^k parts each but the last, give the same bits when they are summed again: it
    makes no difference where they were made.
    """
    subtrees: list[tuple[int, AnyArray]] = []  # (height, sum), the heights descending
    for part in parts:
        height = 0
        while subtrees and subtrees[-1][0] == height:
            part = subtrees.pop()[1] + part
            height += 1
        subtrees.append((height, part))
    _, total = subtrees.pop()
    while subtrees:
        total = subtrees.pop()[1] + total
    return total


@cache
def _start_numba() -> None:
    """Start numba's threads and put back the number of OpenMP threads of the process, torch's included.

    Starting them sets it. If it were put back at the end of a limit, torch could have read it meanwhile and
    passed it on to MKL, whose own number only torch can set.
    """
    import numba

    with _libraries("torch" in sys.modules).limit(limits=None):
        numba.get_num_threads()


@cache
def _libraries(torch: bool) -> Any:
    """The BLAS libraries loaded; ``torch`` is part of the cache key, because torch brings its own BLAS."""
    import scipy.linalg  # noqa: F401  the BLAS that numba calls must be loaded to be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
