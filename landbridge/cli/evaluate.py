"""landbridge evaluate"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    metric: Annotated[list[str] | None, typer.Option(help="For example ndcg@10; repeatable.")] = None,
    by: options.Segment = "domain",
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Evaluate a run on the test data that was held out when it was fitted.

    landbridge evaluate runs/cdimf --metric ndcg@10 --metric hr@10
    """
    from landbridge import pipeline
    from landbridge.cli import show
    from landbridge.core.progress import Terminal
    from landbridge.evaluation.metrics import Metric

    metrics = tuple(metric or ("ndcg@10", "hr@10"))
    for name in metrics:
        Metric.parse(name)  # a wrong name is an error before anything is computed
    evaluation = pipeline.evaluate_saved(run, Terminal())
    show.answer(evaluation.summary(metrics, by), json=json, out=out)
