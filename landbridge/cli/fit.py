"""landbridge fit"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options

if TYPE_CHECKING:
    import polars as pl

    from landbridge.config import ModelSettings
from landbridge.core.types import Record

# of the command line alone: a script may lack what a second process needs
DEFAULTS: Record = {"fit": {"jobs": 2}}
Text = str | None
Number = int | None


def command(
    sources: Annotated[
        list[str], typer.Argument(help="Event files, one per domain, or one experiment .toml.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder to write, or a versions folder.")],
    model: Annotated[Text, typer.Option(help="auto (the default), or a name of `landbridge models`.")] = None,
    guard: Annotated[bool, typer.Option(help="Serve the single-domain baseline where it is better.")] = False,
    trials: Annotated[Number, typer.Option(help="Trials of the search for settings, per method.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds of that search: of auto in all, else per method.")
    ] = None,
    families: Annotated[
        str | None, typer.Option(help="Methods of auto, such as ease,ials; default all.")
    ] = None,
    settings_of: Annotated[
        Path | None, typer.Option(help="A run whose method, settings and weights are taken.")
    ] = None,
    deploy: Annotated[
        bool | None, typer.Option("--deploy/--no-deploy", help="After the test, fit on all events. Default.")
    ] = None,
    versioned: Annotated[
        bool, typer.Option("--versioned", help="Begin a versions folder, with this fit as current version.")
    ] = False,
    users: options.Users = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    user_features: options.UserFeatures = None,
    settings: options.Settings = None,
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
    memory: options.Memory = None,
    kind: options.Kinds = None,
    half_life: options.HalfLife = None,
    seen: options.SeenTables = None,
    targets: options.TargetKind = None,
    patience: Annotated[Number, typer.Option(help="Stop after so many validations without a gain.")] = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    jobs: Annotated[
        Number,
        typer.Option(help="2 (the default): auto searches slow methods beside the quick ones. 1: in turn."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Blocks of ials, ease and itemknn, or domains of cdimf, at a time.")
    ] = 1,
    executor: options.ExecutorName = None,
    address: options.Address = None,
    resume: Annotated[bool, typer.Option(help="Resume a killed fit.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Write TensorBoard logs to this folder.")] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PLACE: report there too; mlflow, tensorboard, wandb or a plug-in's; repeatable."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Fit a model; save it with its data and test data in a run folder.

    landbridge fit books.csv movies.parquet --users shared --out runs/best

    Under torchrun several processes train one network together.
    """
    # imported here: the help and errors of options must not wait for numba and polars
    from landbridge import pipeline, store
    from landbridge.cli import show
    from landbridge.config import merge_tables, parse_setting, validated_spec
    from landbridge.core.executors import executor_of
    from landbridge.core.progress import Progress, Terminal
    from landbridge.core.trackers import tracked
    from landbridge.selection.guard import decision_table
    from landbridge.training.ranks import joined

    given: Record = {
        "data": {"users": users, "min_rating": min_rating, "memory": memory}
        | options.reading(column, fold_ids, skip_bad_rows, out, ties)
        | options.of_items(items, item_links, min_confidence, item_features)
        | {"user_features": user_features}
        | options.known(kind, half_life, seen),
        # None: the option was not given, and the value of an experiment file stays
        "split": options.split(split, future, seed, candidates, across, targets),
        "model": {"name": model, "guard": guard or None, "trials": trials, "seconds": seconds},
        "fit": {"seed": seed, "threads": threads, "patience": patience, "deploy": deploy, "jobs": jobs},
    }
    given["model"] |= {
        "families": None if families is None else families.split(","),
        "settings_of": None if settings_of is None else str(settings_of),
    }
    given["model"]["settings"] = dict(parse_setting(text) for text in settings or ())
    file, data = options.experiment(sources, dataset)
    given["data"] |= data
    wanted = validated_spec(merge_tables(merge_tables(DEFAULTS, file), given))
    where = (
        None if (workers, executor, address) == (1, None, None) else executor_of(workers, executor, address)
    )
    with joined() as ranks:
        progress: Progress = Terminal()
        # of several ranks of torchrun, one alone speaks and writes
        if ranks.leads:
            of_board = () if tensorboard is None else (f"tensorboard={tensorboard}",)
            for place in (*(tracker or ()), *of_board):
                progress = tracked(place, progress)
            if budget := _budget(wanted.model):
                typer.echo(budget, err=True)
        result = pipeline.run(
            wanted,
            out,
            resume=resume,
            versioned=versioned,
            progress=progress,
            executor=where,
            ranks=ranks,
        )
    if not ranks.leads:
        return
    show.say_seen(result.fitted.history)
    tables: dict[str, pl.DataFrame] = {}
    if result.fitted.decisions:
        tables["decisions"] = decision_table(result.fitted.decisions)
    if result.holdout is not None and result.holdout.left_out is not None:
        typer.echo(result.holdout.left_out, err=True)
    if result.evaluation is not None:
        tables["evaluation"] = result.evaluation.summary(wanted.evaluate.metrics)
    if json:
        show.record({"run": store.run_folder(out), "method": result.fitted.method.name, **tables})
    else:
        for table in tables.values():
            show.table(table)
    typer.echo(_saved(store.run_folder(out), wanted.fit.deploy and result.evaluation is not None), err=True)


def _budget(model: ModelSettings) -> str:
    """What ``auto`` may spend where nothing was said; empty otherwise."""
    from landbridge.selection.auto import DEFAULT

    if model.name != "auto" or model.settings_of or model.trials is not None or model.seconds is not None:
        return ""
    return (
        f"auto: up to {DEFAULT.trials} trials for each candidate within {DEFAULT.seconds:g} seconds, less "
        "for fewer than 100,000 events; then the blend is fitted for the test and once more on all events. "
        "--seconds 60 is a quick look."
    )


def _saved(out: Path, deployed: bool) -> str:
    if not deployed:
        return f"Saved in {out}"
    return f"Saved in {out}: the model above, fitted once more on all events, test events included"
