"""The gate ranks with the present model as the server does, for users who came back with new events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shops import MODELS, fit, opened

from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.models import registry
from landbridge.selection.gate import AsServed
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.events.merge import merge_events

K = 5
# u03 comes back with books and a film, u04 with a film the model does not know, u05 does not; a0 is new
SINCE = [
    ("u03", "books", "20", 2_000_000),
    ("u03", "films", "f07", 2_000_001),
    ("u03", "books", "70", 2_000_002),
    ("u04", "films", "a new film", 2_000_000),
    ("a0", "books", "20", 2_000_000),
    ("a0", "books", "5", 2_000_000),
]
RETURNING = ("u03", "u04", "u05")


def grown(history: MultiDomain) -> MultiDomain:
    schema = {"user": pl.String, "domain": pl.String, "item": pl.String, "timestamp": pl.Int64}
    plain = {"kind": pl.lit(None, pl.String), "weight": pl.lit(None, pl.Float64)}
    since = pl.DataFrame(SINCE, schema, orient="row").with_columns(**plain)
    return merge_events(history, since, ())[0]


@pytest.mark.parametrize("name", MODELS)
def test_lists_are_those_of_the_server(name: str, tmp_path: Path) -> None:
    fitted = fit(registry.method(name).from_settings(MODELS[name]))
    service, data = opened(fitted, tmp_path), grown(fitted.history)
    as_served = AsServed(fitted, data)
    user_idx = data.users.index(RETURNING)
    for domain in data.domain_names:
        scores_BI = as_served.score(domain, Queries.of_users(user_idx))
        assert (scores_BI == -np.inf).sum() == len(RETURNING)  # one new item in each domain
        for row, user in enumerate(RETURNING):
            since = [
                Event(place, int(item) if place == "books" else item, time)
                for who, place, item, time in SINCE
                if who == user
            ]
            request = Request((domain,), user, service.understood(since), K)
            (answer,) = service.recommend([request])
            seen_I = data[domain].item_idx[data[domain].user_idx == user_idx[row]]
            scores_I = scores_BI[row].copy()
            scores_I[seen_I] = -np.inf
            listed = data.items[domain].index([entry.item for entry in answer.items])
            np.testing.assert_allclose(
                scores_I[listed], [entry.score for entry in answer.items], rtol=1e-4, atol=1e-5
            )
            assert np.sort(scores_I)[-K] <= scores_I[listed].min() + 1e-5
