"""landbridge compare"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options


def command(
    first: Annotated[Path, typer.Argument(help="The run that is expected to be better.")],
    second: Annotated[Path, typer.Argument(help="The run to compare it with.")],
    metric: options.Metric = "ndcg@10",
    by: options.Segment = "domain",
    margin: Annotated[
        float | None,
        typer.Option(help="Also test whether FIRST keeps more than 1 - MARGIN of SECOND, .01 for 99 %."),
    ] = None,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Compare two runs user by user on the same test data, per domain and segment.

    landbridge compare runs/cdimf runs/alone --metric ndcg@10
    """
    from landbridge import compare, pipeline
    from landbridge.cli import show
    from landbridge.core.progress import Terminal
    from landbridge.evaluation.metrics import Metric
    from landbridge.evaluation.segments import segment_name

    Metric.parse(metric)  # a wrong name is an error before anything is computed
    by = segment_name(by)
    one, other = (pipeline.evaluate_saved(run, Terminal()) for run in (first, second))
    if one.name == other.name:  # two fits of a method: their folders say which is which
        one, other = replace(one, name=str(first)), replace(other, name=str(second))
    verdict = compare(one, other, metric, by, margin=margin)
    if json or out is not None:
        show.answer(verdict.table(), json=json, out=out)
    else:
        typer.echo(str(verdict))
