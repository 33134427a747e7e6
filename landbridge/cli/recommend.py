"""landbridge recommend"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    domain: Annotated[str, typer.Option(help="The catalogue to recommend from.")],
    user: Annotated[list[str] | None, typer.Option(help="A user id; may be repeated.")] = None,
    users: Annotated[Path | None, typer.Option(help="A file with one user id per line.")] = None,
    everybody: Annotated[
        Path | None, typer.Option("--all", help="Everybody, as Parquet in this folder.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Places of a list.")] = 10,
    seen: Annotated[bool, typer.Option(help="List items the user already has, too.")] = False,
    json: Annotated[bool, typer.Option(help="JSON lines instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")] = None,
) -> None:
    """Recommend items of one domain to one user, many or all.

    landbridge recommend runs/cdimf --domain books --user alice -k 10
    """
    from landbridge import load, recommend, recommend_all
    from landbridge.cli import show
    from landbridge.core.errors import DataError
    from landbridge.core.progress import Terminal

    wanted = [*(user or ()), *(_lines(users) if users else ())]
    if bool(wanted) == (everybody is not None):
        raise DataError("Say for whom: --user, --users or --all FOLDER (which goes alone).")
    fitted = load(run)
    if everybody is not None:
        recommend_all(fitted, domain, everybody, k, progress=Terminal())
    else:
        show.answer(recommend(fitted, domain, wanted, k, seen), json=json, out=out)


def _lines(path: Path) -> list[str]:
    from landbridge.core.errors import DataError

    if not path.is_file():
        raise DataError(f"There is no file {path} with user ids; check the path.")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]
