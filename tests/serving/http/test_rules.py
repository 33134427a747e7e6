"""Rules about items over HTTP: the text and the object are one filter, in lists and in similar items."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from asgi import Client, asking
from shops import SIZES, fit, opened

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.serving.http import schemas
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.settings import ServeSettings

GENRES = ("noir", "war", None)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("rules")
    films = [
        {"domain": "films", "item": f"f{n:02d}", "genre": GENRES[n % 3], "price": n / 2}
        for n in range(SIZES["films"])
    ]
    pl.DataFrame(films).write_parquet(folder / "items.parquet")
    opened(fit(lb.IALS(factors=4, epochs=1, sharing="joined")), folder)
    with asking(
        create_app(folder / "run", ServeSettings(poll=3600, items=folder / "items.parquet"))
    ) as client:
        yield client


def listed(client: Client, path: str, body: dict[str, Any]) -> list[str]:
    reply = client.post(path, body)
    assert reply.status == 200, reply.error
    return [item["item"] for item in reply.json["items"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/recommend", {"domains": ["films"], "user": "u01", "k": 90}),
        ("/v1/similar", {"domain": "films", "item": "f06", "k": 90}),
    ],
)
def test_a_text_and_an_object_are_one_filter(client: Client, path: str, body: dict[str, Any]) -> None:
    every = listed(client, path, body)
    noir = [item for item in every if int(item[1:]) % 3 == 0]
    assert 5 < len(noir) < len(every)
    assert listed(client, path, {**body, "where": "genre = noir"}) == noir
    assert listed(client, path, {**body, "where": {"genre": "noir"}}) == noir
    cheap = [item for item in every if int(item[1:]) < 40 and int(item[1:]) % 3 != 0]
    assert listed(client, path, {**body, "where": "price < 20 and genre not in [noir]"}) == cheap


@pytest.mark.parametrize("value", [None, "noir", ["noir", "war"], ["war", None]])
def test_every_value_that_the_schema_offers_is_taken(client: Client, value: Any) -> None:
    """Null is no value, and of a list an item has one."""
    where = client.get("/openapi.json").json["components"]["schemas"]["RecommendBody"]["properties"]["where"]
    assert all(f'"{kind}"' in json.dumps(where) for kind in ("null", "string", "array"))
    body = {"domains": ["films"], "user": "u01", "k": 90}
    wanted = value if isinstance(value, list) else [value]
    expected = [item for item in listed(client, "/v1/recommend", body) if GENRES[int(item[1:]) % 3] in wanted]
    assert expected
    assert listed(client, "/v1/recommend", {**body, "where": {"genre": value}}) == expected


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("price <", "At character 8 of the rule 'price <': expected a value, not the end."),
        ("prize < 3", "did you mean 'price'?"),
        ("", "where: a rule has 1 to 10,000 characters."),
        ("price < 3 and " * 1000, "where: a rule has 1 to 10,000 characters."),
        (3, "where: must be an object."),
        ({"genre": {}}, "where.genre: an id is a whole number"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_sentence(client: Client, where: Any, why: str) -> None:
    reply = client.post("/v1/recommend", {"domains": ["films"], "where": where})
    assert reply.status == 422
    assert why in reply.error


def test_the_largest_rule_is_answered(client: Client) -> None:
    rule = " or ".join(["price < 3"] * 769)
    assert schemas.MAX_RULE - 20 < len(rule) <= schemas.MAX_RULE
    assert listed(client, "/v1/recommend", {"domains": ["films"], "k": 90, "where": rule})


def test_an_order_is_taken_over_http(client: Client) -> None:
    body = {
        "domains": ["films"],
        "user": "u01",
        "k": 4,
        "max_per": {"genre": 1},
        "boosts": [{"where": "price < 5", "by": 0.5}, {"items": {"films": ["f31"]}, "by": -9}],
        "pins": [{"place": 2, "item": "f61"}],
        "diversity": 0.2,
        "tail": 0.1,
    }
    found = listed(client, "/v1/recommend", body)
    genres = [GENRES[int(item[1:]) % 3] for item in found]
    assert found[1] == "f61"
    assert len(found) == 4
    assert genres.count("noir") <= 1
    assert genres.count("war") <= 1


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"diversity": 2}, "diversity"),
        ({"max_per": {"genre": 0}}, "max_per.genre"),
        ({"max_per": {"colour": 1}}, "colour"),
        ({"boosts": [{"by": 1}]}, "'where' or 'items'"),
        ({"boosts": [{"where": "price <", "by": 1}]}, "expected a value"),
        ({"pins": [{"place": 0, "item": "f01"}]}, "place"),
    ],
)
def test_what_is_no_order_is_refused_in_one_sentence(client: Client, order: Any, why: str) -> None:
    reply = client.post("/v1/recommend", {"domains": ["films"], **order})
    assert reply.status == 422
    assert why in reply.error


def test_a_page_repeats_nothing(client: Client) -> None:
    lists: list[dict[str, Any]] = [
        {"domains": ["films"], "k": 5, "where": "genre = noir"},
        {"domains": ["films", "books"], "k": 8, "deny": {"films": ["f03"]}},
        {"domains": ["films"], "k": 90, "max_per": {"genre": 3}},
    ]
    reply = client.post("/v1/page", {"user": "u01", "lists": lists})
    assert reply.status == 200, reply.error
    found = [[(each["domain"], each["item"]) for each in own["items"]] for own in reply.json["lists"]]
    assert [item for _, item in found[0]] == listed(client, "/v1/recommend", {"user": "u01", **lists[0]})
    # the second list is the one without the first
    first = [item for _, item in found[0]]
    alone = client.post("/v1/recommend", {"user": "u01", **lists[1], "deny": {"films": ["f03", *first]}})
    assert found[1] == [(each["domain"], each["item"]) for each in alone.json["items"]]
    every = [pair for own in found for pair in own]
    assert len(set(every)) == len(every)
    assert client.post("/v1/page", {"lists": [{"domains": ["films"], "user": "u01"}]}).status == 422


def test_a_rule_of_the_server_is_obeyed_by_every_list(tmp_path: Path) -> None:
    stock = tmp_path / "items.csv"
    films = {"domain": "films", "item": [f"f{n:02d}" for n in range(SIZES["films"])]}
    pl.DataFrame(films).with_columns(stock=pl.int_range(pl.len()) % 3).write_csv(stock)
    opened(fit(lb.IALS(factors=4, epochs=1, sharing="joined")), tmp_path)
    settings = ServeSettings(poll=3600, items=stock, where="stock > 0")
    with asking(create_app(tmp_path / "run", settings)) as client:
        plain = {"domains": ["films"], "user": "u01", "k": 90}
        bodies = [
            ("/v1/recommend", plain),
            ("/v1/recommend", {**plain, "where": "stock < 2"}),
            ("/v1/recommend", {**plain, "pins": [{"place": 1, "item": "f03"}]}),
            ("/v1/similar", {"domain": "films", "item": "f06", "k": 90}),
        ]
        for path, body in bodies:
            found = listed(client, path, body)
            assert found
            assert all(int(item[1:]) % 3 for item in found)
        popular = client.get("/v1/popular?domain=films&k=90").json["items"]
        assert all(int(each["item"][1:]) % 3 for each in popular)
        assert len(popular) == 60
    with pytest.raises(DataError, match="shelf"):
        create_app(tmp_path / "run", ServeSettings(items=stock, where="shelf > 0"))
