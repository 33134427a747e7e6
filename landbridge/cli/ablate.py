"""landbridge ablate balance"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Experiments that take a method apart.", no_args_is_help=True)
Text = str | None


@app.command()
def balance(
    sources: Annotated[list[str], typer.Argument(help="Event files, one per domain.")],
    out: Annotated[Path, typer.Option(help="The folder to write, or to go on in.")],
    model: Annotated[str, typer.Option(help="The method.")] = "adc",
    balance: Annotated[Text, typer.Option(help="Ways of weighing, comma-separated; all by default.")] = None,
    sharing: Annotated[Text, typer.Option(help="Of user,tower,cross; all by default.")] = None,
    complexity: Annotated[Text, typer.Option(help="Of rate,data,loss,step; all by default.")] = None,
    grid: Annotated[int, typer.Option(help="Random weightings tried per sharing.")] = 10,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
    users: Annotated[Text, typer.Option(help="Who is the same person: shared or local ids.")] = None,
    dataset: Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")] = False,
    domains: Annotated[Text, typer.Option(help="These domains alone, comma-separated.")] = None,
    split: Annotated[str, typer.Option(help="auto, last, latest, random, temporal or cold.")] = "auto",
    candidates: Annotated[str, typer.Option(help="Sampled negatives, comma-separated; 0: all items.")] = "0",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method in all cells, key=value.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes, which share the threads.")] = 1,
) -> None:
    """Does balancing the domains' losses pay on these data? Killed, it goes on where it was.

    landbridge ablate balance books.csv movies.csv --users shared --out runs/ablation --jobs 2

    landbridge ablate balance ciao --dataset --sharing tower --balance none,gradnorm --out runs/ablation
    """
    from landbridge.cli import show
    from landbridge.progress import Terminal
    from landbridge.selection.ablate import Ablation, ablate
    from landbridge.settings import value_of

    source = sources[0] if len(sources) == 1 else sources
    data = {
        "name": Path(sources[0]).name if dataset else "data",
        "dataset" if dataset else "source": source,
        "users": users,
        "domains": None if domains is None else _names(domains),
        "split": {"kind": split},
        "candidates": _names(candidates),
    }
    subsets = {"balance": balance, "sharing": sharing, "complexity": complexity}
    plan = Ablation(
        data,
        model,
        dict(value_of(text) for text in settings or ()),
        grid=grid,
        seeds=seeds,
        **{key: tuple(_names(text)) for key, text in subsets.items() if text is not None},
    )
    found = ablate(plan, out, jobs, Terminal())
    for title, table in found.tables.items():
        typer.echo(f"{title} (* significant after Holm's correction)")
        show.table(table)
    typer.echo(found.verdict)
    typer.echo(f"The benchmark behind it is in {out / 'bench'}", err=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
