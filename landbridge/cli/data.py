"""landbridge data list | get | info | doctor | transferability"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import doctor, transferability
from landbridge.cli.deprecated import deprecated

app = typer.Typer(help="Public data sets and a look at your own.", no_args_is_help=True)
app.command("doctor")(doctor.command)
app.command("transferability")(transferability.command)
app.command("compat", hidden=True)(deprecated(transferability.command, "data compat", "data transferability"))

Name = Annotated[str, typer.Argument(help="A data set of `landbridge data list`.")]


@app.command("list")
def list_names() -> None:
    """The data sets landbridge knows.

    landbridge data list
    """
    from landbridge.datasets import catalog

    for name in catalog.names():
        typer.echo(name)


@app.command()
def info(name: Name) -> None:
    """What a data set is, where it comes from and under which licence.

    landbridge data info ciao
    """
    from landbridge.datasets import catalog

    typer.echo(str(catalog.info(name)))


@app.command()
def get(name: Name) -> None:
    """Fetch a data set, compare its checksum and say where it lies.

    landbridge data get ciao
    """
    from landbridge.datasets import catalog

    typer.echo(str(catalog.get(name)))
