"""Work in a thread that stops, at its next checkpoint, once its request has been given up.

A thread cannot be ended from outside: without this, the work of a request that timed out would go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event


class WorkCancelledError(Exception):
    """The request has been given up."""


_GIVEN_UP: ContextVar[Event | None] = ContextVar("given_up", default=None)


@contextmanager
def cancellable(given_up: Event) -> Iterator[None]:
    """Let the checkpoints in the block end it once ``given_up`` is set."""
    token = _GIVEN_UP.set(given_up)
    try:
        yield
    finally:
        _GIVEN_UP.reset(token)


def checkpoint() -> None:
    """Between two parts of long work; WorkCancelledError once its request has been given up."""
    given_up = _GIVEN_UP.get()
    if given_up is not None and given_up.is_set():
        raise WorkCancelledError
