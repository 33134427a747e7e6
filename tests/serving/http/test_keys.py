"""Keys with scopes: each may do what it is for and nothing else, and several are valid at a time."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi import Client, asking
from served_runs import save_run
from serving_process import serving
from stand_in import StandIn

from landbridge.core.errors import SettingsError
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.keys import SCOPES, read_keys, scope_of
from landbridge.serving.runtime.logging import LOG, JsonLines
from landbridge.serving.runtime.settings import ServeSettings, from_json, serve_settings, to_json

KEYS = {scope: f"the secret of {scope}" for scope in SCOPES}
EVENTS = {"user": "u", "events": [{"domain": "books", "item": 1}]}
ITEMS = {"items": [{"domain": "books", "item": 1, "values": {"price": 1}}]}
REQUESTS: list[tuple[str, str, Any, str]] = [
    ("POST", "/v1/recommend", {"domains": ["books"]}, "read"),
    ("POST", "/v1/recommend/batch", {"requests": [{"domains": ["books"]}]}, "read"),
    ("GET", "/v1/popular?domain=books", None, "read"),
    ("GET", "/v1/model", None, "read"),
    ("GET", "/openapi.json", None, "read"),
    ("POST", "/v1/events", EVENTS, "events"),
    ("DELETE", "/v1/events?user=u&id=e", None, "events"),
    ("PATCH", "/v1/items", ITEMS, "items"),
    ("DELETE", "/v1/users/u", None, "forget"),
    ("DELETE", "/v1/users/u/events", None, "forget"),
    ("GET", "/metrics", None, "metrics"),
]


def file_of(folder: Path, text: str) -> Path:
    (folder / "keys.toml").write_text(text)
    return folder / "keys.toml"


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    tables = [
        f'[[key]]\nname = "{name}"\nscopes = ["{name}"]\nvalue = "{key}"\n' for name, key in KEYS.items()
    ]
    digest = hashlib.sha256(b"two").hexdigest()
    tables.append(f'[[key]]\nname = "both"\nscopes = ["read", "events"]\nsha256 = "{digest}"\n')
    keys = read_keys(file_of(tmp_path, "\n".join(tables)))
    return ServeSettings(scoped_keys=keys, api_key="everything", poll=3600)


@pytest.fixture
def client(settings: ServeSettings, tmp_path: Path) -> Iterator[Client]:
    with asking(create_app(StandIn(), settings, EventStore.open(str(tmp_path / "events.sqlite")))) as client:
        yield client


def status(client: Client, method: str, path: str, body: Any, key: str | None) -> int:
    headers = {"content-type": "application/json"} | ({} if key is None else {"x-api-key": key})
    pieces = [] if body is None else [json.dumps(body).encode()]
    return int(client.run(client.ask(method, path, pieces, headers)).status)


@pytest.mark.parametrize(
    ("method", "path", "body", "needed"), REQUESTS, ids=[f"{each[0]} {each[1]}" for each in REQUESTS]
)
def test_a_key_may_do_what_it_is_for_and_nothing_else(
    client: Client, method: str, path: str, body: Any, needed: str
) -> None:
    for name, key in KEYS.items():
        assert status(client, method, path, body, key) == (200 if name == needed else 403), name
    assert status(client, method, path, body, "everything") == 200
    assert status(client, method, path, body, "two") == (200 if needed in ("read", "events") else 403)
    for wrong in (None, "", "Everything", "the secret of", hashlib.sha256(b"two").hexdigest()):
        assert status(client, method, path, body, wrong) == 401


def test_probes_and_the_page_need_no_key(client: Client) -> None:
    assert [client.get(path).status for path in ("/healthz", "/readyz", "/")] == [200] * 3


def test_scopes_and_refusals_are_described(client: Client) -> None:
    documented = client.get("/openapi.json", x_api_key="everything").json
    assert list(documented["components"]["securitySchemes"]) == ["APIKeyHeader"]
    for path, operations in documented["paths"].items():
        for method, operation in operations.items():
            if path in ("/healthz", "/readyz"):
                assert "security" not in operation
                continue
            scope = scope_of(method.upper(), path)
            assert operation["security"] == [{"APIKeyHeader": [scope]}]
            assert scope in operation["responses"]["403"]["description"]
            assert operation["responses"]["401"]["description"]


def test_the_log_names_the_key_and_holds_none(
    client: Client, settings: ServeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    status(client, "GET", "/v1/model", None, KEYS["read"])
    status(client, "GET", "/metrics", None, KEYS["read"])
    status(client, "GET", "/v1/model", None, "a wrong one")
    records = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == LOG.name]
    assert [(line["status"], line.get("key")) for line in records] == [
        (200, "read"),
        (403, "read"),
        (401, None),
    ]
    text = json.dumps(records) + repr(settings)
    assert not any(secret in text for secret in (*KEYS.values(), "everything", "a wrong one"))


def test_keys_reach_the_workers(settings: ServeSettings, tmp_path: Path) -> None:
    text = to_json(tmp_path, settings)
    assert from_json(text) == (tmp_path, settings)
    assert not any(key in text for key in KEYS.values())
    assert serve_settings({"scoped_keys": settings.scoped_keys}).all_keys == settings.scoped_keys


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs a table"),
        ("key = 3", "needs a table"),
        ("nonsense", "is no TOML"),
        ('[[key]]\nscopes = ["read"]\nvalue = "s3cret"', "needs a name"),
        ('[[key]]\nname = "a"\nvalue = "s3cret"', "needs scopes"),
        ('[[key]]\nname = "a"\nscopes = []\nvalue = "s3cret"', "needs scopes"),
        ('[[key]]\nname = "a"\nscopes = ["reed"]\nvalue = "s3cret"', "did you mean 'read'"),
        ('[[key]]\nname = "a"\nscopes = ["read"]', "either value or sha256"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nvalue = "s3cret "', "no header can carry"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nvalue = ""', "no header can carry"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nsha256 = "s3cret"', "64 hex digits"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nvalue = 3', "is a text"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nvalue = "s3cret"\nsope = 1', "sope"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nvalue = "s3cret', "is no TOML"),
        ('[[key]]\nname = "a"\nscopes = ["read"]\nvalue = "s3cret"\n' * 2, "have one name"),
        (
            "".join(f'[[key]]\nname = "{n}"\nscopes = ["read"]\nvalue = "s3cret"\n' for n in "ab"),
            "have one value",
        ),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_refused_without_a_key(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as refused:
        read_keys(file_of(tmp_path, text))
    assert "s3cret" not in str(refused.value)


def test_a_served_run_takes_old_and_new_keys(tmp_path: Path) -> None:
    """Rotation: both are valid until the old one is taken out of the file."""
    tables = "".join(f'[[key]]\nname = "{n}"\nscopes = ["read"]\nvalue = "{n} key"\n' for n in ("old", "new"))
    with serving(save_run(tmp_path / "run"), "--keys", file_of(tmp_path, tables)) as server:
        for key, expected in (("old key", 200), ("new key", 200), ("no key", 401)):
            assert server.get("/v1/model", x_api_key=key).status == expected
        assert server.get("/metrics", x_api_key="new key").status == 403
    assert not any("old key" in json.dumps(line) for line in server.lines)
