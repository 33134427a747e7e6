"""landbridge ablate weights"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Text = str | None
VARY = "Of metric,map,bounds,period,signal,grid; all but signal by default."


def command(
    sources: Annotated[list[str], typer.Argument(help="Event files with time stamps, one per domain.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on in.")],
    vary: Annotated[Text, typer.Option(help=VARY)] = None,
    window_days: Annotated[float, typer.Option(help="Days that the signal `window` looks back.")] = 30.0,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 2,
    users: Annotated[Text, typer.Option(help="Who is the same person: shared or local ids.")] = None,
    dataset: Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")] = False,
    domains: Annotated[Text, typer.Option(help="These domains alone, comma-separated.")] = None,
    candidates: Annotated[
        str, typer.Option(help="Beside one list over all domains: negatives, comma-separated; 0: all items.")
    ] = "0",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of DWL in all cells, key=value.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes, which share the threads.")] = 1,
) -> None:
    """Does weighing by sparsity pay on these data, and which part of it? Killed, it goes on where it was.

    landbridge ablate weights movielens-1m --dataset --vary metric,map --set epochs=20 --out runs/weights

    One part of DWL at a time is another than in the base, which is what --set says.
    """
    from landbridge.cli import ablate_data
    from landbridge.progress import Terminal
    from landbridge.selection.ablate_weights import WeightAblation, ablate_weights
    from landbridge.settings import value_of

    asked = {} if vary is None else {"vary": tuple(ablate_data.names(vary))}
    plan = WeightAblation(
        ablate_data.table(sources, users, dataset, domains, candidates),
        dict(value_of(text) for text in settings or ()),
        window_days=window_days,
        seeds=seeds,
        **asked,
    )
    ablate_data.say(ablate_weights(plan, out, jobs, Terminal()), out)
