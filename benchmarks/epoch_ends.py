"""Progress that measures at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class EpochEnds(Generic[T]):
    """``ends``: what ``measure`` gave at the end of each epoch."""

    def __init__(self, measure: Callable[[], T]) -> None:
        self.measure, self.ends = measure, list[T]()

    def note(self, sentence: str) -> None:
        """Dropped."""

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Self]:
        """As of any progress."""
        yield self

    def step(self, done: int, facts: Mapping[str, Any]) -> None:
        """The end of an epoch."""
        self.ends.append(self.measure())
