"""The yardstick of ``experiments/shops_countries.py``: one table made by hand is a model as all others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import landbridge as lb
from experiments.shops_countries import OneTableModel, by_hand
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries, StoredState
from landbridge.models.linear.ease import EASE
from landbridge.training.options import FitOptions


def countries() -> lb.MultiDomain:
    """Three countries with users of their own, whose catalogues overlap."""
    rng = np.random.default_rng(0)
    tables = {
        name: pl.DataFrame(
            {
                "user": [f"{name}{n}" for n in rng.integers(0, 20, 150)],
                "item": rng.integers(low, low + 15, 150),
            }
        )
        for name, low in (("de", 0), ("fr", 5), ("uk", 10))
    }
    return lb.read(tables, users="local", items="shared")


@pytest.mark.parametrize("method", [EASE("separate"), IALS(4, "separate", epochs=2)], ids=str)
def test_one_table_is_made_again_from_what_it_learned(method: Method) -> None:
    data = countries()
    (hand,) = by_hand([method])
    fitted = hand.fit(data, FitOptions(threads=1))
    again = OneTableModel.from_state(StoredState(data, hand, fitted.log, *fitted.state()))
    queries = Queries.of_users(np.arange(data.n_users))
    for name in data.domain_names:
        assert fitted.score(name, queries).shape == (data.n_users, data[name].n_items)
        assert np.array_equal(again.score(name, queries), fitted.score(name, queries))
    assert again.shop.log == fitted.shop.log
