"""landbridge show"""

from __future__ import annotations

import typer

from landbridge.cli import options


def command(run: options.Run, json: options.Json = False) -> None:
    """Print the model card of a run: data, settings, quality by segment, decisions, limits.

    landbridge show runs/cdimf
    """
    from landbridge import store
    from landbridge.cli import show

    card = store.attached(store.run_folder(run), "card").read_text(encoding="utf-8")
    if json:
        show.record({"card": card})
    else:
        typer.echo(card, nl=False)
