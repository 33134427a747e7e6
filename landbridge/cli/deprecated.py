"""Verbs that got another name: the old one works for two minor versions, hidden from the help."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import typer

from landbridge.core.deprecation import renamed


def deprecated(command: Callable[..., None], old: str, new: str) -> Callable[..., None]:
    """The command under its ``old`` name: one line on standard error names the ``new`` one."""

    @wraps(command)
    def call(*args: object, **kwargs: object) -> None:
        # standard error, so that a script that reads the output of the old name still works
        typer.echo(renamed(f"`landbridge {old}`", f"`landbridge {new}`"), err=True)
        command(*args, **kwargs)

    return call
