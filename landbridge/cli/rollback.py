"""landbridge rollback"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    folder: options.Versions,
    version: Annotated[
        str | None, typer.Argument(help="The version to serve; by default the one that was before.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Make another version of a versions folder current; a server on the folder loads it.

    landbridge rollback runs/shop
    """
    from landbridge import store
    from landbridge.cli import show

    current = store.rollback(folder, version)
    if json:
        show.record({"version": current, "folder": folder})
    typer.echo(f"{current} is the current version of {folder}", err=True)
