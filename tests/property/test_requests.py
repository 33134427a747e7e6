"""Requests of any kind: a documented answer or a refusal in one sentence, and lists that keep their rules."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import polars as pl
import pytest
from asgi import Client, Reply, asking
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from shops import SIZES, fit, opened, world
from strategies import FINER_TIMES, ODD_JSON, Shop

import landbridge as lb
from landbridge.serving.engine.messages import Request
from landbridge.serving.engine.service import Service
from landbridge.serving.events.store import EventStore
from landbridge.serving.http import schemas
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.settings import ServeSettings

ANSWERS: dict[str, type[BaseModel]] = {
    "/v1/recommend": schemas.RecommendAnswer,
    "/v1/recommend/batch": schemas.BatchAnswer,
    "/v1/similar": schemas.Items,
    "/v1/explain": schemas.ExplainAnswer,
    "/v1/events": schemas.Stored,
    "/v1/search": schemas.Items,
    "/v1/popular": schemas.Items,
    "/v1/values": schemas.ValuesAnswer,
}
QUERIES = ("/v1/search", "/v1/popular", "/v1/values")
GENRES = ("noir", "war", None)
RULES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "genre = noir": lambda row: row["genre"] == "noir",
    "year < 1903 or not genre in [war, null]": lambda row: row["year"] < 1903 or row["genre"] == "noir",
    "year >= 1902 and year != 1904": lambda row: row["year"] >= 1902 and row["year"] != 1904,
}
DATA = world()
SHOP = Shop(
    {name: DATA.items[name].ids.tolist() for name in DATA.domain_names},
    DATA.users.ids.tolist(),
    {"genre": [*GENRES], "year": [1900, 1901.0, "1902", None]},
    (*RULES,),
)


def row_of(domain: str, place: int) -> dict[str, Any]:
    """What the items' table says of an item."""
    return {
        "domain": domain,
        "item": str(SHOP.items[domain][place]),
        "genre": GENRES[place % 3],
        "year": 1900 + place,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("requests")
    rows = [row_of(domain, place) for domain, size in SIZES.items() for place in range(size)]
    pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    opened(fit(lb.IALS(factors=4, epochs=1, sharing="joined")), folder)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    bounds = ServeSettings(poll=3600, items=folder / "items.parquet")
    with asking(create_app(folder / "run", bounds, EventStore.open(str(folder / "events.sqlite")))) as client:
        yield client


def documented(path: str, reply: Reply) -> dict[str, Any] | None:
    """The answer, of exactly the documented form; None where the request was refused in one sentence."""
    if reply.status != 200:
        assert 400 <= reply.status < 500, (reply.status, reply.body)
        assert reply.error.endswith(".")
        assert "\n" not in reply.error
        return None
    answer = ANSWERS[path].model_validate_json(reply.body, strict=True)
    assert answer.model_dump(exclude_unset=True) == reply.json
    return dict(reply.json)


def keeps_its_rules(body: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """A list has at most k different items, best first, all of them allowed, not denied and as the table
    says."""
    pairs = [(item["domain"], item["item"]) for item in items]
    scores = [item["score"] for item in items]
    assert len(set(pairs)) == len(pairs) <= body.get("k", 10)
    assert scores == sorted(scores, reverse=True)
    for domain, item in pairs:
        assert domain in body["domains"]
        assert item in body.get("allow", {}).get(domain, [item])
        assert item not in body.get("deny", {}).get(domain, [])
        row = row_of(domain, SHOP.items[domain].index(item))
        where = body.get("where", {})
        if isinstance(where, str):
            assert RULES[where](row)
            continue
        for name, wanted in where.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            assert str(row[name]) in [str(value).removesuffix(".0") for value in values]


def finer_times(body: dict[str, Any]) -> list[int]:
    """Times of the events that are no seconds."""
    events = body.get("events")
    times = (
        [event.get("time") for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    )
    return [time for time in times if time in FINER_TIMES]


@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/similar", "/v1/explain", "/v1/events"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_body_is_answered_as_documented_or_refused(client: Client, path: str, data: st.DataObject) -> None:
    body = data.draw(SHOP.requests(path))
    answer = documented(path, client.post(path, body))
    assert answer is None or not finer_times(body)
    if answer is not None and path == "/v1/recommend":
        keeps_its_rules(body, answer["items"])
    if answer is not None and path == "/v1/events":
        assert answer == {"stored": len(body["events"])}


@settings(max_examples=40)
@given(body=SHOP.requests("/v1/recommend/batch"))
def test_a_batch_is_answered_as_its_requests_alone_or_refused(client: Client, body: dict[str, Any]) -> None:
    answer = documented("/v1/recommend/batch", client.post("/v1/recommend/batch", body))
    if answer is not None:
        for one, given_ in zip(answer["answers"], body["requests"], strict=True):
            assert client.post("/v1/recommend", given_).json["items"] == one["items"]
            keeps_its_rules(given_, one["items"])


@pytest.mark.parametrize("path", QUERIES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_query_is_answered_as_documented_or_refused(client: Client, path: str, data: st.DataObject) -> None:
    given_ = data.draw(SHOP.requests(path))
    answer = documented(path, client.get(f"{path}?{urlencode(given_, errors='replace')}"))
    if answer is not None:
        assert len(answer["values" if path == "/v1/values" else "items"]) <= int(given_.get("k", 20))


@settings(max_examples=40)
@given(body=ODD_JSON, path=st.sampled_from(sorted(path for path in ANSWERS if path not in QUERIES)))
def test_any_json_is_answered_as_documented_or_refused(client: Client, path: str, body: Any) -> None:
    documented(path, client.post(path, body))


@settings(max_examples=40)
@given(user=ODD_JSON)
def test_any_user_may_be_forgotten(client: Client, user: Any) -> None:
    name = quote(str(user), safe="", errors="replace")
    reply = client.delete(f"/v1/users/{name}")
    assert reply.status in (200, 404, 422)
    assert reply.json == {"forgotten": 0} or reply.error


MOST = 10**12
LISTS: dict[str, Callable[[Service], Any]] = {
    "recommend": lambda service: service.recommend([Request(("films", "books"), "u00", k=MOST)]),
    "similar": lambda service: service.similar("films", "f00", MOST),
    "search": lambda service: service.search(None, "f", MOST),
    "popular": lambda service: service.popular(None, MOST),
    "in Python": lambda service: lb.recommend(service.fitted, "films", k=MOST),
    "fold-in": lambda service: lb.fold_in(service.fitted, {"films": ["f00"]}, "films", k=MOST),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_memory_of_a_list_is_bounded_by_the_catalogue(folder: Path, name: str) -> None:
    service = Service.open(folder / "run")
    LISTS[name](service)  # what is made once is none of the list's
    tracemalloc.start()
    try:
        LISTS[name](service)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_the_schema_is_that_of_the_answers(client: Client) -> None:
    """What the properties compare answers with is what /openapi.json says."""
    document = json.loads(client.get("/openapi.json").body)
    for path, model in ANSWERS.items():
        operation = document["paths"][path]["get" if path in QUERIES else "post"]
        shown = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert shown == {"$ref": f"#/components/schemas/{model.__name__}"}
        component = document["components"]["schemas"][model.__name__]
        assert set(component["properties"]) == set(model.model_fields)
