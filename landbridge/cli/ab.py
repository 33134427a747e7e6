"""landbridge ab"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


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
    """
    from landbridge import load
    from landbridge.cli import show
    from landbridge.cli.outcomes import outcomes_of
    from landbridge.evaluation.ab_testing import compare_runs

    frame, left_out = compare_runs(log, outcomes_of(events, load(run).history.kinds, outcome))
    # what a terminal has no room for
    show.answer(frame if json or out is not None else frame.drop("p"), json=json, out=out)
    if left_out:
        typer.echo(f"{left_out} users have lists of both runs and were left out.", err=True)
