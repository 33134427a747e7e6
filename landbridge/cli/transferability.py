"""landbridge data transferability"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options
from landbridge.core.types import Record


def command(
    sources: Annotated[list[str], typer.Argument(help="Event files, one per domain, or one table of all.")],
    users: options.Users = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    dataset: options.Dataset = False,
    min_rating: options.MinRating = None,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    kind: options.Kinds = None,
    half_life: options.HalfLife = None,
    seen: options.SeenTables = None,
    measure: Annotated[bool, typer.Option(help="Also fit every pair and write transfer.csv.")] = False,
    method: Annotated[str, typer.Option(help="The method that --measure fits: cdimf or ials.")] = "cdimf",
    settings: options.Settings = None,
    metric: options.Metric = "ndcg@10",
    seed: Annotated[int, typer.Option(help="The random seed.")] = 0,
    threads: options.Threads = None,
    json: options.Json = False,
    out: options.TableFile = None,
) -> None:
    """Predict which domains help each other, before a joint model is trained.

    landbridge data transferability ciao --dataset --measure --method ials --out ciao/transferability.csv

    --measure also holds out the last event of every user, fits every pair of domains and writes the gain of
    each target from each source to transfer.csv, beside --out or in the current folder. Re-run to resume.
    """
    from landbridge import FitOptions
    from landbridge.cli import show
    from landbridge.config import merge_tables, parse_setting, validated_spec
    from landbridge.core.progress import Terminal
    from landbridge.data.splitting.holdout import Split
    from landbridge.datasets.prepare import prepare_data
    from landbridge.models import registry
    from landbridge.studies.transfer.compatibility import transferability
    from landbridge.studies.transfer.matrix import prediction_quality, transfer_matrix

    given: Record = {
        "data": options.source(sources, dataset)
        | {"users": users, "min_rating": min_rating}
        | options.reading(column, fold_ids, skip_bad_rows, out)
        | options.of_items(items, item_links, min_confidence, item_features)
        | options.known(kind, half_life, seen),
        "split": {"kind": "auto" if measure else "none", "seed": seed},
    }
    tried = registry.method(method).from_settings(dict(parse_setting(text) for text in settings or ()))
    split = prepare_data(validated_spec(merge_tables({}, given)))
    fit_options = FitOptions(seed, FitOptions().threads if threads is None else threads, progress=Terminal())
    prediction = transferability(split.train if isinstance(split, Split) else split, fit_options)
    show.answer(prediction.best_first(), json=json, out=out)
    if measure and isinstance(split, Split):
        folder = Path() if out is None else out.parent
        transfer = transfer_matrix(tried, split, fit_options, metric, work_dir=folder / "transfer.cells")
        name = "+".join(Path(source).stem for source in sources)
        show.answer(transfer.table(name, prediction), out=folder / "transfer.csv")
        show.answer(transfer.rows, json=json)
        typer.echo(str(prediction_quality(prediction, transfer)), err=json)
