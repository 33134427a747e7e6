"""``landbridge serve`` in a process of its own, asked over loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any

from asgi import Reply
from commands import start


@dataclass
class Server:
    """A running server; ``lines``: its log so far."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def connection(self) -> closing[HTTPConnection]:
        """A connection to it, to be closed."""
        return closing(HTTPConnection("127.0.0.1", self.port, timeout=30))

    def get(self, path: str, **headers: str) -> Reply:
        """One GET on a connection of its own."""
        with self.connection() as connection:
            return self.ask("GET", path, None, connection, headers)

    def post(self, path: str, value: Any, **headers: str) -> Reply:
        """One POST on a connection of its own."""
        with self.connection() as connection:
            return self.ask("POST", path, json.dumps(value).encode(), connection, headers)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        connection: HTTPConnection,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request on a connection."""
        kind = {} if body is None else {"content-type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        connection.request(method, path, body, kind | named)
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, names, answer.read())


@contextmanager
def serving(run: Path, *words: object) -> Iterator[Server]:
    """A server of the run on a free port; at the end it is told to stop, unless it is dead already."""
    process = start("serve", run, "--port", 0, *words)
    server = Server(process)
    try:
        _await_port(server)
        reader = Thread(target=_read, args=(server,))
        reader.start()
        yield server
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        reader.join()
    finally:
        if process.poll() is None:
            os.kill(process.pid, 9)
        process.communicate()


def _await_port(server: Server) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        server.lines.append(json.loads(line))
        if found := re.search(r"running on http://[^ ]*:(\d+)", server.lines[-1]["event"]):
            server.port = int(found[1])
            return
    raise AssertionError(server.lines)


def _read(server: Server) -> None:
    assert server.process.stderr is not None
    server.lines.extend(json.loads(line) for line in server.process.stderr)
