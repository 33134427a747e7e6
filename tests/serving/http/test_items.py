"""Items as data: what is said of them counts at once, everywhere, after a restart and under a new model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from asgi import Client, Reply, asking
from served_runs import save_run

from landbridge.serving.events.store import EventStore
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.settings import ServeSettings

QUICK = 0.05  # seconds between checks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("items") / "run")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = [{"domain": "books", "item": n, "price": n, "title": f"Book {n}"} for n in range(40)]
    pl.DataFrame(table).write_parquet(tmp_path / "items.parquet")
    return tmp_path


def app(run: Path, folder: Path, poll: float = 3600) -> Any:
    settings = ServeSettings(poll=poll, items=folder / "items.parquet")
    return create_app(run, settings, EventStore.open(str(folder / "events.sqlite")))


@pytest.fixture
def client(run: Path, folder: Path) -> Iterator[Client]:
    with asking(app(run, folder)) as client:
        yield client


def patch(client: Client, items: list[Any], **others: Any) -> Reply:
    body = json.dumps({"items": items, **others}).encode()
    return client.run(client.ask("PATCH", "/v1/items", [body], {"content-type": "application/json"}))


def said(item: Any, domain: str = "books", **values: Any) -> dict[str, Any]:
    return {"domain": domain, "item": item, "values": values}


def listed(client: Client, **body: Any) -> list[Any]:
    reply = client.post("/v1/recommend", {"domains": ["books"], "user": 3, "k": 40, **body})
    assert reply.status == 200, reply.body
    return [item["item"] for item in reply.json["items"]]


def popular(client: Client, k: int = 40) -> list[Any]:
    return [item["item"] for item in client.get(f"/v1/popular?domain=books&k={k}").json["items"]]


def test_hidden_items_are_in_no_list_until_they_are_shown_again(client: Client) -> None:
    everything, best = listed(client), popular(client)
    gone = [everything[0], everything[2], best[0]]
    assert patch(client, [said(item, hidden=True) for item in gone]).json == {"patched": 3, "unknown": 0}
    assert listed(client) == [item for item in everything if item not in gone]
    assert popular(client) == [item for item in best if item not in gone]
    assert len(listed(client, k=5)) == len(popular(client, 5)) == 5
    others = [
        client.post("/v1/similar", {"domain": "books", "item": best[1], "k": 40}),
        client.get("/v1/search?q=book&domain=books&k=40"),
    ]
    for reply in others:
        shown = [item["item"] for item in reply.json["items"]]
        assert shown
        assert not set(gone) & set(shown)
    assert not set(gone) & set(listed(client, allow={"books": [*gone, everything[1]]}))
    assert not set(gone) & set(listed(client, where="price >= 0"))
    batch = client.post("/v1/recommend/batch", {"requests": [{"domains": ["books"], "k": 40}]}).json
    assert not set(gone) & {item["item"] for item in batch["answers"][0]["items"]}
    patch(client, [said(gone[0], hidden=False), said(gone[1], hidden=None), said(gone[2], hidden=False)])
    assert (listed(client), popular(client)) == (everything, best)


def test_prices_stock_and_titles_count_at_once(client: Client) -> None:
    item = listed(client)[0]
    assert item not in listed(client, where="price > 100")
    patch(client, [said(item, price=150, stock=3, colours=["red", "blue"], title="Öre, quite new")])
    assert listed(client, where="price > 100") == [item]
    assert listed(client, where={"stock": 3}) == listed(client, where="colours = red") == [item]
    assert client.post("/v1/recommend", {"domains": ["books"], "user": 3, "k": 1}).json["items"][0][
        "title"
    ] == ("Öre, quite new")
    found = client.get("/v1/search?q=ore%20new").json["items"]
    assert [(each["item"], each["title"]) for each in found] == [(item, "Öre, quite new")]
    values = client.get("/v1/values?column=stock").json["values"]
    assert client.post("/v1/recommend", {"domains": ["movies"], "where": "stock = 3"}).json["items"] == []
    assert values == [{"value": None, "items": 64}, {"value": 3, "items": 1}]
    patch(client, [said(item, price=None, title=None)])
    assert listed(client, where="price > 100") == []
    assert listed(client, where=f"price = {item}") == [item]
    assert client.get("/v1/search?q=ore%20new").json["items"] == []
    assert {"price", "stock", "colours", "title"} <= set(client.get("/v1/model").json["filters"])


def test_it_survives_a_restart_a_new_model_and_a_new_table(run: Path, folder: Path) -> None:
    with asking(app(run, folder)) as client:
        best = popular(client)
        patch(client, [said(best[0], hidden=True), said(best[1], price=500), said("of tomorrow", price=1)])
    with asking(app(run, folder)) as client:
        assert popular(client) == best[1:]
        assert listed(client, where="price >= 500", seen=True) == [best[1]]
        table = pl.read_parquet(folder / "items.parquet").with_columns(price=pl.lit(900))
        table.write_parquet(folder / "new.parquet")
        (folder / "new.parquet").replace(folder / "items.parquet")
        client.run(_current(client).check_for_update())
        assert popular(client) == best[1:]
        assert best[1] not in listed(client, where="price = 900", seen=True)
        assert len(listed(client, where="price = 900", seen=True)) == 38


def _current(client: Client) -> Any:
    return next(
        route.endpoint.__self__.current for route in client.app.router.routes if route.path == "/v1/model"
    )


def test_another_model_knows_what_was_said(tmp_path: Path, folder: Path) -> None:
    own = save_run(tmp_path / "own")
    with asking(app(own, folder)) as client:
        first, model = popular(client)[0], client.get("/readyz").json["model"]
        patch(client, [said(first, hidden=True)])
        swaps = client.get("/readyz").json["swaps"]
        save_run(own, seed=1)
        client.run(_current(client).check_for_update())
        ready = client.get("/readyz").json
        assert (ready["model"] != model, ready["swaps"], swaps) == (True, 1, 0)
        assert first not in popular(client)


def test_other_servers_of_the_store_follow(run: Path, folder: Path) -> None:
    with asking(app(run, folder)) as one, asking(app(run, folder, QUICK)) as other:
        first = popular(other)[0]
        patch(one, [said(first, hidden=True)])
        deadline = time.monotonic() + 30
        while first in popular(other):
            assert time.monotonic() < deadline
            other.run(_sleep())
        assert popular(other) == popular(one)


async def _sleep() -> None:
    import asyncio

    await asyncio.sleep(QUICK)


def test_many_patches_at_once_all_count(client: Client) -> None:
    """Some wait for others, and none is lost."""
    import asyncio

    async def together() -> list[Reply]:
        bodies = [json.dumps({"items": [said(n, price=1000 + n)]}).encode() for n in range(30)]
        head = {"content-type": "application/json"}
        return await asyncio.gather(*(client.ask("PATCH", "/v1/items", [body], head) for body in bodies))

    assert {reply.status for reply in client.run(together())} == {200}
    values = client.get("/v1/values?column=price&k=1000").json["values"]
    prices = {each["value"] for each in values} - {None}
    assert prices == {*range(1000, 1030), *range(30, 40)}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (said("a", domain="bookz", price=1), "did you mean 'books'"),
        (said("a"), "values"),
        (said("a", hidden="yes"), "hidden is true or false"),
        (said("a", hidden=1), "hidden is true or false"),
        (said("a", title=5), "title is a text"),
        (said("a", domain="books") | {"values": {"item": 3}}, "item names the item"),
        (said("a", price={"now": 3}), "price"),
        (said("a", **{f"c{n}": n for n in range(65)}), "values"),
        (said(None, price=1), "item"),
        (7, "object"),
    ],
    ids=str,
)
def test_a_wrong_entry_is_refused_or_answered_alone(client: Client, entry: Any, why: str) -> None:
    best = popular(client)
    refusal = patch(client, [said(best[0], hidden=True), entry])
    assert refusal.status == 422
    assert why in refusal.error
    assert popular(client) == best
    reply = patch(client, [said(best[0], hidden=True), entry, said("new", a=1)], partial=True).json
    assert (reply["patched"], reply["unknown"], len(reply["errors"])) == (2, 1, 1)
    assert reply["errors"][0]["entry"] == 1
    assert why in reply["errors"][0]["error"]
    assert popular(client) == best[1:]


def test_columns_are_bounded(client: Client) -> None:
    for start in (0, 32):
        assert patch(client, [said(1, **{f"c{n}": n for n in range(start, start + 32)})]).status == 200
    assert "At most 64 columns" in patch(client, [said(1, one_more=1)]).error
    assert patch(client, [said(2, c3=1)]).status == 200


def test_without_a_store_nothing_can_be_said(run: Path) -> None:
    with asking(create_app(run)) as client:
        assert patch(client, [said(1, price=1)]).status == 404
