"""What the verbs of landbridge ablate share: the data they are told of, and how they answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from landbridge.studies.ablation.plan import Ablated

Text = str | None
Timed = Annotated[list[str], typer.Argument(help="Event files with time stamps, one per domain.")]
Out = Annotated[Path, typer.Option(help="The folder to write, or to go on in.")]
Seeds = Annotated[int, typer.Option(help="How many seeds.")]
Users = Annotated[Text, typer.Option(help="Who is the same person: shared or local ids.")]
Dataset = Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")]
Domains = Annotated[Text, typer.Option(help="These domains alone, comma-separated.")]
Beside = Annotated[
    str, typer.Option(help="Beside one list over all domains: negatives, comma-separated; 0: all items.")
]
OfDWL = Annotated[list[str] | None, typer.Option("--set", help="A setting of DWL in all cells, key=value.")]
Jobs = Annotated[int, typer.Option(help="Processes, which share the threads.")]


def names(text: str) -> list[str]:
    """What stands between the commas."""
    return [name.strip() for name in text.split(",")]


def table(
    sources: list[str], users: str | None, dataset: bool, domains: str | None, candidates: str
) -> dict[str, Any]:
    """A table of [[data]]."""
    source = sources[0] if len(sources) == 1 else sources
    return {
        "name": Path(sources[0]).name if dataset else "data",
        "dataset" if dataset else "source": source,
        "users": users,
        "domains": None if domains is None else names(domains),
        "candidates": names(candidates),
    }


def say(found: Ablated, out: Path) -> None:
    """Tables, verdict, and where the benchmark is."""
    from landbridge.cli import show

    for title, frame in found.tables.items():
        typer.echo(f"{title} (* significant after Holm's correction)")
        show.table(frame)
    typer.echo(found.verdict)
    typer.echo(f"The benchmark behind it is in {out / 'bench'}", err=True)
