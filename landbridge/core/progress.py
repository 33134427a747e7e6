"""What long work says while it runs: bars on a terminal, plain lines elsewhere, nothing when asked.

A method reports through the :class:`Progress` value in its options; it never prints.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol


class Task(Protocol):
    """One piece of long work under way."""

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        """Say that ``done`` of the total steps are finished, with figures worth showing."""


class Progress(Protocol):
    """Where long work reports to."""

    def task(self, title: str, total: int) -> Any:
        """A context manager that gives the :class:`Task`."""


@dataclass(frozen=True)
class Silent:
    """Reports nothing."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        """A task nobody watches."""
        yield _Unwatched()


@dataclass(frozen=True)
class Terminal:
    """Bars with time left on a terminal; at most one plain line every ``every`` seconds elsewhere."""

    every: float = 10.0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        """A bar, or lines on standard error when it is no terminal."""
        if sys.stderr.isatty():
            with _bar(title, total) as task:
                yield task
        else:
            yield _Lines(title, total, self.every)


@dataclass
class _Unwatched:
    def step(self, done: int, facts: Mapping[str, float]) -> None:
        pass


@dataclass
class _Lines:
    title: str
    total: int
    every: float
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.said < self.every and done < self.total:
            return
        self.said = now
        left = (now - self.started) / max(done, 1) * (self.total - done)
        print(f"{self.title}: {done}/{self.total}, {left:.0f} s left {_figures(facts)}", file=sys.stderr)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Task]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(title, total=total, facts="")

        class _Bar:
            def step(self, done: int, facts: Mapping[str, float]) -> None:
                bars.update(bar, completed=done, facts=_figures(facts))

        yield _Bar()


def _figures(facts: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
