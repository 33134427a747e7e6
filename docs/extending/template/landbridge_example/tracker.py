"""A tracker that appends one line per step to a file: ``landbridge fit ... --tracker lines=steps.txt``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from landbridge.core.progress import Progress, Task


@dataclass(frozen=True)
class Lines:
    """Reports go on to ``inner``; steps are written to the file ``place``."""

    place: str
    inner: Progress

    def note(self, sentence: str) -> None:
        """Passed on."""
        self.inner.note(sentence)

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        """A task that writes its steps."""
        with self.inner.task(title, total, seconds) as inner:
            yield _LineTask(Path(self.place), title, inner)


@dataclass(frozen=True)
class _LineTask:
    path: Path
    title: str
    inner: Task

    def step(self, done: int, facts: Mapping[str, float]) -> None:
        self.inner.step(done, facts)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{self.title} {done} {dict(facts)}\n")
