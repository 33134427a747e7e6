"""landbridge versions"""

from __future__ import annotations

from datetime import datetime

import typer

from landbridge.cli import options
from landbridge.core.types import Record, Values


def command(folder: options.Versions, json: options.Json = False) -> None:
    """List the versions of a versions folder, oldest first, and which one is current.

    landbridge versions runs/shop

    The column gate is what the refit gained on the latest events, as the mean over the domains; --json has
    all figures.
    """
    import polars as pl

    from landbridge import store
    from landbridge.cli import show

    records = store.versions(folder)
    if json:
        show.answer(pl.DataFrame(records, infer_schema_length=None), json=True)
    else:
        show.table(pl.DataFrame([_row(record) for record in records]))
    if refused := store.last_refusal(folder):
        typer.echo(f"{refused['at']}: {refused['why']}", err=True)


def _row(record: Record) -> Record:
    """What fits in 80 columns."""
    return {
        "version": record["version"],
        "created": f"{datetime.fromisoformat(record['created']):%m-%d %H:%M}",
        "method": record["method"],
        "events": record["events"],
        "gate": "" if record["gate"] is None else _gain(record["gate"]),
        "live": "*" if record["current"] else "",
    }


def _gain(gate: Values) -> str:
    """The change of the mean over the domains, in percent; the decision where nothing was compared."""
    candidate, present = (sum(each[name] for each in gate["domains"]) for name in ("candidate", "present"))
    return f"{100 * (candidate / present - 1):+.1f} %" if present else str(gate["decision"])
