"""landbridge report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    runs: Annotated[Path, typer.Argument(help="A folder of `landbridge benchmark`.")],
    out: Annotated[Path, typer.Option(help="The report: .html, .md, .tex or .csv.")] = Path("report.html"),
    pictures: Annotated[Path | None, typer.Option(help="Also write the charts to this folder.")] = None,
    json: options.Json = False,
) -> None:
    """Write the report of a benchmark: gains, losses, significance and cost, in one file.

    landbridge report runs/bench --out report.html
    """
    from landbridge.cli import show
    from landbridge.reports.write import report

    report(runs, out, pictures_in=pictures)
    if json:
        show.record({"report": out, "pictures": pictures})
    typer.echo(f"Written to {out}", err=True)
