"""landbridge models"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    name: Annotated[str | None, typer.Argument(help="A method; all of them without a name.")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the settings of all methods as docs/settings.md.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the methods, those of installed plug-ins with their package, or the settings of one: default,
    allowed values, meaning, symbol.

    landbridge models cdimf
    """
    import polars as pl

    from landbridge.cli import show
    from landbridge.models import overview, registry

    if markdown:
        typer.echo(overview.markdown(), nl=False)
    else:
        for sentence in registry.methods()[1] if name is None else ():
            typer.echo(sentence, err=True)
        rows = overview.methods() if name is None else overview.settings_of(name)
        show.answer(pl.DataFrame(rows), json=json)
