"""landbridge evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    metric: Annotated[list[str] | None, typer.Option(help="For example ndcg@10; may be repeated.")] = None,
    by: Annotated[str, typer.Option(help="domain, activity, elsewhere, popularity, twin, share.")] = "domain",
    json: Annotated[bool, typer.Option(help="JSON lines instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")] = None,
) -> None:
    """Judge a run on the test part that was held out when it was fitted.

    landbridge evaluate runs/cdimf --metric ndcg@10 --metric hr@10
    """
    from landbridge import pipeline
    from landbridge.cli import show
    from landbridge.core.progress import Terminal

    evaluation = pipeline.evaluate_saved(run, Terminal())
    show.answer(evaluation.summary(tuple(metric or ("ndcg@10", "hr@10")), by), json=json, out=out)
