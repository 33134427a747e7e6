"""landbridge evaluate"""

from __future__ import annotations

from typing import Annotated

import typer

from landbridge.cli import options


def command(
    run: options.Run,
    metric: Annotated[
        list[str] | None, typer.Option(help="For example ndcg@10, auc or coverage; repeatable.")
    ] = None,
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
    from landbridge.evaluation.diversity import OF_LISTS
    from landbridge.evaluation.metrics import Metric
    from landbridge.evaluation.segments import segment_name

    by = segment_name(by)
    metrics = tuple(metric or ("ndcg@10", "hr@10"))
    of_lists = [name for name in metrics if name in OF_LISTS]
    of_pairs = [name for name in metrics if name not in OF_LISTS]
    for name in of_pairs:
        Metric.parse(name)  # a wrong name is an error before anything is computed
    if of_lists:  # values of whole lists have no segments and no intervals: a table of their own
        lists = pipeline.diversity_of_saved(run).select("domain", "lists", *of_lists, "protocol")
        show.answer(lists, json=json, out=None if of_pairs else out)
    if of_pairs:
        evaluation = pipeline.evaluate_saved(run, Terminal())
        show.answer(evaluation.summary(of_pairs, by), json=json, out=out)
