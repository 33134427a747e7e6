"""The HTTP interface: what each route answers, who may ask, and what is written down about it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from asgi import Client, asking
from prometheus_client.parser import text_string_to_metric_families
from stand_in import StandIn
from worlds import uneven

from landbridge.core.errors import StoreError
from landbridge.models.als.cdimf import CDIMF
from landbridge.serving.engine.messages import Event
from landbridge.serving.events import history
from landbridge.serving.events.store import EventStore
from landbridge.serving.http import schemas
from landbridge.serving.http.app import create_app
from landbridge.serving.http.static_files import WEB
from landbridge.serving.runtime.logging import LOG, JsonLines
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.store import save
from landbridge.training.options import FitOptions

KEY = "a very secret key"
ORIGIN = "https://shop.example"


@pytest.fixture
def service() -> StandIn:
    return StandIn()


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore.open(str(tmp_path / "events.sqlite"))


@pytest.fixture
def client(service: StandIn, store: EventStore) -> Iterator[Client]:
    with asking(create_app(service, store=store)) as client:
        yield client


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == LOG.name]


def figures(client: Client) -> dict[tuple[str, ...], float]:
    """Name and label values -> value; an empty label is none, as for Prometheus."""
    families = text_string_to_metric_families(client.get("/metrics").body.decode())
    samples = [sample for family in families for sample in family.samples]
    return {(each.name, *filter(None, each.labels.values())): each.value for each in samples}


def test_a_list_has_the_promised_form(client: Client) -> None:
    reply = client.post("/v1/recommend", {"domains": ["books"], "user": "alice", "k": 2})
    model = "a" * 12
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert re.fullmatch("[0-9a-f]{32}", reply.json["recommendation_id"])
    assert reply.json == {
        "recommendation_id": reply.json["recommendation_id"],
        "items": [
            {"domain": "books", "item": f"{model}-0", "title": None, "score": 1.0, "cold": False},
            {"domain": "books", "item": f"{model}-1", "title": None, "score": 0.5, "cold": False},
        ],
        "source": "model",
        "known": True,
        "model": model,
        "degraded": False,
        "version": None,
        "run": None,
    }


def test_everything_requested_reaches_the_service(client: Client, service: StandIn) -> None:
    body = {
        "domains": ["books", "movies"],
        "user": 17,
        "events": [{"domain": "movies", "item": "alien", "time": 5}, {"domain": "books", "item": 3}],
        "k": 3,
        "seen": True,
        "allow": {"books": ["a", 1]},
        "deny": {"movies": ["b"]},
        "where": {
            "language": "en",
            "pages": 3,
            "new": True,
            "price": 1.5,
            "series": None,
            "genre": ["war", None, 7],
        },
        "weights": {"books": 2, "movies": 0.5},
    }
    assert client.post("/v1/recommend", body).status == 200
    (asked,) = service.asked
    assert (asked.domains, asked.user, asked.k, asked.seen) == (("books", "movies"), 17, 3, True)
    assert asked.events == (Event("movies", "alien", 5), Event("books", 3, None))
    assert (dict(asked.allow), dict(asked.deny)) == ({"books": ("a", 1)}, {"movies": ("b",)})
    assert dict(asked.where) == body["where"]
    assert dict(asked.weights) == body["weights"]


def test_reasons_are_the_events_that_speak_for_an_item(client: Client) -> None:
    events = [{"domain": "movies", "item": number} for number in range(5)]
    reply = client.post("/v1/recommend", {"domains": ["books"], "events": events, "k": 1, "explain": True})
    (item,) = reply.json["items"]
    assert [part["item"] for part in item["because"]] == [0, 1, 2, None]  # popularity, too
    assert set(item["because"][0]) == {"domain", "item", "title", "value"}


def test_the_reasons_of_a_popular_item_are_that_it_is_popular(tmp_path: Path) -> None:
    """Where most of a score is popularity, the list's reasons say so."""
    data = uneven({"books": (40, 55), "movies": (25, 40)}, users=60)
    save(CDIMF(factors=4, epochs=2).fit(data, FitOptions(threads=1)), tmp_path / "run")
    events, mostly = [{"domain": "movies", "item": 3}], 0
    with asking(create_app(tmp_path / "run")) as client:
        body = {"domains": ["books"], "events": events, "k": 40, "explain": True}
        for item in client.post("/v1/recommend", body).json["items"]:
            parts = client.post("/v1/explain", {"domain": "books", "item": item["item"], "events": events})
            popular = [part for part in parts.json["parts"] if part["item"] is None and part["value"] > 0]
            assert [part for part in item["because"] if part["item"] is None] == popular
            mostly += sum(part["value"] for part in popular) > 0.5 * item["score"]
    assert mostly


def test_without_reasons_to_give_the_list_stays(client: Client) -> None:
    reply = client.post("/v1/recommend", {"domains": ["books"], "k": 1, "explain": True})
    assert [item["because"] for item in reply.json["items"]] == [[]]


def test_a_batch_is_answered_in_its_order(client: Client) -> None:
    requests = [{"domains": [name], "k": k} for name, k in (("books", 1), ("movies", 3), ("books", 2))]
    answers = client.post("/v1/recommend/batch", {"requests": requests}).json["answers"]
    assert [(answer["items"][0]["domain"], len(answer["items"])) for answer in answers] == [
        ("books", 1),
        ("movies", 3),
        ("books", 2),
    ]


def test_a_wrong_entry_of_a_partial_batch_leaves_the_others(client: Client) -> None:
    good, bad, worse = {"domains": ["books"], "k": 2}, {"domains": ["bookz"]}, {"domains": ["books"], "kk": 1}
    requests = [good, bad, worse, {**good, "explain": True}, good]
    answers = client.post("/v1/recommend/batch", {"requests": requests, "partial": True}).json["answers"]
    assert [len(answer.get("items", ())) for answer in answers] == [2, 0, 0, 0, 2]
    assert all(answer["status"] == 422 for answer in answers[1:4])
    said = [answer["error"] for answer in answers[1:4]]
    assert "did you mean 'books'" in said[0]
    assert said[1].startswith("Unknown key 'kk'")
    assert "'k'" in said[1]
    assert "without reasons" in said[2]
    assert set(answers[1]) == {"error", "status"}
    for wrong in (bad, worse):  # as ever: all or none
        assert client.post("/v1/recommend/batch", {"requests": [good, wrong]}).status == 422


@pytest.mark.parametrize("offset", [0, 1, 4, 990])
def test_offset_goes_on_where_a_list_ended(client: Client, offset: int) -> None:
    parts = [
        client.post("/v1/recommend", {"domains": ["books"], "k": 10, "offset": offset}),
        client.post("/v1/similar", {"domain": "books", "item": 1, "k": 10, "offset": offset}),
        client.get(f"/v1/search?q=a&k=10&offset={offset}"),
        client.get(f"/v1/popular?domain=books&k=10&offset={offset}"),
    ]
    for reply in parts:
        assert [item["item"] for item in reply.json["items"]] == [
            f"{'a' * 12}-{n}" for n in range(offset, offset + 10)
        ]
    batch = {"requests": [{"domains": ["books"], "k": 10, "offset": offset}]}
    answers = client.post("/v1/recommend/batch", batch).json["answers"]
    assert answers[0]["items"] == parts[0].json["items"]
    reasons = client.post("/v1/recommend", {"domains": ["books"], "k": 9, "offset": offset, "explain": True})
    assert len(reasons.json["items"]) == 9


def test_values_go_on_where_they_ended(client: Client) -> None:
    values = client.get("/v1/values?column=language").json["values"]
    assert client.get("/v1/values?column=language&k=1&offset=2").json["values"] == values[1:]


@pytest.mark.parametrize("offset", [991, 1000, -1])
def test_no_list_is_ranked_beyond_its_bound(client: Client, offset: int) -> None:
    for reply in (
        client.post("/v1/recommend", {"domains": ["books"], "k": 10, "offset": offset}),
        client.post("/v1/similar", {"domain": "books", "item": 1, "k": 10, "offset": offset}),
        client.get(f"/v1/search?q=a&k=10&offset={offset}"),
        client.get(f"/v1/popular?k=10&offset={offset}"),
        client.get(f"/v1/values?column=language&k=10&offset={offset}"),
    ):
        assert reply.status == 422
        assert "offset" in reply.error


@pytest.mark.parametrize(
    "sent", ["a", "8f14e45f-ceea-467f-a8f6-2b1b2c1c7a11", "Root=1-67891233-abc", "x" * 128]
)
def test_the_request_id_of_a_client_is_repeated(
    client: Client, caplog: pytest.LogCaptureFixture, sent: str
) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    good = client.get("/v1/popular?domain=books", x_request_id=sent)
    wrong = client.get("/v1/popular?k=0", x_request_id=sent)
    assert (good.headers["x-request-id"], wrong.headers["x-request-id"]) == (sent, sent)
    assert (wrong.status, wrong.json["request_id"]) == (422, sent)
    assert [line["request_id"] for line in lines(caplog) if line["event"] == "request"] == [sent, sent]


@pytest.mark.parametrize("sent", ["", "a b", 'a"b', "a\nb", "x" * 129, "\xe4", "a\x00"])
def test_a_request_id_that_is_not_sane_is_replaced(client: Client, sent: str) -> None:
    made = [client.get("/v1/popular?k=0", x_request_id=sent) for _ in range(2)]
    ids = [reply.headers["x-request-id"] for reply in made]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert [reply.json["request_id"] for reply in made] == ids
    assert ids[0] != ids[1]


def test_an_unforeseen_failure_is_found_by_its_request_id(
    client: Client, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    service.work = lambda: raising(RuntimeError("boom"))
    reply = client.post("/v1/recommend", {"domains": ["books"]}, x_request_id="find-me")
    assert (reply.status, reply.json["request_id"]) == (500, "find-me")
    (failed,) = [line for line in lines(caplog) if line["event"] == "failed"]
    assert failed["request_id"] == "find-me"


@pytest.mark.parametrize(
    ("method", "path", "body", "answer"),
    [
        ("POST", "/v1/recommend", {"domains": ["books"], "user": "alice"}, schemas.RecommendAnswer),
        ("POST", "/v1/recommend/batch", {"requests": [{"domains": ["books"]}]}, schemas.BatchAnswer),
        ("POST", "/v1/similar", {"domain": "books", "item": 1, "k": 2, "to": "movies"}, schemas.Items),
        ("POST", "/v1/explain", {"domain": "books", "item": 1, "user": "alice"}, schemas.ExplainAnswer),
        ("POST", "/v1/events", {"user": 1, "events": [{"domain": "books", "item": 1}]}, schemas.Stored),
        ("DELETE", "/v1/events?user=alice&id=e", None, schemas.Deleted),
        (
            "PATCH",
            "/v1/items",
            {"items": [{"domain": "books", "item": 1, "values": {"a": 1}}]},
            schemas.Patched,
        ),
        ("DELETE", "/v1/users/alice", None, schemas.Forgotten),
        ("GET", "/v1/search?q=dune&domain=books", None, schemas.Items),
        ("GET", "/v1/search?q=dune", None, schemas.Items),
        ("GET", "/v1/popular?domain=books&k=3", None, schemas.Items),
        ("GET", "/v1/popular?domain=books&strategy=latest", None, schemas.Items),
        ("GET", "/v1/values?column=language", None, schemas.ValuesAnswer),
        ("GET", "/v1/values?column=language&q=e", None, schemas.ValuesAnswer),
        ("GET", "/v1/model", None, schemas.ModelAnswer),
        ("GET", "/healthz", None, schemas.Alive),
        ("GET", "/readyz", None, schemas.Ready),
    ],
)
def test_answers_are_as_documented(client: Client, method: str, path: str, body: Any, answer: Any) -> None:
    pieces = [] if body is None else [json.dumps(body).encode()]
    reply = client.run(client.ask(method, path, pieces, {"content-type": "application/json"}))
    assert reply.status == 200, reply.body
    answer.model_validate(reply.json)
    named = {name for name, field in answer.model_fields.items() if field.is_required()}
    assert named <= set(reply.json)
    documented = client.get("/openapi.json").json["paths"]
    template = re.sub(r"/users/.*", "/users/{user}", path.partition("?")[0])
    assert set(documented[template][method.lower()]["responses"]) == {"200", "4XX", "500", "503"}


def test_every_field_is_described(client: Client) -> None:
    documented = client.get("/openapi.json").json["components"]["schemas"]
    bare = [
        f"{name}.{key}"
        for name, schema in documented.items()
        for key, field in schema.get("properties", {}).items()
        if "description" not in field and not name.endswith("ValidationError")
    ]
    assert bare == []


def test_every_parameter_and_status_is_described(client: Client) -> None:
    documented = client.get("/openapi.json").json["paths"]
    operations = [
        (f"{method} {path}", operation)
        for path, methods in documented.items()
        for method, operation in methods.items()
    ]
    parameters = [(name, each) for name, operation in operations for each in operation.get("parameters", ())]
    assert len(parameters) >= 9
    assert [(name, each["name"]) for name, each in parameters if not each.get("description")] == []
    for name, operation in operations:
        statuses = {status: each["description"] for status, each in operation["responses"].items()}
        assert set(statuses) - {"422"} >= {"200", "4XX", "500", "503"}, name
        assert all(statuses.values()), name
        assert operation.get("description") or operation.get("summary"), name


def test_documented_examples_are_accepted(client: Client) -> None:
    documented = client.get("/openapi.json").json
    examples = {
        path: documented["components"]["schemas"][name].get("examples", [])
        for path, operations in documented["paths"].items()
        if "post" in operations
        for name in [
            operations["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        ]
    }
    assert sum(map(len, examples.values())) >= 5
    for path, bodies in examples.items():
        for body in bodies:
            assert client.post(path, body).status == 200, (path, body)


NO_SECONDS: dict[Any, str] = {
    1_600_000_000_000: "; if these are milliseconds, divide by 1,000",
    1_600_000_000_000_000: "; if these are microseconds, divide by 1,000,000",
    -(10**11): "; if these are milliseconds, divide by 1,000",
    1.5: "; give seconds since 1970",
    "1600000000": "; give seconds since 1970",
    True: "; give seconds since 1970",
}


@pytest.mark.parametrize("time", NO_SECONDS)
@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/recommend/batch", "/v1/explain", "/v1/events"])
def test_a_time_that_is_no_second_is_refused_by_every_endpoint(client: Client, path: str, time: Any) -> None:
    events = [{"domain": "books", "item": 1}, {"domain": "books", "item": 1, "time": time}]
    request = {"domains": ["books"], "events": events}
    bodies = {
        "/v1/recommend": request,
        "/v1/recommend/batch": {"requests": [request]},
        "/v1/explain": {"domain": "books", "item": 1, "events": events},
        "/v1/events": {"user": "a", "events": events},
    }
    reply = client.post(path, bodies[path])
    assert reply.status == 422
    assert f"an event's time is in whole seconds, not {time!r}{NO_SECONDS[time]}." in reply.error


def test_stored_events_come_before_those_of_the_request(client: Client, service: StandIn) -> None:
    first = [{"domain": "movies", "item": "alien", "time": 1}, {"domain": "books", "item": "dune", "time": 2}]
    assert client.post("/v1/events", {"user": "zoe", "events": first}).json == {"stored": 2}
    new = [{"domain": "movies", "item": "brazil"}]
    client.post("/v1/recommend", {"domains": ["books"], "user": "zoe", "events": new})
    client.post("/v1/recommend/batch", {"requests": [{"domains": ["books"], "user": "zoe"}]})
    client.post("/v1/recommend", {"domains": ["books"], "user": "another"})
    stored = (Event("movies", "alien", 1), Event("books", "dune", 2))
    assert [asked.events for asked in service.asked] == [(*stored, Event("movies", "brazil")), stored, ()]


def test_the_kind_of_an_event_is_stored_and_an_unknown_one_refused(client: Client, service: StandIn) -> None:
    """Before anything is stored: the other event of the same request is not kept either."""
    alien = {"domain": "movies", "item": "alien", "kind": "dislike"}
    for kind in ("gaze", "", 3):
        both = [alien, {"domain": "movies", "item": "brazil", "kind": kind}]
        reply = client.post("/v1/events", {"user": "zoe", "events": both})
        assert reply.status == 422
        assert "kind" in reply.error
    assert client.post("/v1/events", {"user": "zoe", "events": [alien]}).json == {"stored": 1}
    client.post("/v1/recommend", {"domains": ["movies"], "user": "zoe"})
    assert service.asked[-1].events == (Event("movies", "alien", kind="dislike"),)


def test_events_of_many_users_come_in_one_call(client: Client, store: EventStore) -> None:
    view = {"domain": "movies", "item": "alien", "kind": "view", "weight": 0.5, "id": "e1", "time": 5}
    events = [
        {"user": "zoe", **view},
        {"user": 17, **view, "recommendation_id": "r1"},
        {"domain": "books", "item": 1},
    ]
    for _ in range(2):  # sent again, as where no answer came
        assert client.post("/v1/events", {"user": "rest", "events": events}).json == {"stored": 3}
    event = Event("movies", "alien", 5, kind="view", weight=0.5)
    assert (store.of("zoe"), store.of("17")) == ((event,), (event,))
    assert store.frame()["recommendation_id"].to_list()[:3] == [None, "r1", None]
    assert len(store.of("rest")) == 2  # without an id and a time nothing distinguishes a repetition


def test_a_wrong_event_of_a_partial_request_leaves_the_others(client: Client, store: EventStore) -> None:
    good = {"user": "zoe", "domain": "books", "item": 1}
    wrong: list[Any] = [
        {"domain": "books", "item": 1},
        {**good, "domain": "bookz"},
        {**good, "kind": "gaze"},
        {**good, "weight": -1},
        {**good, "colour": "red"},
        7,
    ]
    body = {"events": [good, *wrong, {**good, "user": "bob"}]}
    assert client.post("/v1/events", body).status == 422
    assert store.counts()["events"] == 0
    answer = client.post("/v1/events", {**body, "partial": True}).json
    assert (answer["stored"], store.counts()["events"]) == (2, 2)
    assert [(error["entry"], error["status"]) for error in answer["errors"]] == [
        (n, 422) for n in range(1, 7)
    ]
    said = [
        "events.1: name the user",
        "did you mean 'books'",
        "gaze",
        "weight",
        "colour",
        "must be an object",
    ]
    assert [part in error["error"] for part, error in zip(said, answer["errors"], strict=True)] == [True] * 6
    everything_wrong = client.post("/v1/events", {"partial": True, "events": wrong}).json
    assert (everything_wrong["stored"], len(everything_wrong["errors"])) == (0, 6)


def test_one_event_is_deleted(client: Client, store: EventStore) -> None:
    events = [
        {"domain": "books", "item": "a", "id": "order 1/2"},
        {"domain": "books", "item": "a", "time": 5},
        {"domain": "books", "item": "a", "time": 5, "kind": "buy"},
    ]
    client.post("/v1/events", {"user": "u/1", "events": events})
    assert client.delete("/v1/events?user=u%2F1&id=order%201%2F2").json == {"deleted": 1}
    assert client.delete("/v1/events?user=u%2F1&id=order%201%2F2").json == {"deleted": 0}
    assert client.delete("/v1/events?user=u%2F1&domain=books&item=a&time=5&kind=buy").json == {"deleted": 1}
    assert store.of("u/1") == (Event("books", "a", 5),)
    for unnamed in ("", "&domain=books", "&domain=books&item=a", "&domain=books&time=5", "&id=", "&time=x"):
        reply = client.delete(f"/v1/events?user=u%2F1{unnamed}")
        assert reply.status == 422
    assert client.delete("/v1/events?id=a").status == 422
    assert len(store.of("u/1")) == 1


def test_stored_events_of_items_yet_to_be_learned_wait_for_the_next_fit(
    client: Client, service: StandIn
) -> None:
    events = [{"domain": "movies", "item": item} for item in ("of tomorrow", "alien")]
    assert client.post("/v1/events", {"user": "zoe", "events": events}).json == {"stored": 2}
    client.post("/v1/recommend", {"domains": ["books"], "user": "zoe"})
    assert service.asked[-1].events == (Event("movies", "alien"),)


def test_who_is_forgotten_is_a_stranger_at_once(client: Client, service: StandIn) -> None:
    event = {"domain": "movies", "item": "alien"}
    client.post("/v1/events", {"user": "alice/1", "events": [event, event]})
    assert client.delete("/v1/users/alice%2F1").json == {"forgotten": 2}
    client.post("/v1/recommend", {"domains": ["books"], "user": "alice/1"})
    assert (service.asked[-1].user, service.asked[-1].events) == (None, ())


def test_events_of_an_unknown_domain_are_not_stored(client: Client, store: EventStore) -> None:
    events = [{"domain": "books", "item": 1}, {"domain": "bookz", "item": 1}]
    reply = client.post("/v1/events", {"user": "alice", "events": events})
    assert reply.status == 422
    assert "did you mean 'books'" in reply.error
    assert store.of("alice") == ()


def test_without_a_store_events_are_refused(service: StandIn) -> None:
    with asking(create_app(service)) as client:
        reply = client.post("/v1/events", {"user": "a", "events": [{"domain": "books", "item": 1}]})
        assert (reply.status, client.delete("/v1/users/a").status) == (404, 404)
        assert "--events" in reply.error
        assert client.post("/v1/recommend", {"domains": ["books"], "user": "a"}).status == 200


def test_a_failing_store_is_no_fault_of_the_client(
    client: Client, store: EventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise StoreError("The event store postgresql://db.inside/shop fails.")

    monkeypatch.setattr(type(store), "append_all", fail)
    reply = client.post("/v1/events", {"user": "a", "events": [{"domain": "books", "item": 1}]})
    assert reply.status == 503
    assert "log" in reply.error
    assert "db.inside" not in reply.error
    assert any("db.inside" in line.get("why", "") for line in lines(caplog))


STORE_FAILURES: dict[str, Callable[..., Any]] = {
    "fails": lambda *_, **__: raising(StoreError("The event store db.inside fails.")),
    "hangs": lambda *_, **__: time.sleep(1),
}


def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("failure", STORE_FAILURES)
def test_lists_do_not_depend_on_the_store(
    client: Client,
    service: StandIn,
    store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: str,
) -> None:
    """Known users get the model's lists, which say that they are degraded, until the store is back."""
    caplog.set_level(logging.INFO, LOG.name)
    request = {"domains": ["books"], "user": "alice"}
    store.append("alice", [Event("movies", "alien")])
    assert not client.post("/v1/recommend", request).json["degraded"]
    with monkeypatch.context() as broken:
        broken.setattr(history, "READ_PATIENCE", 0.05)
        broken.setattr(type(store), "of", STORE_FAILURES[failure])
        for _ in range(3):
            reply = client.post("/v1/recommend", request)
            assert (reply.status, reply.json["degraded"], reply.json["known"]) == (200, True, True)
        assert service.asked[-1].user == "alice"
        (answer,) = client.post("/v1/recommend/batch", {"requests": [request]}).json["answers"]
        assert answer["degraded"]
        assert client.post("/v1/explain", {"domain": "books", "item": 1, "user": "alice"}).json["degraded"]
        ready = client.get("/readyz")
        assert (ready.status, ready.json["ready"]) == (200, True)
        assert ready.json["problems"] == [history.UNREADABLE]
        assert figures(client)["landbridge_store_up",] == 0
    # the failed store is not read again and again: one failure, one line
    assert figures(client)["landbridge_store_failures_total",] == 1
    assert [line["event"] for line in lines(caplog)].count("store failed") == 1
    monkeypatch.setattr(client.app.state.history, "_read_again", 0.0)
    assert not client.post("/v1/recommend", request).json["degraded"]
    assert service.asked[-1].events == (Event("movies", "alien"),)
    assert client.get("/readyz").json["problems"] == []
    assert figures(client)["landbridge_store_up",] == 1


def test_a_store_that_cannot_be_written_is_a_problem_until_it_can(
    client: Client, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: reading works, so that lists say nothing of it."""
    event = {"user": "alice", "events": [{"domain": "books", "item": 1, "time": 5}]}
    with monkeypatch.context() as broken:
        broken.setattr(type(store), "append_all", STORE_FAILURES["fails"])
        assert client.post("/v1/events", event).status == 503
        assert client.get("/readyz").json["problems"] == [history.UNWRITABLE]
        assert not client.post("/v1/recommend", {"domains": ["books"], "user": "alice"}).json["degraded"]
    assert client.post("/v1/events", event).json == {"stored": 1}
    assert client.get("/readyz").json["problems"] == []


def test_a_batch_has_time_to_read_the_events_of_each_user(
    client: Client, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many users take longer than one: that is no failure of the store, which would degrade all lists."""
    monkeypatch.setattr(history, "READ_PATIENCE", 0.1)
    slow = type(store).of

    def read(*given: Any, **named: Any) -> Any:
        time.sleep(0.02)
        return slow(*given, **named)

    monkeypatch.setattr(type(store), "of", read)
    requests = [{"domains": ["books"], "user": f"u{number}"} for number in range(20)]
    answers = client.post("/v1/recommend/batch", {"requests": requests}).json["answers"]
    assert [answer["degraded"] for answer in answers] == [False] * 20


def test_a_forgotten_user_stays_forgotten_while_the_store_is_down(
    client: Client, service: StandIn, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.delete("/v1/users/alice")
    monkeypatch.setattr(type(store), "of", STORE_FAILURES["fails"])
    client.post("/v1/recommend", {"domains": ["books"], "user": "alice"})
    assert service.asked[-1].user is None


def test_an_unknown_user_leaves_nothing_to_forget(client: Client, store: EventStore) -> None:
    assert client.delete("/v1/users/never-seen").json == {"forgotten": 0}
    assert store.forgotten() == frozenset()
    client.delete("/v1/users/alice")  # the model knows them
    assert store.forgotten() == {"alice"}


def test_an_event_that_is_sent_again_is_stored_once(client: Client, store: EventStore) -> None:
    timed = {"user": "u", "events": [{"domain": "movies", "item": "alien", "time": 1_790_000_000}]}
    named = {"user": "u", "events": [{"domain": "movies", "item": "alien", "id": "click-7"}]}
    for body in (timed, named) * 2:
        assert client.post("/v1/events", body).json == {"stored": 1}
    assert len(store.of("u")) == 2


ONE_LIST = ("POST", "/v1/recommend", {"domains": ["books"], "user": "alice", "k": 1})
FLOODS: dict[str, tuple[str, tuple[str, str, Any], int]] = {  # the service's method, a request, how many fit
    "explanations": ("explain_all", (*ONE_LIST[:2], {**ONE_LIST[2], "explain": True}), 16),
    "searches": ("search", ("GET", "/v1/search?q=dune", None), 64),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_slow_work_of_one_kind_leaves_room_for_lists(service: StandIn, kind: str) -> None:
    """Its pool fills up and refuses at once; what else is requested is answered."""
    name, request, places = FLOODS[kind]
    may_go_on, work = threading.Event(), getattr(service, name)
    setattr(service, name, lambda *given: may_go_on.wait(10) and work(*given))

    async def flood(client: Client) -> list[int]:
        def ask(method: str, path: str, body: Any) -> Any:
            pieces = [] if body is None else [json.dumps(body).encode()]
            return client.ask(method, path, pieces, {"content-type": "application/json"})

        slow = [asyncio.create_task(ask(*request)) for _ in range(places + 4)]
        refused, _ = await asyncio.wait(slow, timeout=2, return_when=asyncio.FIRST_COMPLETED)
        assert all(one.result().headers["retry-after"] == "1" for one in refused)
        other = await asyncio.wait_for(ask(*ONE_LIST), 2)
        ready = await client.ask("GET", "/readyz")
        assert (other.status, ready.json["problems"]) == (200, [f"The server is busy with {kind}."])
        may_go_on.set()
        return sorted([(await one).status for one in slow])

    with asking(create_app(service)) as client:
        assert client.run(flood(client)) == [200] * places + [503] * 4


def test_only_the_key_opens(service: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = ServeSettings(api_key=KEY, log_users=True)
    assert KEY not in repr(settings)
    with asking(create_app(service, settings)) as client:
        body = {"domains": ["books"]}
        assert "x-api-key" in client.post("/v1/recommend", body).error
        assert client.post("/v1/recommend", body).status == 401
        assert client.post("/v1/recommend", body, x_api_key="another").status == 401
        assert client.post("/v1/recommend", body, x_api_key=KEY + "x").status == 401
        assert client.get("/metrics").status == client.get("/openapi.json").status == 401
        assert client.post("/v1/recommend", body, x_api_key=KEY).status == 200
        assert {client.get(path).status for path in ("/", "/healthz", "/readyz")} == {200}
        documented = client.get("/openapi.json", x_api_key=KEY).json
    assert documented["paths"]["/v1/recommend"]["post"]["security"]
    assert KEY not in caplog.text + json.dumps(lines(caplog))


@pytest.mark.parametrize("key", ["schlüssel", "ключ", "€ 5", "plain"])
def test_a_key_is_taken_as_clients_send_it(service: StandIn, key: str) -> None:
    """Terminals send UTF-8, browsers Latin-1 where a key has such."""
    forms = {key.encode()} | ({key.encode("latin-1")} if key.isascii() or key == "schlüssel" else set())

    others = {key.encode()[:-1], key.encode("utf-16"), key.encode("ascii", "ignore"), b""} - forms
    with asking(create_app(service, ServeSettings(api_key=key))) as client:
        for sent in forms | others:
            status = client.get("/v1/model", x_api_key=sent.decode("latin-1")).status
            assert status == (200 if sent in forms else 401), sent


@pytest.mark.parametrize("path", ["/docs", "/x/", "/v1/model/", "/%3Cscript%3E"])
@pytest.mark.parametrize("key", [None, KEY])
def test_an_address_that_is_not_there_is_a_page_for_browsers(
    service: StandIn, path: str, key: str | None
) -> None:
    browser = "text/html,application/xhtml+xml,*/*;q=0.8"
    with asking(create_app(service, ServeSettings(api_key=key))) as client:
        reply = client.get(path, accept=browser)
        assert (reply.status, reply.headers["content-type"]) == (
            401 if key else 404,
            "text/html; charset=utf-8",
        )
        assert b'<a href="/">' in reply.body
        assert b"<script" not in reply.body
        for accept in ("*/*", "application/json"):
            assert client.get(path, accept=accept).headers["content-type"] == "application/json"
        assert client.get("/", accept=browser).status == 200


def test_values_that_no_request_may_name_are_not_offered(client: Client) -> None:
    values = client.get("/v1/values?column=language").json["values"]
    assert values == [{"value": "en", "items": 3}, {"value": None, "items": 1}]


def test_other_origins_may_not_call_unless_named(service: StandIn) -> None:
    wish = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key",
    }

    def asked(client: Client, origin: str = ORIGIN) -> Any:
        return client.run(client.ask("OPTIONS", "/v1/recommend", headers={**wish, "origin": origin}))

    with asking(create_app(service)) as client:
        assert "access-control-allow-origin" not in asked(client).headers
        assert "access-control-allow-origin" not in client.get("/healthz", origin=ORIGIN).headers
    with asking(create_app(service, ServeSettings(cors=(ORIGIN,), api_key=KEY))) as client:
        assert asked(client).headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-origin" not in asked(client, "https://else.example").headers
        assert client.get("/healthz", origin=ORIGIN).headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nowhere", "/v1/search", "/metrics"])
def test_every_answer_carries_the_security_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


def test_the_page_obeys_its_own_policy(client: Client) -> None:
    wanted, inline = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = dict(attrs)
            wanted.extend(names[name] for name in ("src", "href") if name in names)
            inline.extend(name for name in names if name.startswith("on") or name == "style")
            if tag == "style" or (tag == "script" and "src" not in names):
                inline.append(tag)

    Reader().feed(client.get("/").body.decode())
    assert inline == []
    files = [path for path in wanted if path and not path.startswith("#")]
    assert {path: client.get(f"/{path}").status for path in files} == dict.fromkeys(files, 200)
    modules = [file.name for file in WEB.glob("*.js")]
    assert {client.get(f"/{name}").headers["content-type"] for name in modules} == {
        "text/javascript; charset=utf-8"
    }


def test_the_page_is_small_and_names_no_other_host() -> None:
    files = {file.name: file.read_text() for file in WEB.iterdir()}
    assert sum(len(text.encode()) for text in files.values()) < 100_000
    named = {name: re.findall(r"(?:https?:)?//[\w-]+\.\w+", text) for name, text in files.items()}
    assert {name: set(hosts) for name, hosts in named.items() if hosts} == {
        "dom.js": {"http://www.w3"},  # the namespace of SVG, which nothing loads
        "icon.svg": {"http://www.w3"},
    }


def test_a_file_of_the_page_is_sent_once_to_a_browser(client: Client) -> None:
    for path in ("/", "/main.js", "/style.css", "/icon.svg"):
        first = client.get(path)
        validator = first.headers["etag"]
        for held in (validator, f"W/{validator}", f'"old", {validator}'):
            again = client.get(path, if_none_match=held)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", validator)
        assert client.get(path, if_none_match='"old"').body == first.body
    assert client.get("/").headers["etag"] != client.get("/main.js").headers["etag"]


def test_the_log_names_no_user_unless_requested(service: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    body = {"domains": ["books"], "user": "alice", "events": [{"domain": "books", "item": "her secret"}]}
    for people in (False, True):
        caplog.clear()
        with asking(create_app(service, ServeSettings(log_users=people))) as client:
            client.post("/v1/recommend", body)
            client.get("/v1/search?q=alice")
            client.delete("/v1/users/alice")
        found = [line for line in lines(caplog) if line["event"] == "request"]
        assert [(line["method"], line["route"], line["status"]) for line in found] == [
            ("POST", "/v1/recommend", 200),
            ("GET", "/v1/search", 200),
            ("DELETE", "/v1/users/{user}", 404),
        ]
        assert [line.get("user") for line in found] == (["alice", None, "alice"] if people else [None] * 3)
        assert ("alice" in json.dumps(found)) == people
        assert ("127.0.0.1" in json.dumps(found)) == people


def test_an_unforeseen_failure_is_logged_and_not_shown(
    client: Client, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("alice broke it")

    service.work = fail
    reply = client.post("/v1/recommend", {"domains": ["books"], "user": "alice"})
    assert reply.status == 500
    assert reply.error.startswith("Something went wrong")
    (line,) = [line for line in lines(caplog) if line["event"] == "failed"]
    assert line["kind"] == "RuntimeError"
    assert any("stand_in.py" in place for place in line["where"])
    assert "alice" not in json.dumps(line)
    service.work = lambda: None
    assert client.post("/v1/recommend", {"domains": ["books"]}).status == 200


def test_a_slow_model_is_given_up(service: StandIn) -> None:
    service.work = lambda: time.sleep(0.3)
    with asking(create_app(service, ServeSettings(timeout=0.05))) as client:
        reply = client.post("/v1/recommend", {"domains": ["books"]})
        assert (reply.status, reply.error) == (503, "No answer within 0.05 seconds; try again.")
        service.work = lambda: None
        time.sleep(0.3)
        assert client.post("/v1/recommend", {"domains": ["books"]}).status == 200


def test_a_body_that_never_ends_is_given_up(service: StandIn) -> None:
    app = create_app(service, ServeSettings(body_timeout=0.05))
    sent: list[dict[str, Any]] = []

    async def drip() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/recommend", "query_string": b""}
        await app({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send)

    with asking(app) as client:
        client.run(drip())
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_client_that_leaves_is_no_failure(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)

    async def leave() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            raise AssertionError("nobody is there")

        scope = {"type": "http", "method": "POST", "path": "/v1/recommend", "query_string": b""}
        await client.app({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send)

    client.run(leave())
    assert [(line["event"], line["status"]) for line in lines(caplog)] == [("request", 499)]


def test_values_count_routes_statuses_and_strangers(client: Client) -> None:
    for user in ("alice", "alice", "nobody"):
        client.post("/v1/recommend", {"domains": ["books"], "user": user})
    client.post("/v1/recommend", {"domains": ["bookz"]})
    client.post("/v1/events", {"user": "a", "events": [{"domain": "books", "item": 1}]})
    client.get("/nowhere/alice")
    found = figures(client)
    assert found["landbridge_requests_total", "/v1/recommend", "200"] == 3
    assert found["landbridge_requests_total", "/v1/recommend", "422"] == 1
    assert found["landbridge_requests_total", "other", "404"] == 1
    assert found["landbridge_request_seconds_count", "/v1/recommend"] == 4
    assert found["landbridge_answers_total", "model", "known"] == 2
    assert found["landbridge_answers_total", "fallback", "new"] == 1
    assert found["landbridge_events_stored_total",] == 1
    assert found["landbridge_swaps_total",] == found["landbridge_rollbacks_total",] == 0
    assert found["landbridge_model_age_seconds",] > 0
    assert not any("alice" in part for key in found for part in key)
