"""Map a function over items, serially or in several processes.

Results are yielded as they finish, in any order. An item is taken from the iterable only when a worker is
free, so a generator of items can stop at any time, for example once enough results are in.
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
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

from landbridge.core.errors import LandbridgeError, SettingsError
from landbridge.core.system import processors

T = TypeVar("T")
R = TypeVar("R")

# read by the libraries while they load
THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
TERMINATION_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL


class Executor(Protocol):
    """Maps a function over items."""

    @property
    def threads_each(self) -> int:
        """Threads that one call of the function may use."""

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield ``fn(item)`` for every item, as they finish; an error names its item (``str(item)``)."""


@dataclass(frozen=True)
class Serial:
    """Executor that runs one item after the other in this process."""

    threads_each: int = field(default_factory=processors)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield the results in the order of the items."""
        for item in items:
            try:
                result = fn(item)
            except Exception as error:
                raise _named(error, item) from error.__cause__
            yield result


@dataclass(frozen=True)
class Processes:
    """Executor with up to ``jobs`` worker processes, which inherit nothing but the environment.

    ``fn``, the items and the results must be picklable, and ``fn`` importable. The environment limits every
    worker to ``threads_each`` threads before it loads a numerical library. The workers end when the
    generator ends or this process does.
    """

    jobs: int
    threads_each: int

    def __post_init__(self) -> None:
        for name in ("jobs", "threads_each"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be 1 or more, not {getattr(self, name)}.")

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield results as they finish; LandbridgeError if a worker process died."""
        remaining = iter(items)
        workers: list[_Worker[T]] = []
        busy: dict[Connection, _Worker[T]] = {}
        try:
            # items are taken one by one, so an endless or lazy iterable works
            for item in islice(remaining, self.jobs):
                worker = self._start_worker(item)
                workers.append(worker)
                busy[worker.submit(fn, item)] = worker
            while busy:
                ready = connection.wait(list(busy))
                for worker in [busy.pop(pipe) for pipe in list(busy) if pipe in ready]:
                    result: R = worker.result()
                    for item in islice(remaining, 1):  # before the yield: the caller may take long
                        busy[worker.submit(fn, item)] = worker
                    yield result
        finally:
            _terminate(workers)

    def _start_worker(self, first: T) -> _Worker[T]:
        # not fork: a forked process would inherit the locks of numerical libraries' threads
        context = get_context("spawn")
        own_end, worker_end = context.Pipe()
        process = context.Process(target=_worker_loop, args=(worker_end,), daemon=True)
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(self.threads_each))):
            process.start()
        worker_end.close()  # else the end of the worker would not show on our end
        return _Worker(process, own_end, first)


@contextmanager
def beside(fn: Callable[[T], R], item: T, threads: int) -> Iterator[Callable[[], R]]:
    """Run ``fn(item)`` in a process of its own, with ``threads`` threads, while the block runs.

    What the block gets waits for the result and returns it; the process ends with the block. As in
    :class:`Processes`, ``fn``, the item and the result must be picklable, and a script that calls this needs
    ``if __name__ == "__main__"``.
    """
    worker = Processes(1, threads)._start_worker(item)
    try:
        worker.submit(fn, item)
        yield worker.result
    finally:
        _terminate([worker])


@dataclass
class _Worker(Generic[T]):
    """A worker process, our end of the pipe to it, and its current item."""

    process: BaseProcess
    pipe: Connection
    item: T

    def submit(self, fn: Callable[[T], object], item: T) -> Connection:
        """Send an item to the process; returns the pipe on which the result will arrive."""
        self.item = item
        work = pickle.dumps((fn, item))
        with suppress(OSError):  # the error of a dead worker is raised by ``result``
            self.pipe.send_bytes(work)
        return self.pipe

    def result(self) -> Any:
        try:
            succeeded, value = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            raise LandbridgeError(self._death_message()) from None
        if not succeeded:
            raise _named(value, self.item)
        return value

    def _death_message(self) -> str:
        self.process.join()
        status = self.process.exitcode
        assert status is not None  # it has been joined
        if status < 0:
            why = f"was killed (signal {-status}): if memory ran out, use fewer jobs"
        else:
            why = f"exited with status {status}: see its output"
        return f"The process working on {self.item} {why}."


def _terminate(workers: list[_Worker[T]]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(TERMINATION_TIMEOUT)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _worker_loop(pipe: Connection) -> None:
    """Worker loop; it ends when the parent closes the pipe or exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process: the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError):
        while True:
            pipe.send_bytes(_attempt(pipe.recv_bytes()))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # without clean-up, at once: a killed run must not go on writing files


def _attempt(work: bytes) -> bytes:
    try:
        fn, item = pickle.loads(work)
        return pickle.dumps((True, fn(item)))
    except Exception as error:
        return pickle.dumps((False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; a RuntimeError with the traceback if it cannot be pickled."""
    # pickling drops the traceback, but keeps notes
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))


def _named(error: Exception, item: object) -> Exception:
    """The error with its item: before the message of a LandbridgeError, as a note on any other error."""
    if isinstance(error, LandbridgeError):
        return type(error)(f"{item}: {error}")
    error.add_note(f"The item was {item}.")
    return error


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a block.

    Numerical libraries read their thread limits while they load, so a new process must find them set.
    """
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
