"""landbridge tune"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Text = str | None
Number = int | None
Many = list[str] | None


def command(
    sources: Annotated[
        list[str], typer.Argument(help="Event files, one per domain, or one experiment .toml.")
    ],
    out: Annotated[Path, typer.Option(help="The experiment file to write, for `landbridge fit`.")],
    model: Annotated[
        Many, typer.Option(help="A method, as `landbridge fit --model`; may be repeated.")
    ] = None,
    trials: Annotated[Number, typer.Option(help="Trials per model; 20 by default.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds of trials per model.")] = None,
    storage: Annotated[Path | None, typer.Option(help="A folder from which a killed search goes on.")] = None,
    metric: Annotated[Text, typer.Option(help="What to judge by; ndcg@10 by default.")] = None,
    users: Annotated[Text, typer.Option(help="Who is the same person: shared or local ids.")] = None,
    settings: Annotated[Many, typer.Option("--set", help="A setting to leave alone, key=value.")] = None,
    dataset: Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")] = False,
    split: Annotated[Text, typer.Option(help="auto, last, latest, random, temporal or cold.")] = None,
    candidates: Annotated[
        Number, typer.Option(help="Sampled negatives per judged item; 0: full ranking.")
    ] = None,
    across: Annotated[bool, typer.Option(help="Rank in one list over all domains.")] = False,
    min_rating: Annotated[float | None, typer.Option(help="Leave out lower ratings.")] = None,
    seed: Annotated[Number, typer.Option(help="The one seed.")] = None,
    threads: Annotated[Number, typer.Option(help="Threads; all by default.")] = None,
) -> None:
    """Search for the best settings on validation data and write them as an experiment file.

    landbridge tune books.csv movies.csv --users shared --model cdimf --trials 20 --out best.toml

    Several models get equal budgets, and the best is written. An experiment file may say in [space] what
    to try: reg = {low = 0.01, high = 1.0, log = true} or popularity_weight = {options = [0, 1, 3]}.
    """
    from landbridge.cli import show
    from landbridge.config import merge_tables, parse_setting, read_spec, validated_spec
    from landbridge.core.progress import Terminal
    from landbridge.selection.compare_methods import compare_methods

    fixed = dict(parse_setting(text) for text in settings or ())
    given: dict[str, Any] = {
        "data": {"users": users, "min_rating": min_rating},
        "split": {"kind": split, "seed": seed, "candidates": candidates, "across": across or None},
        "model": {
            "name": model[0] if model else None,
            "settings": fixed,
            "trials": trials,
            "seconds": seconds,
        },
        "fit": {"seed": seed, "threads": threads, "validate_on": metric},
    }
    from_file = len(sources) == 1 and sources[0].endswith(".toml")
    if not from_file:
        source = sources[0] if len(sources) == 1 else sources
        given["data"] |= {"dataset" if dataset else "source": source}
    tables = read_spec(Path(sources[0])) if from_file else {}
    space = tables.pop("space", {})
    found = compare_methods(
        validated_spec(merge_tables(tables, given)), model or (), space, storage, Terminal()
    )
    show.table(found.table())
    found.write(out)
    typer.echo(f"Saved in {out}", err=True)
