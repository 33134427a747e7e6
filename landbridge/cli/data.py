"""landbridge data list | info | get | check | transferability"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import data_check, transferability
from landbridge.cli.deprecated import deprecated

app = typer.Typer(help="Public data sets, and checks of your own data.", no_args_is_help=True)
app.command("check")(data_check.command)
app.command("transferability")(transferability.command)
app.command("compat", hidden=True)(deprecated(transferability.command, "data compat", "data transferability"))
app.command("doctor", hidden=True)(deprecated(data_check.command, "data doctor", "data check"))

Name = Annotated[str, typer.Argument(help="A data set of `landbridge data list`.")]


@app.command("list")
def list_names() -> None:
    """List the data sets of the catalogue.

    landbridge data list
    """
    from landbridge.datasets import catalog

    for name in catalog.names():
        typer.echo(name)


@app.command()
def info(name: Name) -> None:
    """Print a data set's title, licence, source and size.

    landbridge data info ciao
    """
    from landbridge.datasets import catalog

    typer.echo(str(catalog.info(name)))


@app.command()
def get(name: Name) -> None:
    """Download a data set, verify its checksum and print its folder.

    landbridge data get ciao
    """
    from landbridge.datasets import catalog

    typer.echo(str(catalog.get(name)))
