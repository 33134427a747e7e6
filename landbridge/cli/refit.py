"""landbridge refit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    events: Annotated[
        str, typer.Option(envvar="LANDBRIDGE_EVENTS", help="The event store: a file, or a database URL.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder to write; by default RUN, or a new version in it.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of ials and cdimf, which start from the previous model.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Refuse a model that is worse on the latest events.")
    ] = True,
    keep: Annotated[
        int, typer.Option(min=2, help="Versions of a versions folder that are left; older ones are removed.")
    ] = 5,
    item_features: options.ItemFeatures = None,
    threads: Annotated[int | None, typer.Option(help="Threads; all by default.")] = None,
    json: options.Json = False,
) -> None:
    """Fit a run again with the events of its store; a server on the folder loads the new model.

    landbridge refit runs/best --events events.sqlite --epochs 3

    In a versions folder the new model is the new current version. Status 1: the gate refused it.
    """
    from contextlib import closing
    from dataclasses import asdict, replace

    import polars as pl

    from landbridge import store
    from landbridge.cli import show
    from landbridge.core.progress import Terminal
    from landbridge.serving.events.refit import refit
    from landbridge.serving.events.store import EventStore
    from landbridge.training.options import FitOptions

    show.warn_of_missing_test_events(run)
    fitting = FitOptions(progress=Terminal())
    fitting = fitting if threads is None else replace(fitting, threads=threads)
    with closing(EventStore.existing(events)) as opened:
        result = refit(run, opened, out, epochs, fitting, gated=gate, item_features=item_features)
    compared = [] if result.gate is None else [asdict(each) for each in result.gate.domains]
    if json:
        show.record({"growth": asdict(result.growth), "gate": compared, "refused": result.is_refused})
    else:
        show.table(pl.DataFrame([asdict(result.growth)]))
        if compared:
            show.table(pl.DataFrame(compared))
    if result.gate is not None:
        typer.echo(result.gate.sentence, err=True)
    if result.is_refused:
        raise typer.Exit(1)
    store.prune(out or run, keep)
    typer.echo(f"Saved in {store.run_folder(out or run)}", err=True)
