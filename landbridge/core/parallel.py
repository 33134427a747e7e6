"""Map a function over items: serially, in threads, in processes, or on the nodes of a Ray cluster.

Results are yielded as they finish, in any order, or by :func:`in_order` in that of the items: a sum over them
then has the same bits in every executor. An item is taken from the iterable only when a worker is free, so a
generator of items can stop at any time, for example once enough results are in. The function goes to a worker
once, and may hold arrays that all items need.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count, islice
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar, cast

from landbridge.core.errors import LandbridgeError, SettingsError
from landbridge.core.system import processors

A = TypeVar("A")
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
FUNCTION, ITEM = b"function", b"item"  # what is sent to a worker process
TERMINATION_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL


class Executor(Protocol):
    """Maps a function over items."""

    @property
    def threads_each(self) -> int:
        """Threads that one call of the function may use."""

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield ``fn(item)`` for every item, as they finish; an error names its item (``str(item)``)."""

    def started(self) -> AbstractContextManager[Executor]:
        """The same with workers that stay from one ``map`` to the next, for a block."""

    def shared(
        self, make: Callable[[], A], callers: int
    ) -> AbstractContextManager[tuple[A, Executor] | None]:
        """A new value for a block, whose methods ``callers`` calls of a function may call at one time, and
        the executor for these calls, which repeats none that is lost. None where not as many are at work at
        once, or each has a memory of its own."""


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

    def started(self) -> AbstractContextManager[Executor]:
        """Itself."""
        return nullcontext(self)

    def shared(
        self, make: Callable[[], A], callers: int
    ) -> AbstractContextManager[tuple[A, Executor] | None]:
        """For one caller."""
        return nullcontext((make(), self) if callers == 1 else None)


@dataclass(frozen=True)
class Threads:
    """Executor with up to ``jobs`` threads of this process, for functions that leave Python's lock."""

    jobs: int
    threads_each: int

    def __post_init__(self) -> None:
        check_numbers(self.jobs, self.threads_each)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield results as they finish."""
        remaining = iter(items)
        with ThreadPoolExecutor(self.jobs) as pool:
            busy: dict[Future[R], T] = {}

            def submit(places: int) -> None:
                for item in islice(remaining, places):
                    busy[pool.submit(fn, item)] = item

            try:
                submit(self.jobs)
                while busy:
                    for done in wait(busy, return_when=FIRST_COMPLETED).done:
                        item, error = busy.pop(done), done.exception()
                        if error is not None:
                            raise _named(error, item) if isinstance(error, Exception) else error
                        submit(1)  # before the yield: the caller may take long
                        yield done.result()
            finally:
                for each in busy:
                    each.cancel()

    def started(self) -> AbstractContextManager[Executor]:
        """Itself: threads start at once."""
        return nullcontext(self)

    def shared(
        self, make: Callable[[], A], callers: int
    ) -> AbstractContextManager[tuple[A, Executor] | None]:
        """The value itself, whose methods must be safe to call from threads."""
        return nullcontext((make(), self) if callers <= self.jobs else None)


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
        check_numbers(self.jobs, self.threads_each)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield results as they finish; LandbridgeError if a worker process died."""
        with self.started() as pool:
            yield from pool.map(fn, items)

    @contextmanager
    def started(self) -> Iterator[Executor]:
        """An executor whose processes end with the block."""
        pool = _Pool(self.jobs, self.threads_each)
        try:
            yield pool
        finally:
            _terminate(pool.idle)

    def shared(
        self, make: Callable[[], A], callers: int
    ) -> AbstractContextManager[tuple[A, Executor] | None]:
        """None: processes share nothing."""
        return nullcontext(None)


@dataclass(frozen=True)
class _Pool:
    """An executor with worker processes, those of which are ``idle`` that no ``map`` uses."""

    jobs: int
    threads_each: int
    idle: list[_Worker[Any]] = field(default_factory=list)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """As that of :class:`Processes`."""
        remaining = iter(items)
        busy: dict[Connection, _Worker[T]] = {}
        try:
            function = pickle.dumps(fn)
            # items are taken one by one, so an endless or lazy iterable works
            for item in islice(remaining, self.jobs):
                worker = self.idle.pop() if self.idle else start_worker(self.threads_each, item)
                worker.send(FUNCTION, function)
                busy[worker.submit(item)] = worker
            while busy:
                for pipe in cast(list[Connection], connection.wait(list(busy))):
                    worker = busy.pop(pipe)
                    answer = worker.answer()
                    self.idle.append(worker)
                    result: R = outcome(answer, worker.item)
                    for item in islice(remaining, 1):  # before the yield: the caller may take long
                        self.idle.remove(worker)
                        busy[worker.submit(item)] = worker
                    yield result
        finally:
            _terminate(list(busy.values()))

    def started(self) -> AbstractContextManager[Executor]:
        """Itself."""
        return nullcontext(self)

    def shared(
        self, make: Callable[[], A], callers: int
    ) -> AbstractContextManager[tuple[A, Executor] | None]:
        """None: processes share nothing."""
        return nullcontext(None)


def start_worker(threads: int, first: T) -> _Worker[T]:
    """A process with so many threads, whose first item will be ``first``."""
    # not fork: a forked process would inherit the locks of numerical libraries' threads
    context = get_context("spawn")
    own_end, worker_end = context.Pipe()
    process = context.Process(target=_worker_loop, args=(worker_end,), daemon=True)
    with environment(dict.fromkeys(THREAD_VARIABLES, str(threads))):
        process.start()
    worker_end.close()  # else the end of the worker would not show on our end
    return _Worker(process, own_end, first)


@contextmanager
def started(executor: Executor | None) -> Iterator[Executor | None]:
    """The executor with workers that stay while the block runs; None where there is none."""
    if executor is None:
        yield None
        return
    with executor.started() as running:
        yield running


def check_numbers(jobs: int, threads_each: int) -> None:
    """SettingsError for numbers below 1."""
    for name, number in (("jobs", jobs), ("threads_each", threads_each)):
        if number < 1:
            raise SettingsError(f"{name} must be 1 or more, not {number}.")


def in_order(executor: Executor, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """Yield ``fn(item)`` in the order of the items; a result that comes early waits."""
    early: dict[int, R] = {}
    numbered = (_Numbered(number, item) for number, item in enumerate(items))
    with closing(executor.map(partial(_with_number, fn), numbered)) as results:
        for number in count():
            while number not in early:
                for place, result in islice(results, 1):
                    early[place] = result
                    break
                else:
                    return
            yield early.pop(number)


@dataclass(frozen=True)
class _Numbered(Generic[T]):
    """An item and its number; errors name the item alone."""

    number: int
    item: T

    def __str__(self) -> str:
        return str(self.item)


def _with_number(fn: Callable[[T], R], numbered: _Numbered[T]) -> tuple[int, R]:
    return numbered.number, fn(numbered.item)


@contextmanager
def beside(fn: Callable[[T], R], item: T, threads: int) -> Iterator[Callable[[], R]]:
    """Run ``fn(item)`` in a process of its own, with ``threads`` threads, while the block runs.

    What the block gets waits for the result and returns it; the process ends with the block. As in
    :class:`Processes`, ``fn``, the item and the result must be picklable, and a script that calls this needs
    ``if __name__ == "__main__"``.
    """
    check_numbers(1, threads)
    worker = start_worker(threads, item)
    try:
        worker.send(FUNCTION, pickle.dumps(fn))
        worker.submit(item)
        yield worker.result
    finally:
        _terminate([worker])


@dataclass
class _Worker(Generic[T]):
    """A worker process, our end of the pipe to it, and its current item."""

    process: BaseProcess
    pipe: Connection
    item: T

    def submit(self, item: T) -> Connection:
        """Send an item to the process; returns the pipe on which the result will arrive."""
        self.item = item
        self.send(ITEM, pickle.dumps(item))
        return self.pipe

    def send(self, kind: bytes, value: bytes) -> None:
        """Send a function or an item, pickled, to the process."""
        with suppress(OSError):  # the error of a dead worker is raised by ``result``
            self.pipe.send_bytes(kind)
            self.pipe.send_bytes(value)

    def answer(self) -> bytes:
        """The answer of :func:`attempt`; LandbridgeError where the process has ended without one."""
        try:
            return self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.pipe.close()
            raise LandbridgeError(self._death_message()) from None

    def result(self) -> Any:
        """The result of the item."""
        return outcome(self.answer(), self.item)

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
    function: Callable[[], Callable[[Any], object]]
    with suppress(EOFError):
        while True:
            kind, value = pipe.recv_bytes(), pipe.recv_bytes()
            if kind == FUNCTION:
                function = cache(partial(pickle.loads, value))
            else:
                pipe.send_bytes(attempt(function, value))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # without clean-up, at once: a killed run must not go on writing files


def attempt(function: Callable[[], Callable[[Any], object]], item: bytes) -> bytes:
    """Whether the function could be loaded and done to the pickled item, and the result or error, pickled."""
    try:
        return pickle.dumps((True, function()(pickle.loads(item))))
    except Exception as error:
        return pickle.dumps((False, _portable(error)))


def outcome(answer: bytes, item: object) -> Any:
    """The result of :func:`attempt`; an error is raised, and names its item."""
    succeeded, value = pickle.loads(answer)
    if not succeeded:
        raise _named(value, item)
    return value


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
def environment(variables: Mapping[str, str]) -> Iterator[None]:
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
