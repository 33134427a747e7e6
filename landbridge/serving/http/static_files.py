"""The page: a few static files, read once, each with a route of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WEB = Path(__file__).parents[1] / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_routes() -> list[Route]:
    """A route per file; ``index.html`` is ``/``. No path of a request ever reaches the file system."""
    files = {file.name: file for file in sorted(WEB.iterdir()) if file.suffix in TYPES}
    routes = [Route(f"/{name}", _answers(file)) for name, file in files.items()]
    return routes + ([Route("/", _answers(files["index.html"]))] if "index.html" in files else [])


def _answers(file: Path) -> Callable[[Request], Awaitable[Response]]:
    # read once at the start: an upgrade of the package does not mix old and new files
    content = file.read_bytes()
    validator = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    # no-cache: a browser asks each time, and gets the file only where it has another one
    headers = {"cache-control": "no-cache", "etag": validator}

    async def answer(request: Request) -> Response:
        held = [
            each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")
        ]
        if validator in held or "*" in held:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[file.suffix], headers=headers)

    return answer
