"""Which Host a server answers to, and which settings open it to others."""

from __future__ import annotations

from pathlib import Path

import pytest
from asgi import asking
from commands import answered
from served_runs import save_run
from stand_in import StandIn

from landbridge.core.errors import SettingsError
from landbridge.serving.http.app import create_app
from landbridge.serving.http.hosts import HostPolicy
from landbridge.serving.runtime.settings import serve_settings

LOCAL = (
    "localhost",
    "localhost:8000",
    "LOCALHOST",
    "shop.localhost:1",
    "127.0.0.1",
    "127.8.0.1:80",
    "[::1]:8000",
)
FOREIGN = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhostx",
    "",
)
ADDRESSES = ("10.0.0.5", "192.168.1.7:8000", "[fe80::1]:80")


@pytest.mark.parametrize(
    ("policy", "allowed", "refused"),
    [
        (HostPolicy.of("127.0.0.1", (), has_key=False), LOCAL, (*FOREIGN, *ADDRESSES)),
        (HostPolicy.of("0.0.0.0", (), has_key=False), (*LOCAL, *ADDRESSES), FOREIGN),
        (HostPolicy.of("shop.lan", (), has_key=False), (*LOCAL, "shop.lan:80"), FOREIGN),
        (
            HostPolicy.of("127.0.0.1", ("api.shop.example",), has_key=False),
            (*LOCAL, "API.shop.example:443"),
            FOREIGN,
        ),
        (HostPolicy.of("0.0.0.0", (), has_key=True), (*LOCAL, *FOREIGN, *ADDRESSES), ()),
        (
            HostPolicy.of("0.0.0.0", ("api.shop.example",), has_key=True),
            ("api.shop.example", *LOCAL),
            FOREIGN,
        ),
    ],
)
def test_a_page_elsewhere_cannot_give_the_server_a_name(
    policy: HostPolicy, allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    assert [host for host in allowed if not policy.allows(host)] == []
    assert [host for host in refused if policy.allows(host)] == []


def test_another_name_is_refused_by_every_route() -> None:
    app = create_app(StandIn(), hosts=HostPolicy.of("127.0.0.1", (), has_key=False))
    with asking(app) as client:
        for path in ("/", "/v1/model", "/healthz", "/metrics", "/openapi.json"):
            assert client.get(path, host="evil.example:8000").status == 421
            assert client.get(path, host="localhost:8000").status == 200
        assert client.delete("/v1/users/alice", host="evil.example").status == 421
        assert "--allow-host" in client.get("/healthz", host="evil.example").error


def test_a_request_has_one_host() -> None:
    """RFC 9112, 3.2."""
    with asking(create_app(StandIn(), hosts=HostPolicy())) as client:
        assert client.get("/healthz").status == 400
        assert client.get("/healthz", host="anything").status == 200


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example:443", "https://shop.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://localhost:65535", "http://localhost:65535"),
        ("http://localhost:65536", None),
        ("https://shop.example/", None),
        ("https://shop.example/page", None),
        ("shop.example", None),
        ("ftp://shop.example", None),
        ("https://", None),
        ("https://me@shop.example", None),
        ("https://shop.example, https://other.example", None),
        ("null", None),
        ("*", None),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_at_the_start(given: str, origin: str | None) -> None:
    if origin is not None:
        assert serve_settings({"cors": [given]}).cors == (origin,)
        return
    with pytest.raises(SettingsError, match=r"--cors: .* is no origin; write https://shop.example"):
        serve_settings({"cors": [given]})


@pytest.mark.parametrize("name", ["http://api.example", "api.example:80", "a b", ""])
def test_a_host_that_is_no_name_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=r"--allow-host: .* is no host name"):
        serve_settings({"allow_host": [name]})


def test_a_store_is_not_opened_to_the_network_without_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_run(tmp_path / "run")
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        status, _, err = answered(capsys, "serve", run, "--host", host, "--events", tmp_path / "e.sqlite")
        assert status == 2
        assert "--api-key-env" in err
        assert "--without-key" in err
    assert not (tmp_path / "e.sqlite").exists()
