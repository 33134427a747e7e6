"""landbridge explain"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    domain: Annotated[str, typer.Option(help="The item's domain.")],
    user: Annotated[str, typer.Option(help="A user id.")],
    item: Annotated[str, typer.Option(help="An item id.")],
    top: Annotated[int, typer.Option(help="Rows to show.")] = 10,
    json: Annotated[bool, typer.Option(help="JSON lines instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")] = None,
) -> None:
    """Say what makes up an item's score for a user: her events in all domains, and popularity.

    landbridge explain runs/cdimf --domain books --user alice --item dune
    """
    from landbridge import explain, load
    from landbridge.cli import show

    reasons = explain(load(run), domain, user, item)
    show.answer(reasons.head(top), json=json, out=out)
    typer.echo(f"Score {reasons['contribution'].sum():.4f}, in {len(reasons)} parts", err=True)
