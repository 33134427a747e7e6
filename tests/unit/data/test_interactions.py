"""Interactions: events of one domain, checked and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import uneven

from landbridge.core.errors import DataError
from landbridge.data import interactions
from landbridge.data.interactions import Interactions


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_catalogue_is_the_items_with_events(name: str) -> None:
    table = uneven()[name]
    fewer = table.take(table.item_idx % 3 > 0)
    assert table.catalogue == len(np.unique(table.item_idx))
    assert fewer.catalogue == len(np.unique(fewer.item_idx)) < table.catalogue


def test_a_domain_without_events_has_an_empty_catalogue() -> None:
    assert Interactions.from_events([], [], 3, 4).catalogue == 0


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("size", [0, 1, 500])
def test_the_order_is_by_key_then_time_then_position(timed: bool, size: int) -> None:
    rng = np.random.default_rng(size)
    key_N, time_N = rng.integers(0, 100, size), rng.integers(0, 3, size)
    ranks = (time_N, key_N) if timed else (key_N,)
    expected = np.lexsort(ranks)  # stable
    assert np.array_equal(interactions._sorted(key_N, time_N if timed else None), expected)


@pytest.mark.parametrize(
    "times", [np.array(["2020-01-01", "NaT"], "datetime64[s]"), [1.0, np.nan], [1.0, np.inf], ["1", "2"]]
)
def test_what_is_no_second_is_no_time_of_an_event(times: Any) -> None:
    with pytest.raises(DataError, match=r"[Tt]imes"):
        Interactions.from_events([0, 1], [0, 0], 2, 1, time=times)
