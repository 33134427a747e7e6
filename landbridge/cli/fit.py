"""landbridge fit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Text = str | None
Number = int | None


def command(
    sources: Annotated[
        list[str], typer.Argument(help="Event files, one per domain, or one experiment .toml.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    model: Annotated[Text, typer.Option(help="auto (the default), or one of the methods.")] = None,
    guard: Annotated[bool, typer.Option(help="Keep each domain's twin where joining does not pay.")] = False,
    trials: Annotated[Number, typer.Option(help="Settings to try on validation data, per method.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Time for trying, per method.")] = None,
    users: Annotated[Text, typer.Option(help="Who is the same person: shared or local ids.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value.")] = None,
    dataset: Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")] = False,
    split: Annotated[Text, typer.Option(help="auto, last, latest, random, temporal, cold, none.")] = None,
    candidates: Annotated[
        Number, typer.Option(help="Sampled negatives per test item; 0: full ranking.")
    ] = None,
    across: Annotated[bool, typer.Option(help="Rank in one list over all domains.")] = False,
    min_rating: Annotated[float | None, typer.Option(help="Leave out lower ratings.")] = None,
    patience: Annotated[Number, typer.Option(help="Choose the epochs on validation data.")] = None,
    seed: Annotated[Number, typer.Option(help="The one seed.")] = None,
    threads: Annotated[Number, typer.Option(help="Threads; all by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from what a killed fit left.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="A folder for TensorBoard.")] = None,
) -> None:
    """Fit a model and keep it, its data and its test part in a run folder.

    landbridge fit books.csv movies.parquet --users shared --out runs/best
    """
    from landbridge import pipeline
    from landbridge.cli import show
    from landbridge.config import merge_tables, parse_setting, read_spec, validated_spec
    from landbridge.core.progress import Terminal
    from landbridge.core.tensorboard import TensorBoard
    from landbridge.selection.guard import decision_table

    given: dict[str, Any] = {
        "data": {"users": users, "min_rating": min_rating},
        "split": {"kind": split, "seed": seed, "candidates": candidates, "across": across or None},
        "model": {"name": model, "guard": guard or None, "trials": trials, "seconds": seconds},
        "fit": {"seed": seed, "threads": threads, "patience": patience},
    }
    given["model"]["settings"] = dict(parse_setting(text) for text in settings or ())
    from_file = len(sources) == 1 and sources[0].endswith(".toml")
    if not from_file:
        given["data"] |= {"dataset": sources[0]} if dataset else {"source": _source(sources)}
    wanted = validated_spec(merge_tables(read_spec(Path(sources[0])) if from_file else {}, given))
    progress = Terminal() if tensorboard is None else TensorBoard(tensorboard, Terminal())
    result = pipeline.run(wanted, out, resume=resume, progress=progress)
    if result.fitted.decisions:
        show.table(decision_table(result.fitted.decisions))
    if result.evaluation is not None:
        show.table(result.evaluation.summary(wanted.evaluate.metrics))
    typer.echo(f"Saved in {out}", err=True)


def _source(sources: list[str]) -> str | list[str]:
    return sources[0] if len(sources) == 1 else sources
