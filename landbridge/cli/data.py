"""landbridge data list | info | get | check | transferability | text-vectors"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import data_check, options, text_vectors, transferability
from landbridge.cli.deprecated import deprecated

app = typer.Typer(help="Public data sets, and checks of your own data.", no_args_is_help=True)
app.command("check")(data_check.command)
app.command("transferability")(transferability.command)
app.command("text-vectors")(text_vectors.command)
app.command("compat", hidden=True)(deprecated(transferability.command, "data compat", "data transferability"))
app.command("doctor", hidden=True)(deprecated(data_check.command, "data doctor", "data check"))

Name = Annotated[str, typer.Argument(help="A data set of `landbridge data list`.")]


@app.command("list")
def list_names(json: options.Json = False) -> None:
    """List the data sets of the catalogue.

    landbridge data list
    """
    import polars as pl

    from landbridge.cli import show
    from landbridge.datasets import catalog

    names = catalog.names()
    if json:
        show.answer(pl.DataFrame({"name": names}), json=True)
    else:
        typer.echo("\n".join(names))


@app.command()
def info(name: Name, json: options.Json = False) -> None:
    """Print a data set's title, licence, source and size.

    landbridge data info ciao
    """
    from dataclasses import asdict

    from landbridge.cli import show
    from landbridge.datasets import catalog

    about = catalog.info(name)
    if json:
        show.record({"name": name, **asdict(about)})
    else:
        typer.echo(str(about))


@app.command()
def get(name: Name, json: options.Json = False) -> None:
    """Download a data set, verify its checksum and print its folder.

    landbridge data get ciao
    """
    from landbridge.cli import show
    from landbridge.datasets import catalog

    folder = catalog.get(name)
    if json:
        show.record({"name": name, "folder": folder})
    else:
        typer.echo(str(folder))
