"""Sums by a tree: the same bits wherever the subtrees were summed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.threads import over_blocks, tree_sum


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
