"""Answers as ready bytes."""

from __future__ import annotations

import html
from collections.abc import Mapping

import orjson
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from landbridge.serving.runtime.logging import of_request

NO_STORE = {"cache-control": "no-store"}  # answers concern users
ERROR_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>landbridge</title>
<link rel="stylesheet" href="/style.css">
<main class="panel">
<p>{sentence}</p>
<p><a href="/">The page</a> · <a href="/openapi.json">The API</a></p>
</main>
</html>
"""


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The value as JSON; dataclasses and NumPy numbers are welcome."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, {**NO_STORE, **(headers or {})}, "application/json")


def error_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error, in one sentence, and the id of its request."""
    return json_response({"error": sentence, **of_request()}, status, headers)


def error_response_for(
    scope: Scope, status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as the client can show it: a page with a way on to a browser where an address was typed or a
    link followed, else JSON."""
    if scope["method"] != "GET" or "text/html" not in Headers(scope=scope).get("accept", ""):
        return error_response(status, sentence, headers)
    page = ERROR_PAGE.format(sentence=html.escape(sentence))
    return HTMLResponse(page, status, {**NO_STORE, **(headers or {})})
