"""landbridge tune"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.cli import options
from landbridge.core.deprecation import renamed
from landbridge.core.types import Record

Text = str | None
Number = int | None
Many = list[str] | None


def command(
    sources: Annotated[
        list[str], typer.Argument(help="Event files, one per domain, or one experiment .toml.")
    ],
    out: Annotated[Path, typer.Option(help="The experiment file to write, for `landbridge fit`.")],
    model: Annotated[Many, typer.Option(help="A method, as in `landbridge fit --model`; repeatable.")] = None,
    trials: Annotated[Number, typer.Option(help="Trials per method; 20 by default.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds of trials per method.")] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Store the search in this folder, to resume it.")
    ] = None,
    storage: Annotated[Path | None, typer.Option(hidden=True)] = None,
    metric: Annotated[Text, typer.Option(help="The validation metric; ndcg@10 by default.")] = None,
    users: options.Users = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    user_features: options.UserFeatures = None,
    settings: Annotated[Many, typer.Option("--set", help="A setting to keep fixed, key=value.")] = None,
    dataset: options.Dataset = False,
    split: options.Split = None,
    future: options.Future = None,
    candidates: options.Candidates = None,
    across: options.Across = False,
    min_rating: options.MinRating = None,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    ties: options.Ties = None,
    kind: options.Kinds = None,
    half_life: options.HalfLife = None,
    seen: options.SeenTables = None,
    targets: options.TargetKind = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    jobs: Annotated[int, typer.Option(help="Methods at a time; they share the threads.")] = 1,
    executor: options.ExecutorName = None,
    address: options.Address = None,
    json: options.Json = False,
) -> None:
    """Search for the best settings on validation data and write them as an experiment file.

    landbridge tune books.csv movies.csv --users shared --model cdimf --trials 20 --out best.toml

    Several methods get equal budgets; the best one is written. An experiment file may define the search
    space in its table "space": reg = {low = 0.01, high = 1.0, log = true} or
    popularity_weight = {options = [0, 1, 3]}.
    """
    from landbridge.cli import show
    from landbridge.config import merge_tables, parse_setting, validated_spec
    from landbridge.core.errors import SettingsError
    from landbridge.core.executors import executor_of
    from landbridge.core.progress import Terminal
    from landbridge.selection.compare_methods import compare_methods

    if trials == 0:
        raise SettingsError("A search needs 1 trial or more, not 0.")
    if storage is not None:
        typer.echo(renamed("`--storage`", "`--work-dir`"), err=True)
    fixed = dict(parse_setting(text) for text in settings or ())
    given: Record = {
        "data": {"users": users, "min_rating": min_rating}
        | options.reading(column, fold_ids, skip_bad_rows, out, ties)
        | options.of_items(items, item_links, min_confidence, item_features)
        | {"user_features": user_features}
        | options.known(kind, half_life, seen),
        "split": options.split(split, future, seed, candidates, across, targets),
        "model": {
            "name": model[0] if model else None,
            "settings": fixed,
            "trials": trials,
            "seconds": seconds,
        },
        "fit": {"seed": seed, "threads": threads, "validate_on": metric},
    }
    tables, data = options.experiment(sources, dataset)
    given["data"] |= data
    space = tables.pop("space", {})
    result = compare_methods(
        validated_spec(merge_tables(tables, given)),
        model or (),
        space,
        work_dir or storage,
        Terminal(),
        None if (jobs, executor, address) == (1, None, None) else executor_of(jobs, executor, address),
    )
    show.answer(result.table(), json=json)
    result.write(out)
    typer.echo(f"Saved in {out}", err=True)
