"""Rows and blocks on several threads, and sums by a tree: the same bits wherever the subtrees were summed."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.threads import over_blocks, over_rows, thread_limit, tree_sum


@given(st.integers(1, 70), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_subtrees_may_be_summed_apart(parts: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value_NK = rng.standard_normal((parts, 3)) * 10.0 ** rng.integers(-9, 9, (parts, 1))
    whole_K = tree_sum(value_NK)
    size = 2**height
    apart_K = tree_sum(tree_sum(value_NK[start : start + size]) for start in range(0, parts, size))
    assert apart_K.tobytes() == whole_K.tobytes()
    np.testing.assert_allclose(whole_K, value_NK.sum(axis=0), rtol=1e-9, atol=1e-6 * np.abs(value_NK).max())


def test_the_tree_pairs_neighbours() -> None:
    # ((1e16 + 1) + (1 + 1)) and not (((1e16 + 1) + 1) + 1), which loses every 1
    assert tree_sum(np.array([[1e16], [1.0], [1.0], [1.0]]))[0] == 1e16 + 2


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_come_in_order(threads: int) -> None:
    assert list(over_blocks(lambda block: block.start, 10, 3, threads)) == [0, 3, 6, 9]


@given(rows=st.integers(0, 200), threads=st.integers(1, 4))
def test_every_row_is_done_once(rows: int, threads: int) -> None:
    done_R = np.zeros(rows, np.int64)

    @over_rows
    def count(begin: int, end: int, out_R: npt.NDArray[np.int64], by: int) -> None:
        out_R[begin:end] += by

    with thread_limit(threads):
        count(rows, done_R, 3)
    assert (done_R == 3).all()


def test_the_error_of_a_range_is_raised() -> None:
    @over_rows
    def fail(begin: int, end: int) -> None:
        if end == 10:
            raise ZeroDivisionError

    with thread_limit(2), pytest.raises(ZeroDivisionError):
        fail(10)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_has_threads_of_its_own() -> None:
    @over_rows
    def nothing(begin: int, end: int) -> None:
        pass

    with thread_limit(2):
        nothing(10)
        child = os.fork()
        if not child:  # the threads of the parent are not here: to wait for them would be for ever
            nothing(10)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
