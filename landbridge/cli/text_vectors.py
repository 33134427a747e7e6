"""landbridge data text-vectors"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options

HOLD_LISTS = (".parquet", ".jsonl")


def command(
    table: Annotated[Path, typer.Argument(help="A table of items, as for --item-features.")],
    out: Annotated[Path, typer.Option(help="The table with vectors, a .parquet or .jsonl file.")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column with text, several times for several; title, text, description."),
    ] = None,
    size: Annotated[int, typer.Option(help="Numbers of a vector: 64, 128 or 256.")] = 64,
    json: options.Json = False,
) -> None:
    """Add a vector of its text to each row of a table of items.

    landbridge data text-vectors items.csv --out items.parquet

    landbridge fit books.csv films.csv --item-features items.parquet --out run
    """
    from landbridge.cli import show
    from landbridge.core.errors import SettingsError, unknown
    from landbridge.data.io.text_vectors import COLUMN, with_text_vectors

    if out.suffix not in HOLD_LISTS:
        raise SettingsError(unknown("kind of file with vectors", out.suffix, HOLD_LISTS))
    found = with_text_vectors(table, column or (), size)
    show.answer(found, out=out)
    rows, without = found.height, found[COLUMN].null_count()
    if json:
        show.record({"rows": rows, "without_text": without, "file": out})
    else:
        typer.echo(f"Vectors of {rows - without:,} texts are in {out}; {without:,} rows have none.")
