"""The arguments and options that several verbs have, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.core.types import Record

Run = Annotated[Path, typer.Argument(help="A run folder, or a versions folder for its current one.")]
Versions = Annotated[Path, typer.Argument(help="A versions folder.")]
Users = Annotated[str | None, typer.Option(help="Whether domains share their user ids: shared or local.")]
Dataset = Annotated[bool, typer.Option(help="The source is a name of `landbridge data list`.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        "--columns",
        help="Columns by name or number: user=buyer,item=sku, for one table books.time=sold_at; repeatable.",
    ),
]
FoldIds = Annotated[
    bool, typer.Option("--fold-ids", help="Ids that differ only in case and surrounding blanks are one.")
]
SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be read; write them to a file.")
]
MinRating = Annotated[float | None, typer.Option(help="Ignore events with a lower rating.")]
Split = Annotated[str | None, typer.Option(help="auto, last, latest, random, temporal, cold or none.")]
Future = Annotated[
    str | None,
    typer.Option(help="Of --split last: cut (no later event of a user is known) or keep. Default: cut."),
]
Candidates = Annotated[int | None, typer.Option(help="Sampled negatives per test item; 0: full ranking.")]
Across = Annotated[bool, typer.Option(help="Rank the items of all domains in one list.")]
Metric = Annotated[str, typer.Option(help="A metric with its cutoff, for example ndcg@10.")]
Segment = Annotated[
    str,
    typer.Option(
        help="domain, activity, other_domain_events, popularity, duplicate, later_in_other_domains or "
        "event_share."
    ),
]
Seed = Annotated[int | None, typer.Option(help="The random seed.")]
Threads = Annotated[int | None, typer.Option(help="Number of threads; all by default.")]
ListLength = Annotated[int, typer.Option("-k", help="Length of a recommendation list.")]
Json = Annotated[bool, typer.Option(help="Print JSON lines instead of a table.")]
TableFile = Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the method, key=value; repeatable.")
]


def split(
    kind: str | None, future: str | None, seed: int | None, candidates: int | None, across: bool
) -> Record:
    """The table ``split`` of an experiment; None: the option was not given, and a file's value stays."""
    given = {"kind": kind, "future": future, "seed": seed, "candidates": candidates}
    return {**given, "across": across or None}


def reading(
    columns: list[str] | None, fold_ids: bool, skip_bad_rows: bool, out: Path | None = None
) -> Record:
    """How tables are read, as the table ``data`` of an experiment; None: the option was not given.

    The file of bad rows lies beside ``out``, or in the current folder.
    """
    from landbridge.config import column_table

    skipped = "skipped.jsonl" if out is None else f"{out.resolve()}.skipped.jsonl"
    return {
        "columns": column_table(",".join(columns)) if columns else None,
        "fold_ids": fold_ids or None,
        "skip_bad_rows": skipped if skip_bad_rows else None,
    }
