"""ASGI middleware: request id, API key, time-out, security headers, metrics and the request log."""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import suppress
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landbridge.serving.http.responses import error_response, error_response_for
from landbridge.serving.runtime.logging import FIELDS, LOG, REQUEST_ID, log, of_request, request_id_of
from landbridge.serving.runtime.metrics import OTHER, Metrics
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.serving.runtime.work_pool import RETRY_AFTER

KEY_HEADER = "x-api-key"
ID_HEADER = "x-request-id"
# no inline script and no foreign host: a title that holds HTML can do nothing
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
LEFT = 499  # the status in log and metrics where the client had disconnected


class RequestMiddleware:
    """Names, bounds, times, counts and logs every request; sees to it that a failure is an answer, too."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = LEFT, perf_counter()
        request_id = request_id_of([value for name, value in scope["headers"] if name == ID_HEADER.encode()])
        token = REQUEST_ID.set(request_id)
        headers = [*HEADERS, (ID_HEADER.encode(), request_id.encode())]

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        async def instead(answer: Response) -> None:
            # nothing has been sent yet: a second start of a response would break the connection
            if status == LEFT:  # else the answer has begun, and the server cuts it off
                await answer(scope, receive, sending)

        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._app(scope, receive, sending)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # only by a server that stops
            await instead(error_response(503, "The server stops; try again.", RETRY_AFTER))
        except TimeoutError:
            sentence = f"No answer within {self._settings.timeout:g} seconds; try again."
            await instead(error_response(503, sentence, RETRY_AFTER))
        except Exception:
            LOG.exception("failed", extra={FIELDS: of_request()})
            await instead(error_response(500, "Something went wrong in the server; its log says what."))
        finally:
            self._record(scope, status, perf_counter() - started)
            REQUEST_ID.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # the route's pattern and not its path: paths hold user ids, and one metric per path would grow
        # without bound
        route = getattr(scope.get("route"), "path_format", OTHER)
        self._metrics.observe_request(route, status, seconds)
        facts = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1e3, 3)}
        log(logging.INFO, "request", **facts, **(_log_users(scope) if self._settings.log_users else {}))


class ApiKey:
    """Refuses requests without the key, but for the ``open_paths``."""

    def __init__(self, app: ASGIApp, key: str, open_paths: frozenset[str]) -> None:
        self._app, self._forms, self._open_paths = app, _header_forms(key), open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in self._open_paths or self._fits(scope):
            await self._app(scope, receive, send)
        else:
            sentence = f"This needs a key in the header {KEY_HEADER}."
            answer = error_response_for(scope, 401, sentence, {"www-authenticate": "ApiKey"})
            await answer(scope, receive, send)

    def _fits(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == KEY_HEADER.encode()]
        # constant time, so that the time of a refusal says nothing about the key; two headers are ambiguous
        fits = [hmac.compare_digest(given[0], form) for form in self._forms if len(given) == 1]
        return any(fits)


def _header_forms(key: str) -> list[bytes]:
    """The bytes that clients send for a key: UTF-8, and Latin-1 where it has such, as browsers do."""
    forms = [key.encode()]
    with suppress(UnicodeEncodeError):
        forms.append(key.encode("latin-1"))
    return forms


def _log_users(scope: Scope) -> dict[str, object]:
    """The client, and the user of the request."""
    user = getattr(scope.get("body"), "user", None) or scope.get("path_params", {}).get("user")
    return {"client": (scope.get("client") or [None])[0], "user": user}
