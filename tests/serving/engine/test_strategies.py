"""Popular, trending and latest items, against loops over the events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from asgi import asking
from worlds import uneven

import landbridge as lb
from landbridge.data.interactions import DAY, Interactions
from landbridge.ranking.strategies import item_scores
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.settings import ServeSettings


def events(size: int = 200, items: int = 12, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(30 * (items - 1))[:size]  # the last item has no event
    time_N = 1_700_000_000 + rng.integers(0, 60 * DAY, size)
    columns = (pairs // (items - 1)).astype(np.int32), (pairs % (items - 1)).astype(np.int32)
    return Interactions.from_events(*columns, 30, items, None, time_N)


def test_scores_are_those_of_a_loop() -> None:
    table = events()
    assert table.time is not None
    last = max(table.time.tolist())
    trending, first = np.zeros(12), np.full(12, np.inf)
    for item, time in zip(table.item_idx.tolist(), table.time.tolist(), strict=True):
        trending[item] += 0.5 ** ((last - time) / (7 * DAY))
        first[item] = min(first[item], time)
    trending[-1] = first[-1] = -np.inf
    np.testing.assert_allclose(item_scores("trending", table, "a"), trending)
    assert item_scores("latest", table, "a").tolist() == first.tolist()
    assert item_scores("popular", table, "a").tolist() == table.item_counts.tolist()


def test_data_without_times_are_popular_at_most() -> None:
    timed = events()
    untimed = Interactions.from_events(timed.user_idx, timed.item_idx, 30, 12)
    assert len(item_scores("popular", untimed, "books")) == 12
    for strategy in ("trending", "latest"):
        with pytest.raises(lb.DataError, match="has no times"):
            item_scores(strategy, untimed, "books")


@pytest.mark.parametrize("strategy", ["trending", "latest"])
def test_a_served_list_is_in_the_order_of_its_scores(strategy: str, tmp_path: Path) -> None:
    data = uneven({"books": (40, 55), "movies": (25, 40)}, users=60)
    lb.save(lb.Popularity().fit(data), tmp_path / "run")
    with asking(create_app(tmp_path / "run", ServeSettings(poll=3600))) as client:
        for domain in data.domain_names:
            score_I = item_scores(strategy, data[domain], domain)
            order = [n for n in np.argsort(-score_I, kind="stable").tolist() if np.isfinite(score_I[n])]
            path = f"/v1/popular?strategy={strategy}&k=1000&domain={domain}"
            listed = client.get(path).json["items"]
            assert [item["item"] for item in listed] == data.items[domain].ids[order].tolist()
            assert [item["score"] for item in listed] == score_I[order].tolist()
            assert client.get(f"{path.replace('k=1000', 'k=3')}&offset=2").json["items"] == listed[2:5]
        both = client.get(f"/v1/popular?strategy={strategy}&k=10").json["items"]
        scores = [item["score"] for item in both]
        assert scores == sorted(scores, reverse=True)
