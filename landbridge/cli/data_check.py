"""landbridge data check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landbridge.cli import options
from landbridge.core.types import Record

if TYPE_CHECKING:
    from landbridge.data.dataset import MultiDomain

STATUS = {"ok": 0, "note": 0, "warning": 0, "stop": 3}  # 2 is that of an error
STRICT = {**STATUS, "warning": 1}


def command(
    sources: Annotated[
        list[str],
        typer.Argument(help="Event files, one per domain, one table of all, or an experiment .toml."),
    ],
    users: options.Users = None,
    items: options.Items = None,
    item_links: options.ItemLinks = None,
    min_confidence: options.MinConfidence = None,
    item_features: options.ItemFeatures = None,
    user_features: options.UserFeatures = None,
    dataset: options.Dataset = False,
    min_rating: options.MinRating = None,
    column: options.Columns = None,
    fold_ids: options.FoldIds = False,
    skip_bad_rows: options.SkipBadRows = False,
    ties: options.Ties = None,
    kind: options.Kinds = None,
    half_life: options.HalfLife = None,
    seen: options.SeenTables = None,
    propose_links: Annotated[
        Path | None,
        typer.Option(
            help="Write links of items that are probably one product to this .csv, .parquet or .jsonl file."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print what is ok, too.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 on warnings.")] = False,
    json: options.Json = False,
) -> None:
    """Check event files for problems before anything is trained.

    landbridge data check books.csv movies.parquet --users shared

    landbridge data check de.csv fr.csv --users local --propose-links links.csv

    Status 0: a fit makes sense, 1: warnings, with --strict, 2: the files cannot be read, 3: a fit would be
    senseless.
    """
    from landbridge import diagnose
    from landbridge.cli import show
    from landbridge.config import merge_tables, validated_spec
    from landbridge.datasets.prepare import prepare

    given: Record = {"data": {"users": users, "min_rating": min_rating}, "split": {"kind": "none"}}
    given["data"] |= options.reading(column, fold_ids, skip_bad_rows, ties=ties) | options.known(
        kind, half_life, seen
    )
    given["data"] |= options.of_items(items, item_links, min_confidence, item_features)
    given["data"] |= {"user_features": user_features}
    tables, data = options.experiment(sources, dataset)
    given["data"] |= data
    tables = {name: table for name, table in tables.items() if name == "data"}
    events = prepare(validated_spec(merge_tables(tables, given))).events
    findings = diagnose(events)
    shown = findings if every else findings.at_least("note")
    if json:
        typer.echo(shown.json_lines(), nl=False)
    elif shown.findings:
        show.table(shown.table().select("severity", "kind", "domains", "message"))
    if not every and not json:
        count = len(findings.findings) - len(shown.findings)
        typer.echo(f"{count} checks are ok (--all prints them).", err=True)
    if propose_links is not None:
        _propose(events, propose_links)
    raise typer.Exit((STRICT if strict else STATUS)[findings.worst])


def _propose(events: MultiDomain, out: Path) -> None:
    """Write the proposals; how many there are, and what to do with them, to standard error."""
    from landbridge.cli import show
    from landbridge.data.link_proposals import SURELY, propose_links

    links = propose_links(events)
    show.answer(links, out=out)
    sure = int((links["confidence"] >= SURELY).sum())
    typer.echo(
        f"Proposed {links.height:,} links of items in {out}, {sure:,} of them with a confidence of {SURELY} "
        "or more. Look at them, delete what is wrong, and read them with "
        f"--item-links {out} --min-confidence {SURELY}.",
        err=True,
    )
