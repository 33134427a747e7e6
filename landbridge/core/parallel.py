"""Do a function to many items: one after the other, or in several processes.

Results come as they finish, in any order. An item is taken from the iterable only when somebody is free
to work on it, so a generator may stop giving work out at any time.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from typing import Any, Generic, Protocol, TypeVar

from landbridge.core.errors import LandbridgeError, SettingsError

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
PATIENCE = 5.0  # seconds a worker has to end before it is killed


class Executor(Protocol):
    """A way of doing many pieces of work."""

    @property
    def threads_each(self) -> int:
        """Threads one piece of work may use."""

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """``fn(item)`` of every item, as they finish; an error names its item (``str(item)``)."""


@dataclass(frozen=True)
class Serial:
    """One item after the other, in this process."""

    threads_each: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Results in the order of the items."""
        for item in items:
            try:
                result = fn(item)
            except Exception as error:
                raise _named(error, item) from error.__cause__
            yield result


@dataclass(frozen=True)
class Processes:
    """Up to ``jobs`` processes, started afresh (nothing is inherited but the environment).

    ``fn``, the items and the results must be picklable, and ``fn`` importable. Every worker is limited to
    ``threads_each`` threads before it loads anything that computes. When the generator ends for whatever
    reason, or this process does, the workers end too.
    """

    jobs: int
    threads_each: int

    def __post_init__(self) -> None:
        for name in ("jobs", "threads_each"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be 1 or more, not {getattr(self, name)}.")

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Results as they finish. LandbridgeError where a worker was ended from outside."""
        waiting = iter(items)
        hired: list[_Worker[T]] = []
        busy: dict[Any, _Worker[T]] = {}
        try:
            for item in islice(waiting, self.jobs):
                hired.append(self._hire(item))
                busy[hired[-1].take(fn, item)] = hired[-1]
            while busy:
                for pipe in connection.wait(list(busy)):
                    worker = busy.pop(pipe)
                    result: R = worker.result()
                    for item in islice(waiting, 1):  # before the yield: the caller may be long about it
                        busy[worker.take(fn, item)] = worker
                    yield result
        finally:
            _dismiss(hired)

    def _hire(self, first: T) -> _Worker[T]:
        context = get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True)
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(self.threads_each))):
            process.start()
        there.close()
        return _Worker(process, here, first)


@dataclass
class _Worker(Generic[T]):
    """A process, our end of the pipe to it, and what it is working on."""

    process: Any
    pipe: Any
    item: T

    def take(self, fn: Callable[[T], Any], item: T) -> Any:
        """Start on ``item``; gives the pipe on which the result will come."""
        self.item = item
        work = pickle.dumps((fn, item))
        with suppress(OSError):  # a worker that is gone is found when its result is asked for
            self.pipe.send_bytes(work)
        return self.pipe

    def result(self) -> Any:
        try:
            succeeded, value = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            raise LandbridgeError(self._gone()) from None
        if not succeeded:
            raise _named(value, self.item)
        return value

    def _gone(self) -> str:
        self.process.join()
        status = self.process.exitcode
        if status < 0:
            why = f"was ended from outside (signal {-status}): if memory ran out, use fewer jobs"
        else:
            why = f"ended by itself (status {status}): see what it printed"
        return f"The process working on {self.item} {why}."


def _dismiss(hired: list[_Worker[T]]) -> None:
    for worker in hired:
        worker.process.terminate()
    for worker in hired:
        worker.process.join(PATIENCE)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _serve(pipe: Any) -> None:
    """What a worker does until nobody is there to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started us ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError):
        while True:
            pipe.send_bytes(_attempt(pipe.recv_bytes()))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # in the middle of whatever we do: a killed run must not go on writing


def _attempt(work: bytes) -> bytes:
    try:
        fn, item = pickle.loads(work)
        return pickle.dumps((True, fn(item)))
    except Exception as error:
        return pickle.dumps((False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; a RuntimeError that says the same where it cannot travel."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))


def _named(error: Exception, item: object) -> Exception:
    """One of our sentences begins with the item; any other error is left as it is, with a note."""
    if isinstance(error, LandbridgeError):
        return type(error)(f"{item}: {error}")
    error.add_note(f"This happened while working on {item}.")
    return error


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The environment a process is started in; libraries read their limits when they are loaded."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
