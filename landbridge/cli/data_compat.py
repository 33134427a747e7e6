"""landbridge data compat"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    sources: Annotated[list[str], typer.Argument(help="Event files, one per domain, or one table of all.")],
    users: Annotated[str | None, typer.Option(help="Who is the same person: shared or local ids.")] = None,
    dataset: Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")] = False,
    min_rating: Annotated[float | None, typer.Option(help="Leave out lower ratings.")] = None,
    measure: Annotated[bool, typer.Option(help="Also fit every pair and write transfer.csv.")] = False,
    method: Annotated[str, typer.Option(help="What --measure fits: cdimf or ials.")] = "cdimf",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Its setting, key=value.")] = None,
    metric: Annotated[str, typer.Option(help="What --measure compares.")] = "ndcg@10",
    seed: Annotated[int, typer.Option(help="The one seed.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads; all by default.")] = None,
    json: Annotated[bool, typer.Option(help="JSON lines instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")] = None,
) -> None:
    """Say which domains suit each other before anything is trained jointly: who is likely to help whom.

    landbridge data compat ciao --dataset --measure --method ials --set sharing=joined --out ciao/compat.csv

    With --measure the events are split, the last of each user is predicted from the rest, and transfer.csv
    (beside --out, else here) holds the gain of each target from each source; a killed measurement goes on.
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

    source = {"dataset": sources[0]} if dataset else {"source": sources if len(sources) > 1 else sources[0]}
    given: dict[str, Any] = {
        "data": source | {"users": users, "min_rating": min_rating},
        "split": {"kind": "auto" if measure else "none", "seed": seed},
    }
    tried = registry.method(method).from_settings(dict(parse_setting(text) for text in settings or ()))
    split = prepare_data(validated_spec(merge_tables({}, given)))
    options = FitOptions(seed, FitOptions().threads if threads is None else threads, progress=Terminal())
    prediction = transferability(split.train if isinstance(split, Split) else split, options)
    show.answer(prediction.best_first(), json=json, out=out)
    if measure and isinstance(split, Split):
        folder = Path() if out is None else out.parent
        transfer = transfer_matrix(tried, split, options, metric, work_dir=folder / "transfer.cells")
        name = "+".join(Path(source).stem for source in sources)
        show.answer(transfer.table(name, prediction), out=folder / "transfer.csv")
        show.table(transfer.rows)
        typer.echo(str(prediction_quality(prediction, transfer)))
