"""The arguments and options that several verbs have, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landbridge.core.types import Record

Run = Annotated[Path, typer.Argument(help="A run folder, or a versions folder for its current one.")]
Versions = Annotated[Path, typer.Argument(help="A versions folder.")]
Users = Annotated[str | None, typer.Option(help="Whether domains share their user ids: shared or local.")]
Items = Annotated[
    str | None,
    typer.Option(help="Whether equal item ids of domains are one product: shared or local (default)."),
]
ItemLinks = Annotated[
    str | None,
    typer.Option(
        help="A table domain_a, item_a, domain_b, item_b[, confidence] of items that are one product."
    ),
]
MinConfidence = Annotated[float | None, typer.Option(help="Leave out item links of a lower confidence.")]
ItemFeatures = Annotated[
    str | None,
    typer.Option(help="A table domain, item and any columns of what is known of the items, new ones too."),
]
LaterItems = Annotated[
    Path | None,
    typer.Option(
        "--item-features",
        help="A later table of item features: list its new items, too, where the model can.",
    ),
]
UserFeatures = Annotated[
    str | None,
    typer.Option(help="A table user and any columns of what is known of the users, new ones too."),
]
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
Ties = Annotated[
    str | None,
    typer.Option(help="Order of a user's events of equal time: random (default), or file, as the rows are."),
]
Memory = Annotated[
    str | None,
    typer.Option(help="Read and sort events on disk, in blocks of about this much memory, such as 4GB."),
]
MinRating = Annotated[
    float | None,
    typer.Option(help="Events with a lower rating are dislikes: never learned from, never listed."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        help="What kinds of events count, such as view=0.2,buy=1,dislike=against: a weight, seen or against; "
        "repeatable.",
    ),
]
HalfLife = Annotated[float | None, typer.Option("--half-life", help="Days after which an event counts half.")]
SeenTables = Annotated[
    list[str] | None,
    typer.Option("--seen", help="A table of user and item that no list may hold; one per domain, as events."),
]
TargetKind = Annotated[
    str | None, typer.Option("--targets", help="Hold out events of this kind only, such as buy.")
]
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
ExecutorName = Annotated[
    str | None,
    typer.Option("--executor", help="Where jobs run: serial, threads, processes or ray (extra ray)."),
]
Address = Annotated[
    str | None, typer.Option(help="The address of a Ray cluster; without one Ray runs on this machine.")
]
UserIds = Annotated[list[str] | None, typer.Option("--user", help="A user id; repeatable.")]
UsersFile = Annotated[Path | None, typer.Option("--users", help="A file with one user id per line.")]
UnknownFile = Annotated[
    Path | None,
    typer.Option(
        "--unknown",
        help="Write the ids of unknown users to this file; by default to OUT.unknown.txt.",
    ),
]
ListLength = Annotated[int, typer.Option("-k", help="Length of a recommendation list.")]
ItemsFile = Annotated[
    Path | None,
    typer.Option(help="A table of the items with the columns domain, item and those that rules name."),
]
Where = Annotated[
    str | None,
    typer.Option(help='A rule that listed items keep, such as "price < 20 and language = en and not adult".'),
]
MaxPer = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=N: list at most N items of one value of this column; repeatable."),
]
Boosts = Annotated[
    list[str] | None,
    typer.Option(
        help='"RULE: BY": lift items that a rule is true of by BY, where 1 is the distance from place 100 to '
        "the best item; below 0 it lowers; repeatable."
    ),
]
Pins = Annotated[
    list[str] | None, typer.Option(help="PLACE=ITEM: list this item at this place, from 1; repeatable.")
]
Diversity = Annotated[float, typer.Option(help="0 to 1: how much an item loses that is like those above it.")]
Tail = Annotated[float, typer.Option(help="0 to 1: how much popular items lose.")]
Json = Annotated[bool, typer.Option(help="Print JSON instead of tables: an object a row, or one object.")]
TableFile = Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the method, key=value; repeatable.")
]


def experiment(sources: list[str], dataset: bool) -> tuple[Record, Record]:
    """The tables of the experiment file that is the only source, and what other sources add to ``data``."""
    from landbridge.config import read_spec

    if len(sources) == 1 and sources[0].endswith(".toml"):
        return read_spec(Path(sources[0])), {}
    return {}, source(sources, dataset)


def source(sources: list[str], dataset: bool) -> Record:
    """Event files, or the name of a data set, for the table ``data`` of an experiment; SettingsError for
    several names."""
    from landbridge.core.errors import SettingsError

    if dataset and len(sources) > 1:
        raise SettingsError(
            f"--dataset takes one name of `landbridge data list`, not {len(sources)} ({', '.join(sources)})."
        )
    return {"dataset" if dataset else "source": sources[0] if len(sources) == 1 else sources}


def split(
    kind: str | None,
    future: str | None,
    seed: int | None,
    candidates: int | None,
    across: bool,
    targets: str | None,
) -> Record:
    """The table ``split`` of an experiment; None: the option was not given, and a file's value stays."""
    given = {"kind": kind, "future": future, "seed": seed, "candidates": candidates, "targets": targets}
    return {**given, "across": across or None}


def reading(
    columns: list[str] | None,
    fold_ids: bool = False,
    skip_bad_rows: bool = False,
    out: Path | None = None,
    ties: str | None = None,
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
        "ties": ties,
    }


def of_items(
    items: str | None, item_links: str | None, min_confidence: float | None, item_features: str | None
) -> Record:
    """Which items are one product and what is known of them, for the table ``data`` of an experiment."""
    return {
        "items": items,
        "item_links": item_links,
        "min_confidence": min_confidence,
        "item_features": item_features,
    }


def known(given: list[str] | None, half_life: float | None, seen: list[str] | None) -> Record:
    """What events count, for the table ``data`` of an experiment; DataError for another form."""
    tables = seen[0] if seen and len(seen) == 1 else seen
    return {"kinds": _kinds(given), "half_life_days": half_life, "seen": tables or None}


def _kinds(given: list[str] | None) -> dict[str, float | str] | None:
    from landbridge.core.errors import DataError

    kinds: dict[str, float | str] = {}
    for text in ",".join(given or ()).split(",") if given else ():
        kind, equals, value = text.partition("=")
        if not (kind and equals and value):
            raise DataError(
                f"{text!r} names no kind. Write kind=value, for example view=0.2 or dislike=against."
            )
        try:
            kinds[kind] = float(value)
        except ValueError:
            kinds[kind] = value
    return kinds or None
