"""landbridge report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[Path, typer.Argument(help="The folder that `landbridge benchmark` wrote.")],
    out: Annotated[Path, typer.Option(help="The report: .html, .md, .tex or .csv.")] = Path("report.html"),
    pictures: Annotated[Path | None, typer.Option(help="A folder for the pictures, SVG and PNG.")] = None,
) -> None:
    """Tell what a benchmark found, in one file: who gains, who loses, how sure it is, at what cost.

    landbridge report runs/bench --out report.html
    """
    from landbridge.reports.write import report

    report(runs, out, pictures_in=pictures)
    typer.echo(f"Written to {out}", err=True)
