"""Interactions: what is counted once for everybody."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import uneven

from landbridge.data.interactions import Interactions


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_catalogue_is_the_items_with_events(name: str) -> None:
    table = uneven()[name]
    fewer = table.take(table.item_idx % 3 > 0)
    assert table.catalogue == len(np.unique(table.item_idx))
    assert fewer.catalogue == len(np.unique(fewer.item_idx)) < table.catalogue


def test_a_domain_without_events_has_an_empty_catalogue() -> None:
    assert Interactions.from_events([], [], 3, 4).catalogue == 0
