"""Whatever is sent, it is refused in one clear sentence, and the service still answers afterwards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from asgi import Client, Reply, asking
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served_runs import save_run

from landbridge.serving.events.store import EventStore
from landbridge.serving.http import schemas
from landbridge.serving.http.app import create_app
from landbridge.serving.http.request_body import MAX_DEPTH
from landbridge.serving.runtime.settings import ServeSettings

POSTS = ("/v1/recommend", "/v1/recommend/batch", "/v1/similar", "/v1/explain", "/v1/events")
BYTES = 4096
GOOD = {"domains": ["books"], "user": 3, "k": 3}
HUGE = 10**30
EXAMPLES = 8  # per operation and kind


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    save_run(folder / "run")
    return folder


def app_in(work: Path, events: str, **bounds: Any) -> FastAPI:
    """An application with its own event store; it sees one life, as in a server."""
    limits = ServeSettings(poll=3600, **bounds)
    return create_app(work / "run", limits, EventStore.open(str(work / events)))


@pytest.fixture(scope="module")
def client(work: Path) -> Iterator[Client]:
    with asking(app_in(work, "asked.sqlite", max_body=BYTES)) as client:
        yield client


def refused(reply: Reply) -> None:
    """4xx and one sentence; only what JSON says of itself may hold further punctuation."""
    assert 400 <= reply.status < 500, (reply.status, reply.body)
    assert reply.error.endswith(".")
    assert len(reply.error) < 1500
    assert "\n" not in reply.error
    assert "Traceback" not in reply.error


def alive(client: Client) -> None:
    reply = client.post("/v1/recommend", GOOD)
    assert (reply.status, len(reply.json["items"])) == (200, 3)


def changed(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


BODIES = {
    "nothing": b"",
    "no JSON": b"hello",
    "half of it": b'{"domains": ["books"]',
    "two of them": b"{}{}",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"domains": ["books"], "k": NaN}',
    "Infinity": b'{"domains": ["books"], "where": {"price": -Infinity}}',
    "beyond any double": b'{"domains": ["books"], "where": {"price": 1e999}}',
    "lone surrogate": b'{"domains": ["\\ud800"]}',
    "broken UTF-8": b'{"domains": ["\xff\xfe"]}',
    "surrogate in UTF-8": b'{"domains": ["\xed\xa0\x80"]}',
    "UTF-16": '{"domains": ["books"]}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"domains": ["books"]}',
    "deep lists": b"[" * 2000 + b"]" * 2000,
    "deep beyond the parser": b"[" * 4000,
    "deep objects": b'{"a":' * 500 + b"1" + b"}" * 500,
    "deep inside": changed(where={"a": [[[[[[[[[1]]]]]]]]]}),
    "a condition that is an object": changed(where={"a": {"b": 1}}),
    "unknown key": changed(usr="alice"),
    "unknown domain": changed(domains=["bookz"]),
    "unknown domain among known": changed(domains=["books", "bookz"]),
    "no domain": changed(domains=[]),
    "a domain that is text": changed(domains="books"),
    "null domain": changed(domains=[None]),
    "many domains": changed(domains=["books"] * 65),
    "k of 0": changed(k=0),
    "negative k": changed(k=-1),
    "huge k": changed(k=HUGE),
    "large k": changed(k=schemas.MAX_K + 1),
    "many reasons": changed(k=schemas.MAX_EXPLAINED + 1, explain=True),
    "fractional k": changed(k=2.5),
    "k as text": changed(k="3"),
    "k as truth": changed(k=True),
    "huge user": changed(user=HUGE),
    "user just too large": changed(user=1 << 63),
    "user just too small": changed(user=-(1 << 63) - 1),
    "fractional user": changed(user=1.5),
    "true user": changed(user=True),
    "listed user": changed(user=["alice"]),
    "empty user": changed(user=""),
    "long user": changed(user="x" * 513),
    "null character": changed(user="a\x00b"),
    "event of an unknown domain": changed(events=[{"domain": "bookz", "item": 1}]),
    "event with an unknown item": changed(events=[{"domain": "movies", "item": "no such"}]),
    "event without item": changed(events=[{"domain": "movies"}]),
    "event with more": changed(events=[{"domain": "movies", "item": 1, "more": 3}]),
    "huge time": changed(events=[{"domain": "movies", "item": 1, "time": HUGE}]),
    "seen as text": changed(seen="yes"),
    "allow as list": changed(allow=["a"]),
    "allow in an unknown domain": changed(allow={"bookz": [1]}),
    "deny with null": changed(deny={"books": [None]}),
    "huge condition": changed(where={"pages": HUGE * 10**300}),
    "weight of 0": changed(weights={"books": 0}),
    "weight as text": changed(weights={"books": "2"}),
    "infinite weight": b'{"domains": ["books"], "weights": {"books": 1e999}}',
    "many weights": changed(weights={str(number): 1 for number in range(65)}),
    "unknown column": changed(where={"colour": "red"}),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused(client: Client, name: str) -> None:
    refused(client.send("/v1/recommend", [BODIES[name]]))
    refused(client.send("/v1/recommend/batch", [b'{"requests":[' + BODIES[name] + b"]}"]))
    alive(client)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/similar", {"domain": "books", "item": "no such"}),
        ("/v1/similar", {"domain": "books", "item": -5}),
        ("/v1/similar", {"domain": "bookz", "item": 1}),
        ("/v1/similar", {"domain": "books", "item": 1, "to": "bookz"}),
        ("/v1/similar", {"domain": "books", "item": 1, "where": {"colour": "red"}}),
        ("/v1/similar", {"domain": "books", "item": 1, "where": ["red"]}),
        ("/v1/explain", {"domain": "books", "item": "no such", "user": 3}),
        ("/v1/explain", {"domain": "bookz", "item": 1, "user": 3}),
        ("/v1/explain", {"domain": "books"}),
        ("/v1/events", {"user": 3, "events": []}),
        ("/v1/events", {"events": [{"domain": "books", "item": 1}]}),
        ("/v1/events", {"user": None, "events": [{"domain": "books", "item": 1}]}),
        ("/v1/events", {"user": 3, "events": [{"domain": "bookz", "item": 1}]}),
        ("/v1/events", {"user": 3, "events": [{"domain": "books", "item": 1, "time": 1 << 62}]}),
        ("/v1/events", {"user": 3, "events": [{"domain": "books", "item": 1, "weight": 0}]}),
        ("/v1/events", {"user": 3, "events": [{"domain": "books", "item": 1, "weight": "2"}]}),
        (
            "/v1/events",
            {"events": [{"user": 3, "domain": "books", "item": 1}, {"domain": "books", "item": 1}]},
        ),
        ("/v1/events", {"partial": "yes", "user": 3, "events": [{"domain": "books", "item": 1}]}),
        ("/v1/recommend/batch", {"requests": []}),
        ("/v1/recommend/batch", {"requests": [GOOD] * 65}),
        ("/v1/recommend/batch", {"requests": [GOOD, {**GOOD, "domains": ["bookz"]}]}),
    ],
)
def test_a_wrong_question_is_refused(client: Client, path: str, body: Any) -> None:
    refused(client.post(path, body))
    alive(client)


@pytest.mark.parametrize("raw", [1 << 63, -(1 << 63) - 1, 1.5, True, None, [], "", "a\x00b", "x" * 513])
def test_ids_are_bounded_before_they_reach_anything(raw: Any) -> None:
    with pytest.raises(ValidationError, match="id is a whole number of 64 bits or a text"):
        schemas.EventBody.model_validate({"domain": "books", "item": raw})
    with pytest.raises(ValidationError):
        schemas.EventBody.model_validate({"domain": raw, "item": 1})


def test_depth_is_bounded_before_anything_is_looked_at(client: Client) -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert "levels deep" not in client.send("/v1/recommend", [deepest]).error
    for body in (b"[" + deepest + b"]", b'{"a":' * 20 + b"1" + b"}" * 20):
        assert "levels deep" in client.send("/v1/recommend", [body]).error


@pytest.mark.parametrize("path", POSTS)
def test_an_oversized_body_is_refused_however_it_comes(client: Client, path: str) -> None:
    reply = client.send(path, [b" " * 1000] * 100)
    assert (reply.status, reply.headers["connection"]) == (413, "close")
    refused(reply)
    for declared in (str(BYTES + 1), "9" * 5000):
        assert client.send(path, [], content_length=declared).status == 413
    assert client.send(path, [b" " * (BYTES - 2), b"[]"]).status == 422
    alive(client)


def test_reading_stops_at_the_limit(client: Client) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b" " * 1024

    assert client.send("/v1/recommend", endless()).status == 413
    assert len(taken) <= BYTES // 1024 + 1


def test_only_json_is_taken(client: Client) -> None:
    """A page elsewhere may send these kinds without asking."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        reply = client.send("/v1/recommend", [json.dumps(GOOD).encode()], content_type=kind)
        headers = {"content-type": kind}
        reply = client.run(client.ask("POST", "/v1/recommend", [json.dumps(GOOD).encode()], headers))
        assert reply.status == 415
        refused(reply)
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.run(client.ask("POST", "/v1/recommend", [json.dumps(GOOD).encode()], kind)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/search",
        "/v1/search?q=",
        "/v1/search?q=a&k=0",
        "/v1/search?q=a&k=1001",
        "/v1/search?q=a&k=1e3",
        "/v1/search?q=a&k=" + "9" * 5000,
        "/v1/search?q=a%00b",
        "/v1/search?q=a&domain=bookz",
        "/v1/search?q=" + "a" * 600,
        "/v1/values",
        "/v1/values?column=",
        "/v1/values?column=a%00b",
        "/v1/values?column=genre",
        "/v1/values?column=" + "a" * 600,
        "/v1/popular?domain=bookz",
        "/v1/popular?domain=%00",
        "/v1/popular?strategy=best",
        "/v1/users/a",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fserver.py",
        "/%00",
        "/app.py",
        "/" + "a" * 5000,
    ],
)
def test_a_hostile_path_is_refused(client: Client, path: str) -> None:
    refused(client.get(path))
    alive(client)


@pytest.mark.parametrize("path", ["/v1/users/", "/v1/users/%00", "/v1/users/" + "a" * 600, "/v1/users"])
def test_no_user_with_a_hostile_name_is_forgotten(client: Client, path: str) -> None:
    refused(client.delete(path))
    alive(client)


@pytest.mark.parametrize("path", ["/v1/search?q=%ff%fe", "/v1/search?q=%ed%a0%80", "/v1/search?q=(.*%5B"])
def test_strange_words_find_nothing(client: Client, path: str) -> None:
    reply = client.get(path)
    assert (reply.status, reply.json["items"]) == (200, [])


def test_an_unknown_user_is_no_error(client: Client) -> None:
    reply = client.post("/v1/recommend", {**GOOD, "user": "nobody"})
    assert (reply.json["source"], reply.json["known"], len(reply.json["items"])) == ("fallback", False, 3)
    reply = client.post("/v1/recommend", {**GOOD, "user": None, "events": [{"domain": "movies", "item": 3}]})
    assert (reply.json["source"], reply.json["known"], len(reply.json["items"])) == ("model", False, 3)


def operations(app: FastAPI) -> dict[str, Any]:
    """The documented operations; domains are narrowed to the real ones, or hardly a request would pass."""
    documented = app.openapi()
    bodies = documented["components"]["schemas"]
    for name in ("EventBody", "UserEventBody", "ItemBody", "SimilarBody", "ExplainBody"):
        bodies[name]["properties"]["domain"] = {"enum": ["books", "movies"]}
    bodies["RecommendBody"]["properties"]["domains"]["items"] = {"enum": ["books", "movies"]}
    for name in PARTIAL:  # takes entries that break the schema, and answers each: tested below
        del bodies[name]["properties"]["partial"]
    schema = schemathesis.openapi.from_dict(documented)
    schema.app = app
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


NOT_OURS = [positive_data_acceptance]  # an id may be of the right form and unknown
PARTIAL = ("BatchBody", "EventsBody", "ItemsBody")
WITHOUT_INPUT = {"/v1/model", "/healthz", "/readyz", "/metrics"}


def test_nothing_documented_breaks_the_service(work: Path) -> None:
    """What fits the schema and what does not: never a 5xx, and every answer is as documented."""
    statuses: Counter[int] = Counter()

    def examine(case: schemathesis.Case) -> None:
        statuses[case.call_and_validate(excluded_checks=NOT_OURS).status_code] += 1

    app = app_in(work, "documented.sqlite", max_body=1 << 26)  # a list that is too long is refused as one
    for label, operation in operations(app).items():
        for mode in schemathesis.GenerationMode:
            if mode.is_positive or label.split()[1] not in {*WITHOUT_INPUT, "/v1/users/{user}"}:
                bounded = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
                bounded(given(operation.as_strategy(generation_mode=mode))(examine))()
    assert statuses[200] > EXAMPLES
    assert statuses[422] > EXAMPLES


def any_bytes(client: Client, rounds: int) -> None:
    """Random bytes, and good bodies with some bytes changed, at every route."""
    rng = np.random.default_rng(0)
    good = np.frombuffer(changed(events=[{"domain": "movies", "item": 1}]), np.uint8)
    for number in range(rounds):
        if number % 2:
            body = rng.integers(256, size=rng.integers(200), dtype=np.uint8)
        else:
            body = good.copy()
            body[rng.integers(len(good), size=2)] = rng.integers(256, size=2)
        reply = client.send(POSTS[number % len(POSTS)], [body.tobytes()])
        if reply.status != 200:
            refused(reply)
    alive(client)


def test_random_bytes_are_refused(client: Client) -> None:
    any_bytes(client, 300)


@pytest.mark.slow
def test_many_random_bytes_are_refused(client: Client) -> None:
    any_bytes(client, 10_000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(sorted(schemas.RecommendBody.model_fields))


@settings(max_examples=150)
@example({"allow": {"\n": 1}})
@given(st.dictionaries(keys, json_values, max_size=5))
def test_any_values_under_the_right_keys(client: Client, body: dict[str, Any]) -> None:
    reply = client.send("/v1/recommend", [json.dumps({**GOOD, **body}, allow_nan=True).encode()])
    if reply.status != 200:
        refused(reply)


event_keys = st.sampled_from(sorted(schemas.UserEventBody.model_fields))


@settings(max_examples=100)
@given(st.lists(json_values | st.dictionaries(event_keys, json_values, max_size=3), max_size=4))
def test_any_event_is_stored_or_named(client: Client, entries: list[Any]) -> None:
    good = {"user": 3, "domain": "books", "item": 1, "time": 7}
    wrong = [{**good, **entry} if isinstance(entry, dict) else entry for entry in entries]
    body = json.dumps({"partial": True, "events": [good, *wrong, good]}, allow_nan=True).encode()
    reply = client.send("/v1/events", [body])
    if reply.status in (400, 413):
        refused(reply)
        return
    assert reply.status == 200, reply.body
    errors = reply.json["errors"]
    assert reply.json["stored"] + len(errors) == len(entries) + 2
    assert all(error["status"] == 422 and error["error"].endswith(".") for error in errors)
    assert {error["entry"] for error in errors} <= set(range(1, len(entries) + 1))


@settings(max_examples=150)
@given(st.lists(json_values | st.dictionaries(keys, json_values, max_size=3), max_size=4))
def test_in_a_partial_batch_any_entry_is_answered_alone(client: Client, entries: list[Any]) -> None:
    """With the answer, or the refusal, that a request of the entry alone has."""
    wrong = [{**GOOD, **entry} if isinstance(entry, dict) else entry for entry in entries]
    requests = [GOOD, *wrong, GOOD]
    reply = client.send(
        "/v1/recommend/batch", [json.dumps({"partial": True, "requests": requests}, allow_nan=True).encode()]
    )
    if reply.status in (400, 413):  # no JSON, too deep or too large: there are no entries
        refused(reply)
        return
    assert reply.status == 200, reply.body
    answers = reply.json["answers"]
    assert [len(answers[place]["items"]) for place in (0, -1)] == [3, 3]
    for entry, answer in zip(wrong, answers[1:-1], strict=True):
        alone = client.send("/v1/recommend", [json.dumps(entry, allow_nan=True).encode()])
        if "error" in answer:
            assert answer["status"] == 422
            assert answer["error"].endswith(".")
        if not isinstance(entry, dict) or not entry.get("explain"):
            assert (alone.status == 200) == ("items" in answer)
