"""landbridge ablate weights"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import ablate_data

Text = str | None
VARY = "Of metric,map,bounds,period,signal,grid; all but signal by default."


def command(
    sources: ablate_data.Timed,
    out: ablate_data.Out,
    vary: Annotated[Text, typer.Option(help=VARY)] = None,
    window_days: Annotated[float, typer.Option(help="Days that the signal `window` looks back.")] = 30.0,
    seeds: ablate_data.Seeds = 2,
    users: ablate_data.Users = None,
    dataset: ablate_data.Dataset = False,
    domains: ablate_data.Domains = None,
    candidates: ablate_data.Beside = "0",
    settings: ablate_data.OfDWL = None,
    jobs: ablate_data.Jobs = 1,
) -> None:
    """Does weighing by sparsity pay on these data, and which part of it? Killed, it goes on where it was.

    landbridge ablate weights movielens-1m --dataset --vary metric,map --set epochs=20 --out runs/weights

    One part of DWL at a time is another than in the base, which is what --set says.
    """
    from landbridge.config import parse_setting
    from landbridge.core.progress import Terminal
    from landbridge.studies.ablation.weights import WeightAblation, ablate_weights

    given = {} if vary is None else {"vary": tuple(ablate_data.names(vary))}
    plan = WeightAblation(
        ablate_data.table(sources, users, dataset, domains, candidates),
        dict(parse_setting(text) for text in settings or ()),
        window_days=window_days,
        seeds=seeds,
        **given,
    )
    ablate_data.say(ablate_weights(plan, out, jobs, Terminal()), out)
