"""landbridge ablate objectives"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import ablate_data

Text = str | None


def command(
    sources: ablate_data.Timed,
    out: ablate_data.Out,
    of: Annotated[Text, typer.Option(help="Of sparsity,worst_group,exposure; all by default.")] = None,
    steps: Annotated[int, typer.Option(help="Every λ is a multiple of 1 / steps.")] = 4,
    seeds: ablate_data.Seeds = 2,
    users: ablate_data.Users = None,
    dataset: ablate_data.Dataset = False,
    domains: ablate_data.Domains = None,
    candidates: ablate_data.Beside = "0",
    settings: ablate_data.OfDWL = None,
    jobs: ablate_data.Jobs = 1,
) -> None:
    """What do sparse domains, the worst domain and everybody's exposure cost each other? Killed, it goes on.

    landbridge ablate objectives movielens-1m --dataset --steps 4 --set epochs=20 --out runs/objectives

    DWL at every point of a grid of the objectives' λ; pareto.csv and pareto.svg tell which are not beaten.
    """
    from landbridge.config import parse_setting
    from landbridge.core.progress import Terminal
    from landbridge.studies.ablation.objectives import ObjectiveAblation, ablate_objectives

    given = {} if of is None else {"of": tuple(ablate_data.names(of))}
    plan = ObjectiveAblation(
        ablate_data.table(sources, users, dataset, domains, candidates),
        dict(parse_setting(text) for text in settings or ()),
        steps=steps,
        seeds=seeds,
        **given,
    )
    ablate_data.say(ablate_objectives(plan, out, jobs, Terminal()), out)
