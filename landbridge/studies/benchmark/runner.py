"""Methods x data x seeds x protocols in one folder that can be killed, resumed and repeated.

The tables are made from the finished cells alone, in the order of the spec, so they are the same bytes
after any kill and with any number of processes. Nothing else in the folder depends on time but
``cost.json`` in each cell, ``costs.csv``, and ``environment.json``.
"""

from __future__ import annotations

import platform
import shlex
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge.core.errors import StoreError
from landbridge.core.executors import executor_of
from landbridge.core.files import atomic_write, exclusive_lock, is_temporary, read_json, write_json
from landbridge.core.parallel import Executor
from landbridge.core.progress import Progress, Silent
from landbridge.core.system import processors
from landbridge.core.types import Record
from landbridge.studies.benchmark import jobs as cells
from landbridge.studies.benchmark.jobs import EvaluationJob, LeakCheckJob
from landbridge.studies.benchmark.result_tables import ResultTables, write_leaks
from landbridge.studies.benchmark.spec import Benchmark

if TYPE_CHECKING:
    import polars as pl

SPEC, ENVIRONMENT = "spec.toml", "environment.json"
# what results depend on: cells made with other versions are not comparable
VERSIONS = ("landbridge", "python", "numpy", "polars", "numba")
AT_MOST = 0.05  # share of the time that may go into tables that are not final

Job = EvaluationJob | LeakCheckJob


@dataclass(frozen=True, eq=False)
class Outcome:
    """``left``: what the budget left undone. ``leaks``: rows, passed and verdict of every leak check."""

    results: pl.DataFrame
    comparisons: pl.DataFrame
    left: tuple[str, ...]
    leaks: tuple[Record, ...] = ()


def benchmark(
    spec: Benchmark,
    out: str | Path,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    check_leaks: bool = False,
) -> Outcome:
    """Run what is not done yet in the folder ``out`` and write its tables.

    ``executor``: ``spec.budget.jobs`` processes by default. The budget and the number of threads may
    change from one go to the next, and seeds may be added behind those there are; StoreError where anything
    else of the spec, the data or the versions changed, or where another process is at work in the folder.
    """
    until = time.monotonic() + (spec.budget.seconds or float("inf"))
    executor = executor or executor_of(spec.budget.jobs)
    folder = Path(out)
    with exclusive_folder(folder):
        _begin(spec, folder)
        tasks = [task for task in _tasks(spec, folder, executor.threads_each, check_leaks) if not task.done]
        tables = _ThrottledTables(ResultTables(spec, folder))
        with (
            # closing ends the worker processes at an error or Ctrl-C, too
            closing(executor.map(_run, _until(tasks, until))) as finished,
            (progress or Silent()).task("cells", len(tasks)) as bar,
        ):
            for number, _ in enumerate(finished, 1):
                bar.step(number, {})
                tables.write()
        cells.clear_cached_split()
        leaks = write_leaks(spec, folder) if check_leaks else []
        left = tuple(str(task) for task in tasks if not task.done)
        return Outcome(*tables.tables.write(), left, tuple(leaks))


def _tasks(spec: Benchmark, out: Path, threads: int, check_leaks: bool) -> Iterator[Job]:
    """Data after data, and a whole round of methods before the next seed."""
    for source in spec.data:
        for seed in spec.seeds:
            for entry in spec.methods:
                yield EvaluationJob(out, source, entry, seed, threads)
        for entry in spec.methods if check_leaks else ():
            yield LeakCheckJob(out, source, entry, spec.seeds[0], threads)


def _run(task: Job) -> None:
    task.run()


def _until(tasks: Iterable[Job], end: float) -> Iterator[Job]:
    for task in tasks:
        if time.monotonic() >= end:
            return
        yield task


@dataclass
class _ThrottledTables:
    """Writes the tables as cells finish, but so seldom that it takes a small share of the time."""

    tables: ResultTables
    next: float = 0.0

    def write(self) -> None:
        started = time.monotonic()
        if started < self.next:
            return
        self.tables.write()
        ended = time.monotonic()
        # the pause grows with the time that writing takes
        self.next = ended + (ended - started) / AT_MOST


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Hold the folder; a second benchmark in it is refused, not kept waiting."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(folder))
        except BlockingIOError:
            raise StoreError(f"Another process is at work in {folder}; wait for it or end it.") from None
        yield


def _begin(spec: Benchmark, folder: Path) -> None:
    """Write spec, environment and data summaries, or make sure that those there are the same."""
    others = sorted(file.name for file in folder.iterdir() if not is_temporary(file))
    if (folder / SPEC).is_file():
        _check_spec(spec, folder / SPEC)
    elif others:
        raise StoreError(f"{folder} holds other files ({others[0]}) and no benchmark; choose another folder.")
    if (folder / ENVIRONMENT).is_file():
        _check_versions(folder / ENVIRONMENT)
    for file in filter(is_temporary, folder.rglob(".*.tmp")):
        file.unlink()  # what a killed write left half done
    summaries = _summaries(spec, folder)  # first of all: a spec whose data cannot be read leaves no trace
    with atomic_write(folder / SPEC) as file:
        file.write_bytes(spec.toml())
    if not (folder / ENVIRONMENT).is_file():
        write_json(folder / ENVIRONMENT, _environment())
    for path, summary in summaries.items():
        write_json(path, summary)


def _summaries(spec: Benchmark, folder: Path) -> dict[Path, Record]:
    """The description of every data set that is not described yet, by the file it belongs in."""
    summaries = {}
    for source in spec.data:
        path = cells.data_file(folder, source)
        if not path.is_file():
            split = cells.prepared_split(source)
            cells.protocols(source, split)
            summaries[path] = cells.describe(source, split)
    cells.clear_cached_split()
    return summaries


def _check_spec(spec: Benchmark, path: Path) -> None:
    before, now = (tomllib.loads(text) for text in (path.read_text(), spec.toml().decode()))
    for key in Benchmark.model_fields:
        # seeds may be added, as finished cells stay valid
        more = key == "seeds" and now[key][: len(before[key])] == before[key]
        if key != "budget" and not more and before.get(key) != now.get(key):
            raise StoreError(
                f"The benchmark in {path.parent} was begun with other {key}; "
                f"go on with its {SPEC}, or choose another folder."
            )


def _check_versions(path: Path) -> None:
    before, now = read_json(path), _environment()
    for key in VERSIONS:
        if before.get(key) != now[key]:
            raise StoreError(
                f"The benchmark in {path.parent} was begun with {key} {before.get(key)}, this is {now[key]}: "
                "cells would not be comparable; choose another folder."
            )


def _environment() -> Record:
    from landbridge.version import __version__

    packages = {name: version(name) for name in ("numpy", "polars", "numba")}
    return {
        "landbridge": __version__,
        "python": platform.python_version(),
        **packages,
        "platform": platform.platform(),
        "cores": processors(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
