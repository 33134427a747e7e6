"""landbridge estimate"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import counts as counted
from landbridge.cli import options


def command(
    sources: counted.Sources = None,
    model: Annotated[str, typer.Option(help="auto, or a name of `landbridge models`.")] = "auto",
    settings: options.Settings = None,
    users: counted.Users = None,
    items: counted.Items = None,
    events: counted.Events = None,
    domains: counted.Domains = 1,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    calibrate: counted.Calibrate = False,
    machine: counted.MachineFile = None,
    json: options.Json = False,
) -> None:
    """Time, memory and disk of a fit before it starts.

    landbridge estimate books.csv movies.parquet --users shared --model ials --set factors=128

    landbridge estimate --users 6040 --items 3706 --events 1000209 --domains 3 --model ease

    Files are only counted. Without files the lengths of users' and items' rows are assumed.
    """
    import orjson
    import polars as pl

    from landbridge.cli import show
    from landbridge.config import AUTO, parse_setting
    from landbridge.core.errors import SettingsError
    from landbridge.models import registry
    from landbridge.planning.estimate import estimate, estimate_auto
    from landbridge.planning.machine import of_this_machine

    if calibrate:
        counted.calibrate(machine)
        if not sources and events is None:
            return
    given = dict(parse_setting(text) for text in settings or ())
    method = None if model == AUTO else registry.method(model).from_settings(given)
    if method is None and given:
        raise SettingsError(
            "auto chooses the settings itself: name a method for these settings, or give none."
        )
    columns = options.reading(column)["columns"]
    counts = counted.counts_of(sources, users, (items, events, domains), columns, fold_ids)
    here = of_this_machine(machine)
    found = estimate_auto(counts, here) if method is None else estimate(method, counts, here)
    if json:
        typer.echo(orjson.dumps(found.record()))
        return
    show.table(pl.DataFrame(found.rows()))
    counted.say_assumptions(counts, here)
