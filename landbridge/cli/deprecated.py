"""Verbs that got another name: the old one works until version 0.3, hidden from the help."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import typer


def deprecated(command: Callable[..., None], old: str, new: str) -> Callable[..., None]:
    """The command under its ``old`` name: one line on standard error names the ``new`` one."""

    @wraps(command)
    def call(*args: object, **kwargs: object) -> None:
        # standard error, so that a script that reads the output of the old name still works
        typer.echo(f"`landbridge {old}` is now `landbridge {new}`; the old name goes in 0.3.", err=True)
        command(*args, **kwargs)

    return call
