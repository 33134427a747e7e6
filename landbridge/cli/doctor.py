"""landbridge doctor"""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    sources: Annotated[list[str], typer.Argument(help="Event files, one per domain.")],
    users: Annotated[str | None, typer.Option(help="Who is the same person: shared or local ids.")] = None,
) -> None:
    """Say what is odd in your data before anything is trained.

    landbridge doctor books.csv movies.parquet --users shared
    """
    from landbridge import diagnose, read
    from landbridge.cli import show

    findings = diagnose(read(sources if len(sources) > 1 else sources[0], users=users))
    show.table(findings.table().select("severity", "kind", "domains", "message"))
