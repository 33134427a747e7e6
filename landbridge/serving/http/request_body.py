"""What a request may be: the size, depth and kind of its body, and one clear sentence when it is refused.

Bounds of single fields stand in :mod:`landbridge.serving.http.schemas.fields`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, get_type_hints

import orjson
from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from landbridge.core.errors import unknown
from landbridge.core.text import one_line
from landbridge.core.types import Values

MAX_DEPTH = 8  # of the JSON in a body
NESTED = (list, dict)  # orjson makes no subclasses, so type() can be compared
SHOWN = 60  # characters of a key that a sentence repeats


class JsonBodyRoute(APIRoute):
    """A route with one JSON body, the argument ``body``, read within the limits.

    FastAPI documents it like any other; reading and validating the body by hand halves the time spent
    outside the model.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Read, parse and validate the body, then call the endpoint, which answers with ready bytes."""
        endpoint, model = self.endpoint, get_type_hints(self.endpoint)["body"]

        async def handle(request: Request) -> Response:
            settings = request.app.state.settings
            body = await read_body(request, settings.max_body, settings.body_timeout)
            given = validated(model, parse_json(body))
            request.scope["body"] = given
            response: Response = await endpoint(given)
            return response

        return handle


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body as it streams in, given up as soon as it is longer than ``most`` bytes or too slow.

    Only JSON is taken: a web page elsewhere cannot send that without asking first (CORS).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "The body must be JSON; send it with content-type: application/json.")
    declared = request.headers.get("content-length", "0")
    # refused before a byte is read; int of an overlong text would be slow, hence the cut
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError:
        raise HTTPException(
            408, f"The body did not arrive within {seconds:g} seconds.", {"connection": "close"}
        ) from None
    return b"".join(parts)


def parse_json(body: bytes) -> Any:
    """The JSON value; 400 where it is none, or nested too deeply."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not JSON: {error}.") from None
    if exceeds_depth(value, MAX_DEPTH):
        raise HTTPException(400, f"The body is nested more than {MAX_DEPTH} levels deep.")
    return value


def exceeds_depth(value: object, most: int) -> bool:
    """Whether lists and objects are nested more than ``most`` levels deep."""
    # level by level and not by recursion, which a deep value could make overflow
    level = [value]
    for _ in range(most):
        level = [child for parent in level if type(parent) in NESTED for child in _children(parent)]
        if not level:
            return False
    return any(type(entry) in NESTED for entry in level)


def validated(model: type[BaseModel], value: object) -> BaseModel:
    """The body as its model; 422 with a sentence about the first thing that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise HTTPException(422, error_message(first, model.model_fields)) from None


def error_message(error: Values, valid: Iterable[str] = ()) -> str:
    """What is wrong and where: ``events.3.item: ...``; ``valid``: the keys of the outermost object."""
    *path, last = [str(part)[:SHOWN] for part in error["loc"]] or ["The body"]
    inside = [one_line(part) for part in path]
    if error["type"] == "extra_forbidden":
        return f"Unknown key {last!r} in {'.'.join(inside)}." if inside else unknown("key", last, valid)
    where = ".".join([*inside, one_line(last)])
    if error["type"] in ("model_type", "dict_type"):
        return f"{where}: must be an object."
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}."


def _children(parent: Any) -> Iterable[object]:
    return parent.values() if type(parent) is dict else parent


def _too_large(most: int) -> HTTPException:
    return HTTPException(
        413, f"The body is larger than {most:,} bytes; send fewer at a time.", {"connection": "close"}
    )
