"""Popular, trending and latest items, against loops over the events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from asgi import Client, asking
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


@pytest.fixture(scope="module")
def model() -> lb.Fitted:
    return lb.Popularity().fit(uneven({"books": (40, 55), "movies": (25, 40)}, users=60))


@pytest.fixture(scope="module")
def client(model: lb.Fitted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("strategies")
    lb.save(model, folder / "run")
    pl.DataFrame(
        {"domain": "books", "item": model.history.items["books"].ids, "even": np.arange(40) % 2 == 0}
    ).write_parquet(folder / "items.parquet")
    settings = ServeSettings(poll=3600, items=folder / "items.parquet")
    with asking(create_app(folder / "run", settings)) as client:
        yield client


@pytest.mark.parametrize("strategy", ["popular", "trending", "latest"])
def test_a_page_has_the_lists_of_the_library(model: lb.Fitted, client: Client, strategy: str) -> None:
    users = model.history.users.ids[:8].tolist()
    lists = {
        "a": lb.PageList(domain="books", k=4),
        "b": lb.PageList(domain="books", k=6, strategy=strategy),
        "c": lb.PageList(domain="movies", k=3, strategy="latest"),
        "d": lb.PageList(domain="movies", k=50, strategy=strategy),
    }
    pages = lb.recommend_page(model, lists, users=users)
    bodies = [
        {"domains": [each.domain], "k": each.k, **({"strategy": each.strategy} if each.strategy else {})}
        for each in lists.values()
    ]
    for user in users:
        answer = client.post("/v1/page", {"user": user, "lists": bodies}).json["lists"]
        for (name, each), own in zip(lists.items(), answer, strict=True):
            rows = pages.filter(user=user, list=name)
            assert [str(entry["item"]) for entry in own["items"]] == rows["item"].to_list()
            assert [entry["score"] for entry in own["items"]] == rows["score"].to_list()
            if each.strategy:
                assert own["source"] == each.strategy


def test_a_list_by_a_strategy_obeys_what_a_list_obeys(client: Client) -> None:
    """Events of the request, ids and rules filter it; over several domains it is one order."""
    body: dict[str, Any] = {"domains": ["books"], "strategy": "trending", "k": 1000}
    every = client.post("/v1/recommend", body).json
    items = [entry["item"] for entry in every["items"]]
    assert (every["source"], every["known"]) == ("trending", False)
    assert items == [entry["item"] for entry in client.get(TRENDING).json["items"]]
    seen = [{"domain": "books", "item": item} for item in items[:2]]
    for given, expected in (
        ({"events": seen}, items[2:]),
        ({"events": seen, "seen": True}, items),
        ({"deny": {"books": items[1:4]}, "k": 3}, [items[0], *items[4:6]]),
        ({"allow": {"books": items[5:9]}}, items[5:9]),
        ({"where": "even", "k": 5}, [item for item in items if item in even_books(client)][:5]),
        ({"k": 4, "offset": 3}, items[3:7]),
    ):
        answer = client.post("/v1/recommend", {**body, **given}).json
        assert [entry["item"] for entry in answer["items"]] == expected
    both = client.post("/v1/recommend", {**body, "domains": ["books", "movies"]}).json["items"]
    assert [entry["score"] for entry in both] == sorted((e["score"] for e in both), reverse=True)
    assert {entry["domain"] for entry in both} == {"books", "movies"}
    batch = {"requests": [body, {"domains": ["books"], "k": 3}, {**body, "strategy": "latest"}]}
    answers = client.post("/v1/recommend/batch", batch).json["answers"]
    assert [each["source"] for each in answers] == ["trending", "fallback", "latest"]
    assert answers[0]["items"] == every["items"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"strategy": "best"}, "strategy"),
        ({"strategy": "latest", "explain": True}, "no reasons"),
        ({"strategy": "latest", "tail": 0.5}, "an order of its own"),
        ({"strategy": "latest", "weights": {"books": 2}}, "an order of its own"),
    ],
)
def test_two_orders_of_a_list_are_refused(client: Client, given: dict[str, Any], why: str) -> None:
    reply = client.post("/v1/recommend", {"domains": ["books"], **given})
    assert reply.status == 422
    assert why in reply.error


TRENDING = "/v1/popular?strategy=trending&k=1000&domain=books"


def even_books(client: Client) -> list[Any]:
    body = {"domains": ["books"], "k": 1000, "where": "even", "seen": True}
    return [entry["item"] for entry in client.post("/v1/recommend", body).json["items"]]
