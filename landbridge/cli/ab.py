"""landbridge ab"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options

MISMATCH_STATUS = 1  # 2 is that of an error


def command(
    run: options.Run,
    log: Annotated[Path, typer.Argument(help="The folder of the server's --impressions.")],
    events: Annotated[
        str,
        typer.Option(envvar="LANDBRIDGE_EVENTS", help="The server's event store: what came of the lists."),
    ],
    outcome: Annotated[
        list[str] | None,
        typer.Option(help="A kind of event that counts; all that are learned from by default."),
    ] = None,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Compare what came of two runs that served at once, `landbridge serve RUN --against RUN`.

    landbridge ab runs/best shown --events events.sqlite --outcome buy

    Prints for each domain the share of lists and of users with an outcome, for run a and run b, and their
    difference with its 95 % interval over users. RUN is either of the runs: it knows the kinds of events.

    Status 0: the users were divided as the log states, 1: they were not (sample-ratio mismatch), and the
    difference means nothing.
    """
    from landbridge import load
    from landbridge.cli import show
    from landbridge.cli.outcomes import outcomes_of
    from landbridge.evaluation.ab_testing import compare_runs

    found = compare_runs(log, outcomes_of(events, load(run).history.kinds, outcome))
    # what a terminal has no room for
    show.answer(found.rates if json or out is not None else found.rates.drop("p"), json=json, out=out)
    if found.left_out:
        typer.echo(f"{found.left_out} users have lists of both runs and were left out.", err=True)
    for split in found.splits.iter_rows(named=True):
        typer.echo(
            "Test {test}: run b has {users_b} of {users_a} + {users_b} users, stated is a share of {share:g} "
            "(p = {p:.2g}).".format(**split),
            err=True,
        )
    if found.splits.is_empty():
        typer.echo("The log states no share; whether users were divided by it was not checked.", err=True)
    if found.splits["mismatch"].any():
        typer.echo(
            "The users were not divided as stated (sample-ratio mismatch): find out why before you trust "
            "any difference.",
            err=True,
        )
        raise typer.Exit(MISMATCH_STATUS)
