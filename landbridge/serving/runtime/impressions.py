"""The log of impressions: what was listed to whom, a JSON line for each item, for ``landbridge ope``.

A request never waits for it: lists go into a bounded queue, and a thread writes them. What finds the queue
full, and what cannot be written, is dropped and counted. Files are rotated, and the oldest are removed, so
that the folder is bounded, too. Of a user the log holds the id and nothing else.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

import orjson

from landbridge.core.errors import StoreError
from landbridge.core.types import Id, Record
from landbridge.serving.engine.messages import Recommendations
from landbridge.serving.runtime.ab_testing import Assignment
from landbridge.serving.runtime.logging import log
from landbridge.serving.runtime.metrics import Metrics

T = TypeVar("T")
WAITING = 100_000  # rows that may wait to be written
TOGETHER = 1000  # lists of one write
FILES = 16  # that the folder holds when it is full
CLOSING = 5.0  # seconds to write what waits when the server stops
LOGGED, DROPPED = "logged", "dropped"


@dataclass(frozen=True)
class Shown:
    """A list that was answered; ``offset``: the items before it, ``assignment``: that of an A/B test."""

    time: float
    user: Id | None
    answer: Recommendations
    offset: int
    assignment: Assignment | None

    def rows(self) -> list[Record]:
        """A row for each item. ``propensity``: of each place of the list alike, as lists are no draws."""
        answer, size = self.answer, len(self.answer.items)
        common = {
            "time": int(self.time),
            "recommendation_id": answer.recommendation_id,
            "user": None if self.user is None else str(self.user),  # text: a column has one type
            "propensity": 1 / size,
            "source": answer.source,
            "model": answer.model,
            "version": answer.version,
            "run": answer.run,
            "test": self.assignment and self.assignment.name,
            "share": self.assignment and self.assignment.share,
        }
        return [
            {
                **common,
                "domain": entry.domain,
                "item": str(entry.item),
                "position": self.offset + place,
                "score": entry.score,
            }
            for place, entry in enumerate(answer.items, start=1)
        ]


class ImpressionLog:
    """Files of one process in a folder; open it with :meth:`open`. ``most_bytes``: of all files in it;
    ``assignment``: that of an A/B test, which every row states."""

    def __init__(
        self, folder: Path, metrics: Metrics, most_bytes: int, assignment: Assignment | None = None
    ) -> None:
        self._folder, self._metrics, self._assignment = folder, metrics, assignment
        self._most, self._file_bytes = most_bytes, most_bytes // FILES
        self._queue: SimpleQueue[Shown | _Forgotten | None] = SimpleQueue()
        self._lock, self._waiting = Lock(), 0
        self._file: Path | None = None
        self._numbers = 0
        self.problem: str | None = None
        self._writer = Thread(target=self._run, name="impressions", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls, folder: Path, metrics: Metrics, most_bytes: int, assignment: Assignment | None = None
    ) -> ImpressionLog:
        """A log in a folder, which is made; StoreError where it cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            why = f"{folder} cannot be written ({error.strerror})"
            raise StoreError(f"The folder for impressions {why}; give a folder that can.") from None
        return cls(folder, metrics, most_bytes, assignment)

    def record(self, user: Id | None, answer: Recommendations, offset: int = 0) -> None:
        """Log a list, unless too many wait."""
        rows = len(answer.items)
        with self._lock:
            fits = self._waiting + rows <= WAITING
            self._waiting += rows if fits else 0
        if fits:
            self._queue.put(Shown(time.time(), user, answer, offset, self._assignment))
        else:
            self._metrics.impressions(DROPPED, rows)

    def forget(self, user: Id) -> None:
        """Remove a user's rows from the folder's files, soon."""
        self._queue.put(_Forgotten(user))

    def close(self) -> None:
        """Write what waits, and no more."""
        self._queue.put(None)
        self._writer.join(CLOSING)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            taken = self._taken()
            goes_on = None not in taken
            self._write([each for each in taken if isinstance(each, Shown)])
            for each in taken:
                if isinstance(each, _Forgotten):
                    self._attempt(each.leave, self._folder)
                    self._file = None

    def _taken(self) -> list[Shown | _Forgotten | None]:
        """What waits, at least one entry."""
        taken = [self._queue.get()]
        with suppress(Empty):
            while len(taken) < TOGETHER:
                taken.append(self._queue.get_nowait())
        return taken

    def _write(self, lists: list[Shown]) -> None:
        rows = [*chain.from_iterable(each.rows() for each in lists)]
        if not rows:
            return
        done = self._attempt(self._append, b"".join(orjson.dumps(row) + b"\n" for row in rows))
        self._metrics.impressions(LOGGED if done else DROPPED, len(rows))
        with self._lock:
            self._waiting -= len(rows)

    def _attempt(self, work: Callable[[T], None], given: T) -> bool:
        """Whether the work was done; where the files fail, the log and ``/readyz`` say so."""
        try:
            work(given)
        except OSError as error:
            if self.problem is None:
                log(logging.ERROR, "impressions failed", why=str(error))
            self.problem = f"Impressions are not logged: {error.strerror}."
            return False
        self.problem = None
        return True

    def _append(self, lines: bytes) -> None:
        file = self._file or self._next_file()
        with open(file, "ab", buffering=0) as opened:
            size = opened.tell()
            try:
                _write_all(opened, lines)
            except OSError:
                os.ftruncate(opened.fileno(), size)  # rows that are counted as dropped are not there
                raise
        self._file = file if size + len(lines) < self._file_bytes else None

    def _next_file(self) -> Path:
        """A new file's path, once the oldest files have made room for it."""
        _remove_oldest(self._folder, self._most - self._file_bytes)
        self._numbers += 1
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        return self._folder / f"impressions-{now}-{os.getpid()}-{self._numbers:06}.jsonl"


@dataclass(frozen=True)
class _Forgotten:
    """A user whose rows are to be removed."""

    user: Id

    def leave(self, folder: Path) -> None:
        """Rewrite the files that have rows of the user."""
        mark = b'"user":' + orjson.dumps(str(self.user)) + b","
        for file in files_in(folder):
            lines = file.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if mark not in line]
            if len(kept) < len(lines):
                beside = file.with_suffix(".rewritten")
                beside.write_bytes(b"".join(kept))
                beside.replace(file)


def _write_all(opened: FileIO, lines: bytes) -> None:
    """Write every byte: one call may write a part of them only, as on a disk that is about to be full."""
    left = memoryview(lines)
    while left:
        left = left[opened.write(left) :]


def files_in(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(folder.glob("impressions-*.jsonl"), key=lambda file: file.name)


def _remove_oldest(folder: Path, most: int) -> None:
    """Remove files until those that are left have at most so many bytes."""
    sizes = [(file, file.stat().st_size) for file in files_in(folder)]
    total = sum(size for _, size in sizes)
    for file, size in sizes:
        if total <= most:
            return
        with suppress(FileNotFoundError):  # another process was faster
            file.unlink()
        total -= size
