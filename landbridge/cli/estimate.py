"""landbridge estimate"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options

if TYPE_CHECKING:
    from landbridge.data.counts import Counts

Number = int | None


def command(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Event files, one per domain; none where counts are given.")
    ] = None,
    model: Annotated[str, typer.Option(help="auto, or a name of `landbridge models`.")] = "auto",
    settings: options.Settings = None,
    users: Annotated[
        str | None, typer.Option(help="Of files: shared or local user ids. Else the number of users.")
    ] = None,
    items: Annotated[Number, typer.Option(help="The number of items, of all domains together.")] = None,
    events: Annotated[Number, typer.Option(help="The number of events, of all domains together.")] = None,
    domains: Annotated[int, typer.Option(help="The number of domains, which are taken to be alike.")] = 1,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure the constants of this machine first, and keep them.")
    ] = False,
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
    from landbridge.data.io.counting import count_events
    from landbridge.models import registry
    from landbridge.planning import calibration, machine
    from landbridge.planning.estimate import estimate, estimate_auto

    if calibrate:
        typer.echo(f"Constants of this machine are kept in {machine.keep(calibration.measured())}", err=True)
        if not sources and events is None:
            return
    given = dict(parse_setting(text) for text in settings or ())
    method = None if model == AUTO else registry.method(model).from_settings(given)
    if method is None and given:
        raise SettingsError(
            "auto chooses the settings itself: name a method for these settings, or give none."
        )
    columns = options.reading(column)["columns"]
    counts = (
        count_events(sources if len(sources) > 1 else sources[0], users, columns, fold_ids)
        if sources
        else _totals(users, items, events, domains)
    )
    here = machine.of_this_machine()
    found = estimate_auto(counts, here) if method is None else estimate(method, counts, here)
    if json:
        typer.echo(orjson.dumps(found.record()))
        return
    show.table(pl.DataFrame(found.rows()))
    if found.assumed:
        typer.echo("Lengths of rows are assumed: files, which show them, make the estimate better.", err=True)
    if not found.measured:
        typer.echo("Constants are those of another machine; --calibrate measures them here.", err=True)


def _totals(users: str | None, items: int | None, events: int | None, domains: int) -> Counts:
    from landbridge.core.errors import SettingsError
    from landbridge.data.counts import Counts

    if users is None or items is None or events is None or not users.isdecimal():
        raise SettingsError("Give event files, or --users, --items and --events as whole numbers.")
    return Counts.of_totals(int(users), items, events, domains)
