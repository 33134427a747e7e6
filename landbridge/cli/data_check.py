"""landbridge data check"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    sources: Annotated[list[str], typer.Argument(help="Event files, one per domain, or one table of all.")],
    users: options.Users = None,
    column: options.Columns = None,
) -> None:
    """Check event files for problems before anything is trained.

    landbridge data check books.csv movies.parquet --users shared
    """
    from landbridge import diagnose, read
    from landbridge.cli import show

    source = sources if len(sources) > 1 else sources[0]
    findings = diagnose(read(source, users=users, columns=options.columns(column)))
    show.table(findings.table().select("severity", "kind", "domains", "message"))
