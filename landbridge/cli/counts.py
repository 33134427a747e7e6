"""The options of `landbridge estimate` and `plan`: how many events there are, and on which machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from landbridge.data.counts import Counts
    from landbridge.planning.machine import Machine

Sources = Annotated[
    list[str] | None, typer.Argument(help="Event files, one per domain; none where counts are given.")
]
Users = Annotated[
    str | None, typer.Option(help="Of files: shared or local user ids. Else the number of users.")
]
Items = Annotated[int | None, typer.Option(help="The number of items, of all domains together.")]
Events = Annotated[int | None, typer.Option(help="The number of events, of all domains together.")]
Domains = Annotated[int, typer.Option(help="The number of domains, which are taken to be alike.")]
Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Measure the constants of this machine first, and keep them.")
]
MachineFile = Annotated[
    Path | None,
    typer.Option("--machine", help="Keep the constants in this file, or read those of another machine."),
]


def calibrate(file: Path | None) -> None:
    """Measure this machine, and say where its constants are."""
    from landbridge.planning import calibration, machine

    typer.echo(
        f"Constants of this machine are kept in {machine.keep(calibration.measured(), file)}", err=True
    )


def counts_of(
    sources: list[str] | None,
    users: str | None,
    totals: tuple[int | None, int | None, int],
    columns: dict[str, object] | None,
    fold_ids: bool,
    memory: str | None = None,
) -> Counts:
    """The counts of files, mapped in the cache where ``memory`` is given, else of ``totals``: items, events
    and domains. SettingsError where neither are whole."""
    from landbridge.core.errors import SettingsError
    from landbridge.data.counts import Counts
    from landbridge.data.io.counting import count_events
    from landbridge.data.io.readers import read

    if sources:
        source = sources if len(sources) > 1 else sources[0]
        if memory is None:
            return count_events(source, users, columns, fold_ids)
        return Counts.of(read(source, users=users, columns=columns, fold_ids=fold_ids, memory=memory))
    items, events, domains = totals
    if users is None or items is None or events is None or not users.isdecimal():
        raise SettingsError("Give event files, or --users, --items and --events as whole numbers.")
    return Counts.of_totals(int(users), items, events, domains)


def say_assumptions(counts: Counts, here: Machine) -> None:
    """What the figures rest on that was not measured."""
    if counts.assumed:
        typer.echo("Lengths of rows are assumed: files, which show them, make the estimate better.", err=True)
    if not here.measured:
        typer.echo("Constants are those of another machine; --calibrate measures them here.", err=True)
