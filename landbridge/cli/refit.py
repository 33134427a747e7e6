"""landbridge refit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    events: Annotated[
        str, typer.Option(envvar="LANDBRIDGE_EVENTS", help="The event store: a file, or a database URL.")
    ],
    out: Annotated[Path | None, typer.Option(help="The run folder to write; RUN itself by default.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of ials and cdimf, which start from the previous model.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; all by default.")] = None,
) -> None:
    """Fit a run again with the events of its store; a server on the folder loads the new model.

    landbridge refit runs/best --events events.sqlite --epochs 3
    """
    from contextlib import closing
    from dataclasses import asdict, replace

    import polars as pl

    from landbridge.cli import show
    from landbridge.core.progress import Terminal
    from landbridge.serving.events.refit import refit
    from landbridge.serving.events.store import EventStore
    from landbridge.training.options import FitOptions

    show.warn_of_missing_test_events(run)
    options = FitOptions(progress=Terminal())
    options = options if threads is None else replace(options, threads=threads)
    with closing(EventStore.existing(events)) as store:
        growth = refit(run, store, out, epochs, options)
    show.table(pl.DataFrame([asdict(growth)]))
    typer.echo(f"Saved in {out or run}", err=True)
