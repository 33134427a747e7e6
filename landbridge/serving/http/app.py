"""The HTTP application: its routes with their documentation, its errors and its life.

What is served stands in :mod:`landbridge.serving.engine.service`; how models follow each other in
:mod:`landbridge.serving.runtime.model_manager`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from landbridge.core.errors import DataError, LandbridgeError, StoreError
from landbridge.core.types import Record
from landbridge.serving.engine.service import Service
from landbridge.serving.events.history import UserHistory
from landbridge.serving.events.store import EventStore
from landbridge.serving.http import request_body as limits
from landbridge.serving.http import schemas
from landbridge.serving.http.hosts import HostMiddleware, HostPolicy
from landbridge.serving.http.middleware import ID_HEADER, KEY_HEADER, ApiKey, RequestMiddleware
from landbridge.serving.http.request_body import JsonBodyRoute
from landbridge.serving.http.responses import error_response, error_response_for, json_response
from landbridge.serving.http.routes import Routes, WorkPools
from landbridge.serving.http.static_files import page_routes
from landbridge.serving.runtime.ab_testing import ServedRuns
from landbridge.serving.runtime.impressions import ImpressionLog
from landbridge.serving.runtime.keys import scope_of
from landbridge.serving.runtime.logging import LOG, log
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.model_manager import ModelManager
from landbridge.serving.runtime.settings import ServeSettings
from landbridge.serving.runtime.work_pool import RETRY_AFTER, PoolFull, WorkPool
from landbridge.version import __version__

OPEN = ("/healthz", "/readyz")  # what needs no key, beside the page
Endpoint = Callable[..., Coroutine[Any, Any, Response]]
PROBLEM: dict[int | str, Any] = {
    "4XX": {"model": schemas.Problem, "description": "Refused, and why"},
    500: {"model": schemas.Problem, "description": "An error of the server, which its log names"},
    503: {
        "model": schemas.Problem,
        "description": "Too busy, too slow, or the event store fails; try again after Retry-After seconds",
    },
}


@dataclass(frozen=True)
class ExtraRoute:
    """An endpoint of your own: ``answer`` gets the active service and the parameters, in a thread.

    The parameters of a GET are the query's, as text; those of a POST are the JSON object in its body.
    What it returns is sent as JSON; a LandbridgeError becomes status 422 with its sentence.
    """

    path: str
    answer: Callable[[Service, Mapping[str, Any]], object]
    method: Literal["GET", "POST"] = "GET"


@dataclass(frozen=True)
class Layers:
    """What the middleware needs. ``open_paths``: answered without the key."""

    settings: ServeSettings
    metrics: Metrics
    open_paths: frozenset[str]
    hosts: HostPolicy | None


def create_app(
    served: Service | Path | str,
    settings: ServeSettings | None = None,
    store: EventStore | None = None,
    extra: Sequence[ExtraRoute] = (),
    hosts: HostPolicy | None = None,
) -> FastAPI:
    """The application that serves a run folder and its later states, or one fixed service.

    StoreError where the folder or the service cannot be served. The ``store`` is closed with the application.
    ``extra``: further endpoints, behind the same API key, limits, metrics and error messages as the others.
    ``hosts``: the names that are answered; all, where the server around the application decides that.
    """
    settings, metrics = settings or ServeSettings(), Metrics()
    if isinstance(served, str | Path):
        runs = ServedRuns.open(Path(served), settings, metrics)
    else:
        served.check()  # its first answers compile what others find compiled
        runs = ServedRuns(ModelManager(served, metrics))
    if store is not None:
        for manager in runs.all():
            manager.begin_with(store.item_patches())
    history, pools = UserHistory(store, metrics), WorkPools.of()
    app = FastAPI(
        title="landbridge",
        version=__version__,
        summary="Recommendations over several catalogues.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda app: _life(app, runs, history, pools),
    )
    impressions = None
    if settings.impressions is not None:
        impressions = ImpressionLog.open(
            settings.impressions, metrics, settings.impressions_bytes, runs.assignment
        )
    app.state.settings, app.state.history, app.state.metrics = settings, history, metrics
    app.state.impressions = impressions
    routes = Routes(runs, history, metrics, pools, settings.timeout, impressions)
    _add_routes(app, routes, has_keys=bool(settings.all_keys))
    for route in extra:
        app.router.add_api_route(
            route.path,
            _endpoint(runs.first, pools.lookups, route),
            methods=[route.method],
            response_model=None,
            **(_documented_key(route.method, route.path) if settings.all_keys else {}),
        )
    page = page_routes()
    app.router.routes.extend(page)
    open_paths = frozenset({*OPEN, *(route.path for route in page)})
    _add_layers(app, Layers(settings, metrics, open_paths, hosts))
    _add_errors(app)
    return app


@asynccontextmanager
async def _life(
    app: FastAPI, runs: ServedRuns, history: UserHistory, pools: WorkPools
) -> AsyncIterator[dict[str, Metrics]]:
    """From start to shutdown. The state is what the protocol of a connection counts with."""
    seconds = app.state.settings.poll
    watching = asyncio.create_task(_watch(runs, history, app.state.impressions, seconds))
    yield {"metrics": app.state.metrics}
    # the watcher first, so that no model is loaded while the application closes
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    for manager in runs.all():
        await manager.close()
    for pool in pools.all():
        pool.close()
    await history.close()
    if app.state.impressions is not None:
        await asyncio.to_thread(app.state.impressions.close)


async def _watch(
    runs: ServedRuns, history: UserHistory, impressions: ImpressionLog | None, seconds: float
) -> None:
    """Check regularly for new models and for users to forget."""
    while True:
        await asyncio.sleep(seconds)
        for manager in runs.all():
            await _attempt(manager.check_for_update())
        await _attempt(_refresh(runs, history, impressions))


async def _attempt(check: Coroutine[Any, Any, None]) -> None:
    try:
        await check
    except Exception:  # the next check may succeed
        LOG.exception("check failed")


async def _refresh(runs: ServedRuns, history: UserHistory, impressions: ImpressionLog | None) -> None:
    """Learn from the store whom any server has to forget, and what was said of items."""
    with suppress(StoreError, PoolFull):  # the history has logged it
        for user in await history.refresh():
            if impressions is not None:
                impressions.forget(user)
        patches = await history.item_patches(runs.first.patches)
        for manager in runs.all():
            await manager.patch_items(patches)


def _add_routes(app: FastAPI, routes: Routes, has_keys: bool) -> None:
    table: list[tuple[str, str, Endpoint, type[BaseModel]]] = [
        ("POST", "/v1/recommend", routes.recommend, schemas.RecommendAnswer),
        ("POST", "/v1/recommend/batch", routes.recommend_batch, schemas.BatchAnswer),
        ("POST", "/v1/page", routes.page, schemas.PageAnswer),
        ("POST", "/v1/similar", routes.similar, schemas.Items),
        ("POST", "/v1/explain", routes.explain, schemas.ExplainAnswer),
        ("POST", "/v1/events", routes.add_events, schemas.Stored),
        ("PATCH", "/v1/items", routes.patch_items, schemas.Patched),
        ("DELETE", "/v1/events", routes.delete_event, schemas.Deleted),
        ("DELETE", "/v1/users/{user:path}", routes.forget_user, schemas.Forgotten),
        ("GET", "/v1/model", routes.model, schemas.ModelAnswer),
        ("GET", "/v1/search", routes.search, schemas.Items),
        ("GET", "/v1/popular", routes.popular, schemas.Items),
        ("GET", "/v1/values", routes.values, schemas.ValuesAnswer),
        ("GET", "/healthz", routes.healthz, schemas.Alive),
        ("GET", "/readyz", routes.readyz, schemas.Ready),
    ]
    for method, path, call, answer in table:
        key = _documented_key(method, path) if has_keys and path not in OPEN else {}
        app.router.add_api_route(
            path,
            call,
            methods=[method],
            response_model=None,
            responses={200: {"model": answer}, **PROBLEM, **key.pop("responses", {})},
            **key,
            route_class_override=JsonBodyRoute if method in ("POST", "PATCH") else None,
        )
    key = _documented_key("GET", "/metrics") if has_keys else {}
    text: dict[int | str, Any] = {200: {"content": {"text/plain": {}}}, **PROBLEM, **key.pop("responses", {})}
    app.router.add_api_route("/metrics", routes.metrics_text, response_class=Response, responses=text, **key)


def _documented_key(method: str, path: str) -> Record:
    """The key that a route needs, for its description: the middleware checks it."""
    scope = scope_of(method, path)
    scheme = APIKeyHeader(name=KEY_HEADER, auto_error=False, description="A key with the scopes of the route")
    refusals = {
        401: {"model": schemas.Problem, "description": "Without a valid key"},
        403: {"model": schemas.Problem, "description": f"The key lacks the scope {scope!r}"},
    }
    return {"dependencies": [Security(scheme, scopes=[scope])], "responses": refusals}


def _endpoint(current: ModelManager, pool: WorkPool, route: ExtraRoute) -> Endpoint:
    async def answer(request: Request) -> Response:
        given = await _body(request) if route.method == "POST" else dict(request.query_params)
        async with current.lease() as active:
            return json_response(await pool.run(route.answer, active.service, given))

    return answer


async def _body(request: Request) -> Record:
    """The JSON object in the body, within the limits of the other endpoints."""
    settings = request.app.state.settings
    body = limits.parse_json(await limits.read_body(request, settings.max_body, settings.body_timeout))
    if not isinstance(body, dict):
        raise DataError("The body must be a JSON object.")
    return body


def _add_layers(app: FastAPI, layers: Layers) -> None:
    """The request middleware is outermost; a browser asks for permission (CORS) without the key."""
    settings = layers.settings
    if settings.all_keys:
        app.add_middleware(ApiKey, keys=settings.all_keys, open_paths=layers.open_paths)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["content-type", KEY_HEADER, ID_HEADER],
            expose_headers=[ID_HEADER],
        )
    if layers.hosts is not None:
        app.add_middleware(HostMiddleware, policy=layers.hosts)
    app.add_middleware(RequestMiddleware, settings=settings, metrics=layers.metrics)


def _add_errors(app: FastAPI) -> None:
    """Every refusal is {"error": one sentence, "request_id": its request's}."""

    @app.exception_handler(LandbridgeError)
    async def ours(_: Request, error: LandbridgeError) -> Response:
        return error_response(422, str(error))

    @app.exception_handler(StoreError)
    async def stored(_: Request, error: StoreError) -> Response:
        log(logging.ERROR, "store failed", why=str(error))  # it may name hosts and paths
        return error_response(
            503, "The event store does not answer; try again. The server's log says why.", RETRY_AFTER
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return error_response(
            422, limits.error_message({**first, "loc": first["loc"][1:]})
        )  # without "query" or "path"

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        plain = error.detail == HTTPStatus(error.status_code).phrase
        sentence = f"{error.detail}: see /openapi.json for what there is." if plain else str(error.detail)
        return error_response_for(request.scope, error.status_code, sentence, error.headers)
