"""Answers as ready bytes."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The value as JSON; dataclasses and NumPy numbers are welcome. Answers concern users: no cache."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    kept = {"cache-control": "no-store", **(headers or {})}
    return Response(content, status, kept, "application/json")


def error_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error, in one sentence."""
    return json_response({"error": sentence}, status, headers)
