"""landbridge ablate balance | weights | objectives"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import ablate_data, ablate_objectives, ablate_weights

app = typer.Typer(help="Experiments that take a method apart.", no_args_is_help=True)
app.command("weights")(ablate_weights.command)
app.command("objectives")(ablate_objectives.command)
Text = str | None


@app.command()
def balance(
    sources: Annotated[list[str], typer.Argument(help="Event files, one per domain.")],
    out: ablate_data.Out,
    model: Annotated[str, typer.Option(help="The method.")] = "adc",
    balance: Annotated[Text, typer.Option(help="Ways of weighing, comma-separated; all by default.")] = None,
    sharing: Annotated[Text, typer.Option(help="Of user,tower,cross; all by default.")] = None,
    complexity: Annotated[Text, typer.Option(help="Of rate,data,loss,step; all by default.")] = None,
    grid: Annotated[int, typer.Option(help="Random weightings tried per sharing.")] = 10,
    seeds: ablate_data.Seeds = 3,
    users: ablate_data.Users = None,
    dataset: ablate_data.Dataset = False,
    domains: ablate_data.Domains = None,
    split: Annotated[str, typer.Option(help="auto, last, latest, random, temporal or cold.")] = "auto",
    candidates: Annotated[str, typer.Option(help="Sampled negatives, comma-separated; 0: all items.")] = "0",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method in all cells, key=value.")
    ] = None,
    jobs: ablate_data.Jobs = 1,
) -> None:
    """Does balancing the domains' losses pay on these data? Killed, it goes on where it was.

    landbridge ablate balance books.csv movies.csv --users shared --out runs/ablation --jobs 2

    landbridge ablate balance ciao --dataset --sharing tower --balance none,gradnorm --out runs/ablation
    """
    from landbridge.config import parse_setting
    from landbridge.core.progress import Terminal
    from landbridge.studies.ablation.balance import Ablation, ablate

    data = ablate_data.table(sources, users, dataset, domains, candidates) | {"split": {"kind": split}}
    subsets = {"balance": balance, "sharing": sharing, "complexity": complexity}
    plan = Ablation(
        data,
        model,
        dict(parse_setting(text) for text in settings or ()),
        grid=grid,
        seeds=seeds,
        **{key: tuple(ablate_data.names(text)) for key, text in subsets.items() if text is not None},
    )
    ablate_data.say(ablate(plan, out, jobs, Terminal()), out)
