"""Work in a thread that stops, at its next checkpoint, once its request has been given up.

A thread cannot be ended from outside: without this, the work of a request that timed out would go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class WorkCancelledError(Exception):
    """The request has been given up."""


_GIVEN_UP: ContextVar[Callable[[], bool]] = ContextVar("given_up", default=lambda: False)


@contextmanager
def cancellable(given_up: Callable[[], bool]) -> Iterator[None]:
    """Let the checkpoints in the block end it once ``given_up`` is true."""
    token = _GIVEN_UP.set(given_up)
    try:
        yield
    finally:
        _GIVEN_UP.reset(token)


def checkpoint() -> None:
    """Between two parts of long work; WorkCancelledError once its request has been given up."""
    if _GIVEN_UP.get()():
        raise WorkCancelledError
