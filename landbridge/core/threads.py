"""Thread limits for numba kernels and BLAS, and blocks of rows that share threads.

Finding the BLAS libraries of a process takes longer than a small matrix product, so they are cached.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, wraps
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.system import processors
from landbridge.core.types import AnyArray, blocks

T = TypeVar("T")
RANGES = 8  # of rows per thread: they take unequally long


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


def over_rows(kernel: Callable[..., object]) -> Callable[..., None]:
    """Decorator of a compiled kernel, whose first arguments are then a number of rows instead of two bounds:
    ``kernel(begin, end, ...)`` is called for ranges of them on the threads that :func:`thread_limit` allows.

    The kernel must be compiled without the lock of the interpreter (``nogil``), and what it writes must
    depend on its rows alone. A parallel loop of numba takes five times as long to compile
    (docs/decisions/0022-rows-on-threads.md).
    """

    @wraps(kernel)
    def run(rows: int, *arguments: object) -> None:
        import numba

        threads = min(numba.get_num_threads(), rows)
        if threads <= 1:
            kernel(0, rows, *arguments)
            return
        bounds = np.linspace(0, rows, min(rows, RANGES * threads) + 1).astype(np.int64).tolist()
        left = pairwise(bounds)

        def work() -> None:
            # all threads take from one iterator, so that none waits for another's long ranges
            for begin, end in left:
                kernel(begin, end, *arguments)

        others = [_pool(threads - 1, os.getpid()).submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            wait(others)
        for other in others:
            other.result()

    return run


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads beside the calling one; ``process``: a child process has none of its parent's."""
    return ThreadPoolExecutor(threads, "rows")


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
