"""A server process: the application, its event store, its log, and uvicorn around it."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from landbridge.core.errors import MissingExtraError
from landbridge.core.types import Record
from landbridge.serving.runtime.settings import ServeSettings, from_json, to_json

if TYPE_CHECKING:
    from fastapi import FastAPI

NEEDED = ("fastapi", "httptools", "prometheus_client", "sqlalchemy", "uvicorn")
HANDED = "LANDBRIDGE_SERVE"  # the environment variable with the settings that a worker serves
CONNECTIONS = 1024  # further ones are turned away
FAREWELL = 10  # seconds that requests have to finish when the server stops


def serve(run: Path, settings: ServeSettings) -> None:
    """Serve a run folder until the process is stopped; StoreError where it cannot be served."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise MissingExtraError(f"Serving needs {missing[0]}: pip install 'landbridge[serve]'.")
    if settings.workers == 1:
        _serve_alone(run, settings)
    else:
        _serve_together(run, settings)


def application(run: Path, settings: ServeSettings) -> FastAPI:
    """The application with its event store, if there is to be one."""
    from landbridge.serving.events.store import EventStore
    from landbridge.serving.http.app import create_app

    url = settings.events
    store = None if url is None else EventStore.open(url.get_secret_value())
    return create_app(run, settings, store)


def handed_over() -> FastAPI:
    """The application of a worker; a process by itself cannot be handed anything but its environment."""
    return _at_rest(application(*from_json(os.environ[HANDED])))


def _serve_alone(run: Path, settings: ServeSettings) -> None:
    import uvicorn

    uvicorn.run(_at_rest(application(run, settings)), **_options(settings))


def _at_rest(app: FastAPI) -> FastAPI:
    """Freeze the objects of the start-up, so that the garbage collector skips them.

    Scanning them again and again makes one request in a hundred wait for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    return app


def _serve_together(run: Path, settings: ServeSettings) -> None:
    """Several processes behind one socket; each opens the run by itself."""
    import uvicorn

    from landbridge.serving.runtime.metrics import FOLDER
    from landbridge.serving.runtime.model_manager import RunSource

    RunSource(run, settings.items, settings.approximate).opened()  # a sentence rather than dying workers
    with TemporaryDirectory(prefix="landbridge-metrics-") as metrics_folder:
        os.environ |= {FOLDER: metrics_folder, HANDED: to_json(run, settings)}
        handed = f"{__name__}:{handed_over.__name__}"
        uvicorn.run(handed, factory=True, workers=settings.workers, **_options(settings))


def _options(settings: ServeSettings) -> Record:
    from landbridge.serving.runtime.logging import configuration

    return {
        "host": settings.host,
        "port": settings.port,
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "log_config": configuration(),
        # the middleware writes its own line per request
        "access_log": False,
        "server_header": False,
        # addresses come from the connection, not from a header that a client can set
        "proxy_headers": False,
        "limit_concurrency": CONNECTIONS,
        "timeout_graceful_shutdown": FAREWELL,
    }
