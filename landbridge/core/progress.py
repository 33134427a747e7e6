"""Progress reporting: bars on a terminal, lines in a log, or nothing.

A method reports to the ``progress`` value of its options; it never prints.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

PER_CENT = 100


class Task(Protocol):
    """A running task with a known number of steps."""

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        """Report that ``done`` steps are finished; ``facts`` are values to show, by name."""


class Progress(Protocol):
    """Receives progress reports."""

    def note(self, sentence: str) -> None:
        """Report something to know before the work begins."""

    def task(self, title: str, total: int, seconds: float | None = None) -> AbstractContextManager[Task]:
        """A context manager that yields the :class:`Task`.

        ``seconds``: it ends about then, with the steps it has; None: it makes all ``total``.
        """


@dataclass(frozen=True)
class Silent:
    """Reports nothing."""

    def note(self, sentence: str) -> None:
        """Dropped."""

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        """A task whose reports are dropped."""
        yield _SilentTask()


@dataclass(frozen=True)
class Terminal:
    """Bars with the remaining time on a terminal; elsewhere at most one line every ``every`` seconds."""

    every: float = 10.0

    def note(self, sentence: str) -> None:
        """A line on standard error."""
        print(sentence, file=sys.stderr)

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        """A bar, or lines on standard error if that is not a terminal; where a task ends by the clock, of how
        much of its seconds or steps is over."""
        if seconds is None:
            with self._shown(title, total) as task:
                yield task
        else:
            with self._shown(f"{title}, % of the budget", PER_CENT) as task:
                yield _Share(task, total, seconds)

    def _shown(self, title: str, total: int) -> AbstractContextManager[Task]:
        if sys.stderr.isatty():
            return _bar(title, total)
        return nullcontext(_LogTask(title, total, self.every))


@dataclass
class _SilentTask:
    def step(self, done: int, facts: Mapping[str, float]) -> None:
        pass


@dataclass
class _LogTask:
    title: str
    total: int
    every: float
    started: float = field(default_factory=time.monotonic)
    last_line: float = field(default_factory=time.monotonic)

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        now = time.monotonic()
        # the last step is always reported
        if now - self.last_line < self.every and done < self.total:
            return
        self.last_line = now
        remaining = (now - self.started) / max(done, 1) * (self.total - done)
        print(
            f"{self.title}: {done}/{self.total}, {remaining:.0f} s left {_formatted(facts)}", file=sys.stderr
        )


@dataclass
class _Share:
    """A task that ends by the clock, shown in per cent."""

    inner: Task
    total: int
    seconds: float
    started: float = field(default_factory=time.monotonic)

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        share = max(done / self.total, (time.monotonic() - self.started) / self.seconds)
        self.inner.step(round(PER_CENT * min(1.0, share)), {"steps": done} | dict(facts))


@contextmanager
def _bar(title: str, total: int) -> Iterator[Task]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(title, total=total, facts="")

        class _BarTask:
            def step(self, done: int, facts: Mapping[str, float]) -> None:
                bars.update(bar, completed=done, facts=_formatted(facts))

        yield _BarTask()


def _formatted(facts: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
