"""landbridge data list | info | get | convert | check | transferability | text-vectors"""

from __future__ import annotations

from pathlib import Path
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
    """List the data sets that anyone can get, and how.

    landbridge data list
    """
    import polars as pl

    from landbridge.cli import show
    from landbridge.datasets import catalog, dumps

    listed = [(name, "get", catalog.info(name)) for name in catalog.obtainable()]
    listed += [(name, "convert", dumps.info(name)) for name in dumps.names()]
    rows = [
        {"name": name, "by": verb, "title": about.title, "events": about.size} for name, verb, about in listed
    ]
    show.answer(pl.DataFrame(rows), json=json)


@app.command()
def info(name: Name, json: options.Json = False) -> None:
    """Print a data set's title, licence, source and size.

    landbridge data info ciao
    """
    from dataclasses import asdict

    from landbridge.cli import show
    from landbridge.datasets import catalog, dumps

    about = (dumps if name in dumps.names() else catalog).info(name)
    if json:
        show.record({"name": name, **asdict(about)})
    else:
        typer.echo(str(about))


@app.command()
def convert(
    name: Annotated[str, typer.Argument(help="A data set of `landbridge data list` with the verb convert.")],
    path: Annotated[Path, typer.Argument(help="The publisher's files: a folder, an archive or a file.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    json: options.Json = False,
) -> None:
    """Make one table of events of a data set's published files.

    landbridge data convert amazon2023 downloads amazon.parquet
    """
    from landbridge.cli import show
    from landbridge.datasets import dumps

    events = dumps.convert(name, path, out)
    if json:
        show.record({"name": name, "events": events, "file": out})
    else:
        typer.echo(f"{events:,} events are in {out}.")


@app.command()
def get(name: Name, json: options.Json = False) -> None:
    """Download a data set, verify its checksum and print its folder.

    landbridge data get movielens-100k
    """
    from landbridge.cli import show
    from landbridge.datasets import catalog

    folder = catalog.get(name)
    if json:
        show.record({"name": name, "folder": folder})
    else:
        typer.echo(str(folder))
