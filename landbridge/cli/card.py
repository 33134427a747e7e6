"""landbridge show"""

from __future__ import annotations

import typer

from landbridge.cli import options


def command(run: options.Run) -> None:
    """Print the model card of a run: data, settings, quality by segment, decisions, limits.

    landbridge show runs/cdimf
    """
    from landbridge import store

    typer.echo(store.attached(store.run_folder(run), "card").read_text(encoding="utf-8"), nl=False)
