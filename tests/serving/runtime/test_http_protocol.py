"""The bounds of a connection, over sockets: what exceeds one is refused early, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Thread

import pytest
import uvicorn
from stand_in import StandIn

from landbridge.serving.http.app import create_app
from landbridge.serving.runtime import http_protocol
from landbridge.serving.runtime.http_protocol import MAX_HEAD, MAX_URL, BoundedHttpProtocol

HOST = b"Host: localhost\r\n"


@dataclass
class Sockets:
    """A server in a thread of this process."""

    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def status_of(self, *pieces: bytes) -> int:
        """The status of the first answer to some bytes; 0 where the connection is closed without one."""
        with closing(self.connect()) as own:
            for piece in pieces:
                own.sendall(piece)
            return status(own)

    def healthy(self) -> bool:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as own:
            own.request("GET", "/healthz")
            return own.getresponse().status == 200

    def refusals(self, status: int) -> float:
        """How many requests were refused with a status, as the metrics count them."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as own:
            own.request("GET", "/metrics")
            text = own.getresponse().read().decode()
        name = f'landbridge_requests_total{{route="other",status="{status}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


def status(own: socket.socket) -> int:
    answer = own.recv(65536)
    return int(answer.split()[1]) if answer else 0


@pytest.fixture
def server() -> Iterator[Sockets]:
    config = uvicorn.Config(
        create_app(StandIn()), port=0, http=BoundedHttpProtocol, lifespan="on", log_config=None
    )
    running = uvicorn.Server(config)
    thread = Thread(target=lambda: asyncio.run(running.serve()))
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield Sockets(running.servers[0].sockets[0].getsockname()[1])
    running.should_exit = True
    thread.join(20)


def test_only_connections_beyond_the_bound_are_refused(
    server: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "CONNECTIONS", 5)
    with ExitStack() as opened:
        first = opened.enter_context(closing(HTTPConnection("127.0.0.1", server.port, timeout=5)))
        first.request("GET", "/healthz")
        assert first.getresponse().read() == b'{"status":"ok"}'
        standing = first.sock
        silent = [opened.enter_context(closing(server.connect())) for _ in range(10)]
        answers = [status(own) for own in silent[4:]]
        assert answers == [503] * 6
        first.request("GET", "/healthz")
        answer = first.getresponse()
        assert (answer.status, answer.read(), first.sock) == (200, b'{"status":"ok"}', standing)
    time.sleep(0.1)
    assert server.healthy()
    assert server.refusals(503) == 6


def test_a_silent_connection_is_closed(server: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    assert server.status_of() == 0
    assert server.status_of(b"GET /healthz HTTP/1.1\r\nHost: local") == 408
    # blank lines between requests end uvicorn's own time-out
    with closing(server.connect()) as own:
        own.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        answers = own.recv(1024)
        own.sendall(b"\r\n")
        while piece := own.recv(1024):
            answers += piece
        assert answers.startswith(b"HTTP/1.1 200")
    assert server.healthy()


def test_a_head_that_arrives_in_drops_is_given_up(server: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    with closing(server.connect()) as own:
        began = time.monotonic()
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: b":
            try:
                own.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.02)
        assert status(own) == 408
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(("rest", "step"), [(0, 1), (30, 1), (1000, 100)], ids=["none", "drops", "whole"])
def test_a_body_after_its_answer_keeps_no_connection(
    server: Sockets, monkeypatch: pytest.MonkeyPatch, rest: int, step: int
) -> None:
    """The answer came without it; uvicorn's own time-out ends with the first byte of what is left."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.5)
    with closing(server.connect()) as own:
        own.sendall(b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n")
        assert status(own) == 404
        began = time.monotonic()
        with suppress(OSError):
            for _ in range(0, rest, step):
                own.sendall(b"a" * step)
                time.sleep(0.05)
        with suppress(ConnectionResetError):
            while own.recv(1024):
                pass
        assert time.monotonic() - began < 8
    assert server.healthy()


def test_a_client_that_takes_no_answer_is_given_up(server: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose connection is being closed: what it does not take would keep the connection."""
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.5)
    body = b'{"domains": ["books"], "k": 1000}'
    ask = b"POST /v1/recommend HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
    ask += b"content-length: %d\r\n\r\n" % len(body) + body
    with closing(socket.socket()) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.connect(("127.0.0.1", server.port))
        own.settimeout(10)
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 20:
                own.sendall(ask * 10)
                time.sleep(0.05)
        assert time.monotonic() - began < 20
    assert server.healthy()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /healthz?" + b"a" * (MAX_URL - 9) + b" HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET /healthz?" + b"a" * MAX_URL + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * MAX_URL, 414),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: " + b"b" * (MAX_HEAD - 100) + b"\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: " + b"b" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: " + b"b" * MAX_HEAD, 431),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"a" * (MAX_HEAD + 1), 431),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 99 + b"\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 100 + b"\r\n", 431),
        (b"hello\r\n\r\n", 400),
    ],
)
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_the_head_of_a_request_is_bounded(server: Sockets, head: bytes, expected: int, size: int) -> None:
    """In one piece and in several, before the key is looked at; URL and headers have bounds of their own."""
    pieces = [head[start : start + size] for start in range(0, len(head), size)]
    with closing(server.connect()) as own:
        for piece in pieces:
            own.sendall(piece)
            time.sleep(0.002)
        answer = own.recv(65536)
    assert int(answer.split()[1]) == expected
    if expected != 200:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert json.loads(body)["error"].endswith(".")
        assert f"x-request-id: {json.loads(body)['request_id']}".encode() in head.splitlines()
        assert server.refusals(expected) == 1
    assert server.healthy()


def test_an_endless_url_is_refused_before_it_is_kept(server: Sockets) -> None:
    with closing(server.connect()) as own:
        own.sendall(b"GET /v1/search?q=")
        sent = 0
        try:
            while sent < 60_000_000:
                own.sendall(b"a" * 65536)
                sent += 65536
        except OSError:
            pass
        assert sent < 8_000_000
    assert server.healthy()


def test_a_large_body_is_no_large_head(server: Sockets) -> None:
    """Its bytes come in the same reads, also before and after other requests."""
    body = b'{"domains": ["books"], "k": 1, "user": "%s"}' % (b"a" * 500)
    body += b" " * 100_000
    post = b"POST /v1/recommend HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
    post += b"content-length: %d\r\n\r\n" % len(body) + body
    with closing(server.connect()) as own:
        for together in (1, 2, 1):
            own.sendall(post * together)
            answers = b""
            while answers.count(b'"degraded"') < together:
                answers += own.recv(65536)
            assert answers.count(b"HTTP/1.1 200") == together


def test_requests_ahead_of_their_answers_are_bounded(server: Sockets) -> None:
    ask = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    with closing(server.connect()) as own:
        own.sendall(ask * 1000)
        answers = b""
        while piece := own.recv(65536):
            answers += piece
    assert answers.count(b"HTTP/1.1 200") <= 17
    assert server.healthy()
