"""ASGI middleware: request id, API key, time-out, security headers, metrics and the request log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landbridge.serving.http.responses import error_response, error_response_for
from landbridge.serving.runtime.keys import ScopedKey, matching_key, scope_of
from landbridge.serving.runtime.logging import FIELDS, LOG, REQUEST_ID, log, of_request, request_id_of
from landbridge.serving.runtime.metrics import OTHER, Metrics
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.serving.runtime.work_pool import RETRY_AFTER

KEY_HEADER = "x-api-key"
ID_HEADER = "x-request-id"
KEY_NAME = "landbridge.key"  # the entry of a scope that says by which key a request came
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
        if KEY_NAME in scope:
            facts["key"] = scope[KEY_NAME]
        log(logging.INFO, "request", **facts, **(_log_users(scope) if self._settings.log_users else {}))


class ApiKey:
    """Refuses requests without a key of their scope, but for the ``open_paths``."""

    def __init__(self, app: ASGIApp, keys: Sequence[ScopedKey], open_paths: frozenset[str]) -> None:
        self._app, self._keys, self._open_paths = app, keys, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        refusal = None
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        given = [value for name, value in scope["headers"] if name == KEY_HEADER.encode()]
        # two headers are ambiguous
        key = matching_key(given[0], self._keys) if len(given) == 1 else None
        if key is None:
            sentence = f"This needs a key in the header {KEY_HEADER}."
            return error_response_for(scope, 401, sentence, {"www-authenticate": "ApiKey"})
        scope[KEY_NAME] = key.name
        if (needed := scope_of(scope["method"], scope["path"])) not in key.scopes:
            return error_response_for(scope, 403, f"This needs a key with the scope {needed!r}.")
        return None


def _log_users(scope: Scope) -> dict[str, object]:
    """The client, and the user of the request."""
    user = getattr(scope.get("body"), "user", None) or scope.get("path_params", {}).get("user")
    return {"client": (scope.get("client") or [None])[0], "user": user}
