"""landbridge serve"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options

Text = str | None
Seconds = float | None


def command(
    run: options.Run,
    host: Annotated[Text, typer.Option(help="The address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 8000 by default, 0 for any free one.")] = None,
    events: Annotated[
        Text, typer.Option(envvar="LANDBRIDGE_EVENTS", help="Store events here: a file, or a database URL.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="A table of the items, for titles and `where`.")] = None,
    where: Annotated[
        Text, typer.Option(help='A rule that every listed item obeys, such as "stock > 0".')
    ] = None,
    item_features: Annotated[
        Path | None,
        typer.Option(help="A table of item features: its new items are listed at once, where the model can."),
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option("--approximate", help="Search large catalogues approximately; above 300,000 items."),
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="Another run, served to some of the users (an A/B test).")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="The share of the users that --against serves; 0.5 by default.")
    ] = None,
    test: Annotated[
        Text, typer.Option(help="Name of the A/B test; another name divides the users anew.")
    ] = None,
    api_key_env: Annotated[
        Text, typer.Option(help="Name of the environment variable with the API key.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="A TOML file of keys with scopes; several are valid at a time.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Number of worker processes; 1 by default.")] = None,
    poll: Annotated[
        Seconds, typer.Option(help="Seconds between checks for a new model; 2 by default.")
    ] = None,
    timeout: Annotated[
        Seconds, typer.Option(help="Time limit of a response in seconds; 10 by default.")
    ] = None,
    body_timeout: Annotated[
        Seconds, typer.Option(help="Time limit for receiving a body in seconds; 5 by default.")
    ] = None,
    max_body: Annotated[int | None, typer.Option(help="Largest body in bytes; 262144 by default.")] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="A web origin allowed to call the API; repeatable.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name the server answers to, beside localhost; repeatable. With a key: any."),
    ] = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Let every client of the network use the event store.")
    ] = False,
    impressions: Annotated[
        Path | None, typer.Option(help="Log what is listed to whom in this folder, for ope.")
    ] = None,
    impressions_bytes: Annotated[
        int | None, typer.Option(help="Largest size of that folder in bytes; 1 GiB by default.")
    ] = None,
    log_users: Annotated[
        bool, typer.Option("--log-users", "--log-people", help="Write user ids to the log.")
    ] = False,
) -> None:
    """Serve a run over HTTP, with a web page. A new run in the folder is loaded without downtime.

    landbridge serve runs/best --events events.sqlite --port 8000

    landbridge serve runs/best --against runs/new --share 0.2 --events events.sqlite --impressions shown
    """
    import os

    from landbridge.cli import show
    from landbridge.core.errors import SettingsError
    from landbridge.serving.runtime.keys import read_keys
    from landbridge.serving.runtime.server import serve
    from landbridge.serving.runtime.settings import key_from, serve_settings

    given = {
        "host": host,
        "port": port,
        "events": events,
        "items": items,
        "where": where,
        "item_features": item_features,
        "approximate": approximate,
        "against": against,
        "share": share,
        "test": test,
        "api_key": key_from(os.environ, api_key_env),
        "scoped_keys": None if keys is None else read_keys(keys),
        "workers": workers,
        "poll": poll,
        "timeout": timeout,
        "body_timeout": body_timeout,
        "max_body": max_body,
        "cors": cors,
        "allow_host": allow_host,
        "without_key": without_key,
        "impressions": impressions,
        "impressions_bytes": impressions_bytes,
        "log_users": log_users,
    }
    if against is None and (share is not None or test is not None):
        raise SettingsError("--share and --test are about an A/B test: give --against with another run.")
    show.warn_of_missing_test_events(run)
    serve(run, serve_settings(given))
