"""The Python client: what ``/openapi.json`` describes, and connections that are used again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar, Literal, NotRequired, Required, get_args, get_origin, get_type_hints

import pytest
from served_runs import save_run
from serving_process import serving
from stand_in import StandIn

from landbridge import client as module
from landbridge.client import Client, Event, RequestError
from landbridge.core.errors import SettingsError
from landbridge.serving.http.app import create_app

API = create_app(StandIn()).openapi()
SCHEMAS = API["components"]["schemas"]
OPERATIONS = {
    (method.upper(), path): each for path, own in API["paths"].items() for method, each in own.items()
}
PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
METHODS = [
    name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_" and name != "close"
]


class Recorder(Client):
    """Keeps the request instead of sending it."""

    def _sent(self, method: str, path: str, content: bytes | None) -> bytes:
        self.request = method, path.partition("?")[0]
        return b"null"


def operation(name: str) -> tuple[str, str]:
    """The method and path that a method of the client calls."""
    recorder = Recorder()
    getattr(recorder, name)(**({"user": "USER"} if name == "forget_user" else {}))
    method, path = recorder.request
    return method, path.replace("USER", "{user}")


def python_type(schema: Mapping[str, Any], sent: bool) -> Any:
    """The type of what a schema describes; ``sent``: as bodies have it, any sequence or mapping."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return frozenset().union(*(members(python_type(each, sent)) for each in schema["anyOf"]))
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if schema["type"] == "array":
        return (Sequence if sent else list), python_type(schema["items"], sent)
    if schema["type"] == "object":
        # by the pattern of its keys, where these have one
        values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")][0]
        return (Mapping if sent else dict), python_type(values, sent)
    return PLAIN[schema["type"]]


def members(kind: Any) -> frozenset[Any]:
    return kind if isinstance(kind, frozenset) else frozenset({kind})


NAMES = {  # of the client, whose names need not say that they are bodies
    "EventBody": "Event",
    "UserEventBody": "UserEvent",
    "BoostBody": "Boost",
    "PinBody": "Pin",
    "RecommendBody": "Recommend",
    "BatchBody": "Batch",
    "PageBody": "Page",
    "SimilarBody": "Similar",
    "ExplainBody": "Explain",
    "EventsBody": "AddEvents",
    "ItemBody": "Item",
    "ItemsBody": "PatchItems",
}


def annotated_type(hint: Any) -> Any:
    """The same of an annotation of the client."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Required, NotRequired):
        return annotated_type(arguments[0])
    if origin is Literal:
        return hint
    if origin in (list, Sequence):
        return origin, annotated_type(arguments[0])
    if origin in (dict, Mapping):
        return origin, annotated_type(arguments[1])
    if arguments:
        return frozenset().union(*(members(annotated_type(each)) for each in arguments))
    schemas = {ours: theirs for theirs, ours in NAMES.items()}
    return schemas.get(hint.__name__, hint.__name__) if hint.__module__ == module.__name__ else hint


def fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Key -> its type, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: (annotated_type(hint), name in kind.__required_keys__) for name, hint in hints.items()}


def described(schema: Mapping[str, Any], sent: bool) -> dict[str, tuple[Any, bool]]:
    required = schema.get("required", [])
    return {name: (python_type(own, sent), name in required) for name, own in schema["properties"].items()}


def test_every_route_has_a_method() -> None:
    assert sorted(map(operation, METHODS)) == sorted(OPERATIONS)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "metrics"])
def test_a_method_takes_and_returns_what_is_described(name: str) -> None:
    own = OPERATIONS[operation(name)]
    answer = own["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    hints = get_type_hints(getattr(Client, name))
    assert hints.pop("return").__name__ == answer
    if "requestBody" in own:
        (given,) = get_args(hints["body"])
        schema = own["requestBody"]["content"]["application/json"]["schema"]
        assert annotated_type(given) == schema["$ref"].rpartition("/")[2]
    elif hints.get("query"):
        (given,) = get_args(hints["query"])
        parameters = {each["name"]: each for each in own["parameters"]}
        assert fields(given) == {
            name: (python_type(each["schema"], True), each["required"]) for name, each in parameters.items()
        }
    else:
        assert [each["name"] for each in own.get("parameters", [])] == [*hints]


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "Problem"])
def test_a_schema_is_a_type_of_the_client(name: str) -> None:
    kind = getattr(module, NAMES.get(name, name))
    assert fields(kind) == described(SCHEMAS[name], sent=name.endswith("Body"))


class Echo(BaseHTTPRequestHandler):
    """Says what it was sent. ``closes``: after its answer, without saying so before."""

    protocol_version = "HTTP/1.1"
    closes: ClassVar[bool] = False
    connections: ClassVar[set[Any]] = set()

    def do_POST(self) -> None:
        Echo.connections.add(self.client_address)
        body = self.rfile.read(int(self.headers["content-length"]))
        key = self.headers.get("x-api-key", "")
        self._answer(200, json.dumps({"path": self.path, "key": key, "body": json.loads(body)}).encode())
        self.close_connection = Echo.closes

    def do_GET(self) -> None:
        self._answer(502, b"<html>bad gateway</html>")

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def echoing(closes: bool) -> Iterator[str]:
    Echo.closes, Echo.connections = closes, set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/shop/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("closes", "connections"), [(False, 1), (True, 5)])
def test_connections_are_used_again_unless_the_server_closed_them(closes: bool, connections: int) -> None:
    with echoing(closes) as url, Client(url, key="secret") as client:
        for number in range(5):
            said: Any = client.recommend(domains=["books"], user=number)
            assert said == {
                "path": "/shop/v1/recommend",
                "key": "secret",
                "body": {"domains": ["books"], "user": number},
            }
            if closes:
                while client._idle and module._is_open(client._idle[-1]):
                    pass  # until the end of the connection has arrived
        assert len(Echo.connections) == connections


def test_what_is_no_answer_of_landbridge_is_a_sentence() -> None:
    with echoing(False) as url, Client(url) as client:
        with pytest.raises(RequestError, match="answered 502") as refused:
            client.readyz()
        assert refused.value.status == 502
    with pytest.raises(RequestError, match="does not answer"):
        client.readyz()
    with pytest.raises(SettingsError, match="no address of a server"):
        Client("localhost:8000")


def test_a_server_answers_over_one_connection(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    with (
        serving(run, "--events", tmp_path / "events.sqlite") as server,
        Client(f"http://127.0.0.1:{server.port}") as client,
    ):
        listed = client.recommend(domains=["books"], user=1, k=3)
        led = listed["recommendation_id"]
        event = Event(domain="books", item=listed["items"][0]["item"], kind="buy", recommendation_id=led)
        assert client.add_events(user=1, events=[event]) == {"stored": 1}
        again = client.recommend(domains=["books"], user=1, k=3)
        assert event["item"] not in [entry["item"] for entry in again["items"]]
        assert client.popular(domain="books", k=2, strategy="popular")["items"][0]["domain"] == "books"
        assert client.forget_user(1) == {"forgotten": 1}
        with pytest.raises(RequestError, match="did you mean 'books'") as refused:
            client.similar(domain="bookz", item=1)
        assert (refused.value.status, len(refused.value.request_id or "")) == (422, 32)
        assert "landbridge_requests_total" in client.metrics()
        assert len(client._idle) == 1
