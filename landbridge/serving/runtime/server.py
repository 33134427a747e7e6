"""A server process: the application, its event store, its log, and uvicorn around it."""

from __future__ import annotations

import gc
import logging
import os
import signal
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from landbridge.core.errors import MissingExtraError, SettingsError
from landbridge.core.types import Record
from landbridge.serving.runtime.logging import log
from landbridge.serving.runtime.settings import ServeSettings, from_json, to_json
from landbridge.store import in_use

if TYPE_CHECKING:
    from fastapi import FastAPI

NEEDED = ("fastapi", "httptools", "prometheus_client", "sqlalchemy", "uvicorn")
HANDED = "LANDBRIDGE_SERVE"  # the environment variable with the settings that a worker serves
FILES = 4096  # open at once: a connection is a file
FAREWELL = 10  # seconds that requests have to finish when the server stops


def serve(run: Path, settings: ServeSettings) -> None:
    """Serve a run folder, or a versions folder's current version, until the process is stopped.

    A version served by its own path is not removed meanwhile. StoreError where the run cannot be served.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise MissingExtraError(f"Serving needs {missing[0]}: pip install 'landbridge[serve]'.")
    _check_access(settings)
    _allow_files()
    with ExitStack() as held:
        for folder in (run, *([settings.against] if settings.against else [])):
            held.enter_context(in_use(folder))
        if settings.workers == 1:
            _serve_alone(run, settings)
        else:
            _serve_together(run, settings)


def application(run: Path, settings: ServeSettings) -> FastAPI:
    """The application with its event store, if there is to be one."""
    from landbridge.serving.events.store import EventStore
    from landbridge.serving.http.app import create_app
    from landbridge.serving.http.hosts import HostPolicy

    url = settings.events
    store = None if url is None else EventStore.open(url.get_secret_value())
    hosts = HostPolicy.of(settings.host, settings.allow_host, has_key=bool(settings.all_keys))
    return create_app(run, settings, store, hosts=hosts)


def handed_over() -> FastAPI:
    """The application of a worker; a process by itself cannot be handed anything but its environment."""
    return _at_rest(application(*from_json(os.environ[HANDED])))


def _check_access(settings: ServeSettings) -> None:
    """SettingsError where every client of the network could read and delete what the store holds."""
    from landbridge.serving.http.hosts import is_loopback

    if not settings.all_keys and not settings.without_key and not is_loopback(settings.host):
        if settings.events is not None:
            raise SettingsError(
                f"Every client that reaches {settings.host} could read and delete the stored events: give a "
                "key with --api-key-env or --keys, or --without-key if a proxy checks who calls."
            )
        log(logging.WARNING, "no key", host=settings.host, why="every client may query; see --api-key-env")


def _allow_files() -> None:
    """Let the process open as many files as it takes connections; the usual limit of 1,024 is too low."""
    with suppress(ImportError, OSError, ValueError):  # no such limits on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < FILES:
            most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _serve_alone(run: Path, settings: ServeSettings) -> None:
    import uvicorn

    # Ctrl-C ends the process as SIGTERM does: leaving Python would wait for a thread that waits for the store
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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

    from landbridge.serving.runtime.ab_testing import sources_of
    from landbridge.serving.runtime.metrics import FOLDER

    for source in sources_of(run, settings):
        source.opened_unverified()  # a sentence rather than dying workers
    with TemporaryDirectory(prefix="landbridge-metrics-") as metrics_folder:
        os.environ |= {FOLDER: metrics_folder, HANDED: to_json(run, settings)}
        handed = f"{__name__}:{handed_over.__name__}"
        uvicorn.run(handed, factory=True, workers=settings.workers, **_options(settings))


def _options(settings: ServeSettings) -> Record:
    from landbridge.serving.runtime.http_protocol import BoundedHttpProtocol
    from landbridge.serving.runtime.logging import configuration

    return {
        "host": settings.host,
        "port": settings.port,
        "http": BoundedHttpProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": configuration(),
        # the middleware writes its own line per request
        "access_log": False,
        "server_header": False,
        # addresses come from the connection, not from a header that a client can set
        "proxy_headers": False,
        "timeout_graceful_shutdown": FAREWELL,
    }
