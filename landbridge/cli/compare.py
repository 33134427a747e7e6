"""landbridge compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    first: Annotated[Path, typer.Argument(help="The run that should be better.")],
    second: Annotated[Path, typer.Argument(help="The run it is compared with.")],
    metric: Annotated[str, typer.Option(help="For example ndcg@10.")] = "ndcg@10",
    by: Annotated[str, typer.Option(help="domain, activity, elsewhere, popularity, twin, share.")] = "domain",
) -> None:
    """Compare two runs user by user on the same test part, per domain and segment.

    landbridge compare runs/cdimf runs/alone --metric ndcg@10
    """
    from landbridge import compare
    from landbridge import pipeline as experiment
    from landbridge.core.progress import Terminal

    verdict = compare(
        experiment.evaluate_saved(first, Terminal()),
        experiment.evaluate_saved(second, Terminal()),
        metric,
        by,
    )
    typer.echo(str(verdict))
