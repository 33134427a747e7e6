"""Asking an ASGI application without a socket: one event loop, any bytes in any pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        assert set(self.json) == {"error", "request_id"}, self.json
        return str(self.json["error"])


class Client:
    """Asks ``app``; the ``runner`` keeps the event loop between requests."""

    def __init__(self, app: Any, runner: asyncio.Runner) -> None:
        self.app, self.runner = app, runner

    def get(self, path: str, **headers: str) -> Reply:
        return self.run(self.ask("GET", path, headers=headers))

    def delete(self, path: str, **headers: str) -> Reply:
        return self.run(self.ask("DELETE", path, headers=headers))

    def post(self, path: str, value: Any, **headers: str) -> Reply:
        """A JSON body, made of a value."""
        return self.send(path, [json.dumps(value).encode()], **headers)

    def send(self, path: str, pieces: Iterable[bytes], **headers: str) -> Reply:
        """A body of any bytes, in pieces, said to be JSON and of no declared length."""
        return self.run(self.ask("POST", path, pieces, {"content-type": "application/json", **headers}))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def ask(
        self, method: str, path: str, pieces: Iterable[bytes] = (), headers: dict[str, str] | None = None
    ) -> Reply:
        """One request."""
        sent: list[dict[str, Any]] = []
        messages = _messages(pieces)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return await anext(messages)

        await self.app(_scope(method, path, headers or {}), receive, send)
        names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], names, b"".join(message["body"] for message in sent[1:]))


@contextmanager
def asking(app: Any) -> Iterator[Client]:
    """A client of the application, started and shut down."""
    with asyncio.Runner() as runner:
        life = app.router.lifespan_context(app)
        runner.run(life.__aenter__())
        try:
            yield Client(app, runner)
        finally:  # else a failed test's threads are another test's
            runner.run(life.__aexit__(None, None, None))


async def _messages(pieces: Iterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    for piece in pieces:
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}
    await asyncio.Event().wait()  # a client that stays until it has its answer


def _scope(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    from urllib.parse import unquote

    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        # each character of a value as one byte, where it is one
        "headers": [(name.replace("_", "-").encode(), _bytes(value)) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def _bytes(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()
