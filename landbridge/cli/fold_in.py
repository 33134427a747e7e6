"""landbridge fold-in"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    domain: Annotated[str, typer.Option(help="The catalogue to recommend from.")],
    item: Annotated[list[str], typer.Option(help="domain=item the person has; may be repeated.")],
    k: Annotated[int, typer.Option("-k", help="Places of the list.")] = 10,
    json: Annotated[bool, typer.Option(help="JSON lines instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this .csv, .parquet or .jsonl file.")] = None,
) -> None:
    """Recommend to a person the model has never seen, from some items in any domains.

    landbridge fold-in runs/cdimf --domain books --item movies=alien --item movies=brazil
    """
    from landbridge import fold_in, load
    from landbridge.cli import show

    show.answer(fold_in(load(run), _by_domain(item), domain, k), json=json, out=out)


def _by_domain(pairs: list[str]) -> dict[str, list[str]]:
    from landbridge.core.errors import DataError

    events: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, raw = pair.partition("=")
        if not equals:
            raise DataError(f"{pair!r} names no domain; write domain=item, for example movies=alien.")
        events.setdefault(name, []).append(raw)
    return events
