"""Filters against a slow reference that removes one user or item at a time."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.filters import k_core, min_events
from landbridge.data.io.readers import read

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=50, unique=True)


def data_of(pairs: list[tuple[int, int]]) -> MultiDomain:
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    return read(frame.with_columns(title=pl.format("film {}", "item")))


def raw(data: MultiDomain) -> set[tuple[int, int]]:
    events = data["events"]
    users, items = data.users.ids[events.user_idx], data.items["events"].ids[events.item_idx]
    return set(zip(users.tolist(), items.tolist(), strict=True))


def slow_core(pairs: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    for place in (0, 1):
        for one in {pair[place] for pair in pairs}:
            rows = {pair for pair in pairs if pair[place] == one}
            if len(rows) < k:
                return slow_core(pairs - rows, k)
    return pairs


@given(PAIRS, st.integers(1, 4))
def test_k_core_is_the_largest_set_with_k_everywhere(pairs: list[tuple[int, int]], k: int) -> None:
    expected = slow_core(set(pairs), k)
    if not expected:
        with pytest.raises(DataError, match="No event"):
            k_core(data_of(pairs), k)
        return
    core = k_core(data_of(pairs), k)
    assert raw(core) == expected
    assert core["events"].item_counts.min() >= k
    assert core.titles["events"].tolist() == [f"film {item}" for item in core.items["events"].ids]


def test_min_events_counts_once_before_anything_leaves() -> None:
    pairs = [(1, 1), (1, 2), (2, 1), (3, 3)]
    assert raw(min_events(data_of(pairs), per_user=2)) == {(1, 1), (1, 2)}
    assert raw(min_events(data_of(pairs), per_item=2)) == {(1, 1), (2, 1)}
    assert raw(min_events(data_of(pairs), per_user=2, per_item=2)) == {(1, 1)}


def test_each_domain_is_filtered_by_itself() -> None:
    frame = pl.DataFrame(
        {"user": [1, 1, 2, 3], "item": [1, 2, 1, 1], "domain": list("aabb"), "time": [4, 5, 6, 7]}
    )
    lists = pl.DataFrame({"item": [2], "domain": ["b"]})
    left = min_events(read(frame, memberships=lists), per_item=1, per_user=1)
    assert left.fingerprint == read(frame).fingerprint
    np.testing.assert_array_equal(left.memberships["a"], [[True, False], [True, True]])
    with pytest.raises(DataError, match="domain 'b'"):
        min_events(left, per_user=2)
