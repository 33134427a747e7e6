"""landbridge ablate objectives"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Text = str | None


def command(
    sources: Annotated[list[str], typer.Argument(help="Event files with time stamps, one per domain.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on in.")],
    of: Annotated[Text, typer.Option(help="Of sparsity,worst_group,exposure; all by default.")] = None,
    steps: Annotated[int, typer.Option(help="Every λ is a multiple of 1 / steps.")] = 4,
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
    """What do sparse domains, the worst domain and everybody's exposure cost each other? Killed, it goes on.

    landbridge ablate objectives movielens-1m --dataset --steps 4 --set epochs=20 --out runs/objectives

    DWL at every point of a grid of the objectives' λ; pareto.csv and pareto.svg tell which are not beaten.
    """
    from landbridge.cli import ablate_data
    from landbridge.progress import Terminal
    from landbridge.selection.ablate_objectives import ObjectiveAblation, ablate_objectives
    from landbridge.settings import value_of

    asked = {} if of is None else {"of": tuple(ablate_data.names(of))}
    plan = ObjectiveAblation(
        ablate_data.table(sources, users, dataset, domains, candidates),
        dict(value_of(text) for text in settings or ()),
        steps=steps,
        seeds=seeds,
        **asked,
    )
    ablate_data.say(ablate_objectives(plan, out, jobs, Terminal()), out)
