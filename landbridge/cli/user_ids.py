"""The users that a verb makes lists for, and those that the model does not know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from landbridge.core.errors import DataError
from landbridge.core.types import Id

SHOWN = 5  # unknown users that are named


def user_ids(user: list[str] | None, users: Path | None) -> list[Id]:
    """The ids of --user and of the file of --users."""
    return [*(user or ()), *(_lines(users) if users else ())]


def report_unknown(unknown: Sequence[Id], total: int, file: Path | None, out: Path | None) -> None:
    """End with status 1 where users have no list: their number and the first of them go to standard error,
    all to a ``file``, by default beside ``out``."""
    from landbridge.core.files import atomic_write

    if not unknown:
        return
    file = file or (out and out.with_name(f"{out.name}.unknown.txt"))
    if file is not None:
        with atomic_write(file) as temporary:
            temporary.write_text("".join(f"{user}\n" for user in unknown), encoding="utf-8")
    first = ", ".join(repr(user) for user in unknown[:SHOWN])
    more = ", and others" if len(unknown) > SHOWN else ""
    kept = f"; all are in {file}" if file else ""
    typer.echo(
        f"The model does not know {len(unknown):,} of {total:,} users, who have no list: "
        f"{first}{more}{kept}.",
        err=True,
    )
    raise typer.Exit(1)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"There is no file {path} with user ids; check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # programs of Windows begin a file with a mark
    except UnicodeDecodeError:
        raise DataError(f"File {path} is not UTF-8; save it as UTF-8.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
