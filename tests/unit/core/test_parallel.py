"""Every way of doing many things gives the same answers, and says what went wrong with which item."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from errands import bad_data, broken, killed, leaves, slower_first, square, unfit, unreturnable, who

from landbridge.core.errors import DataError, LandbridgeError, SettingsError
from landbridge.core.executors import executor_of
from landbridge.core.parallel import (
    THREAD_VARIABLES,
    Executor,
    Processes,
    Serial,
    Threads,
    beside,
    in_order,
    started,
)
from landbridge.core.ray_executor import Ray

WAYS = [Serial(), Threads(2, 1), Processes(2, 1)]


@pytest.mark.parametrize("way", WAYS)
def test_every_item_is_done_once(way: Executor) -> None:
    assert sorted(way.map(square, range(7))) == [square(number) for number in range(7)]
    assert list(way.map(square, [])) == []


@pytest.mark.parametrize("way", WAYS)
def test_results_wait_for_those_before_them(way: Executor) -> None:
    assert list(in_order(way, slower_first, range(5))) == list(range(5))
    with pytest.raises(DataError, match=r"^7: There is no column 'user'\.$"):
        list(in_order(way, bad_data, [7]))


def test_processes_stay_while_they_are_started() -> None:
    with Processes(2, 1).started() as pool:
        rounds = [{process for process, _, _ in pool.map(who, range(4))} for _ in range(2)]
        assert rounds[0] == rounds[1]
        with pytest.raises(LandbridgeError, match="was killed"):
            list(pool.map(killed, [4]))
        assert sorted(pool.map(square, range(3))) == [0, 1, 4]  # another takes its place
        assert len(active_children()) == 2
    assert not active_children()
    with started(None) as nothing:
        assert nothing is None


def test_an_executor_has_a_name() -> None:
    assert executor_of() == Serial()
    assert executor_of(2) == executor_of(2, "processes") == Processes(2, max(1, Serial().threads_each // 2))
    assert isinstance(executor_of(2, "threads"), Threads)
    assert executor_of(3, None, "far:6379") == Ray(3, 1, "far:6379")
    refused: list[tuple[tuple[Any, ...], str]] = [
        ((2, "spark"), "Unknown executor 'spark'"),
        ((2, "serial"), "serial does one job at a time, not 2"),
        ((2, "threads", "far:6379"), "threads has none"),
        ((0,), "jobs must be 1 or more, not 0"),
        ((0, "ray"), "jobs must be 1 or more, not 0"),
    ]
    for words, sentence in refused:
        with pytest.raises(SettingsError, match=sentence):
            executor_of(*words)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_ours_stays_one_sentence_and_names_the_item(way: Executor) -> None:
    with pytest.raises(DataError, match=r"^7: There is no column 'user'\.$"):
        list(way.map(bad_data, [7]))


@pytest.mark.parametrize("way", WAYS)
def test_any_other_error_keeps_its_kind_and_has_a_note(way: Executor) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(way.map(broken, [0, 1, 2]))
    assert "item was 2" in caught.value.__notes__[-1]


def test_the_traceback_of_a_worker_comes_along() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(Processes(1, 1).map(broken, [2]))
    assert "return 1 // (number - 2)" in caught.value.__notes__[0]


def test_an_error_that_cannot_travel_is_reported() -> None:
    with pytest.raises(RuntimeError, match="5 and 6 do not fit"):
        list(Processes(1, 1).map(unfit, [5]))


def test_a_result_that_cannot_be_pickled_is_an_error() -> None:
    with pytest.raises(Exception, match=r"[Pp]ickle") as caught:
        list(Processes(1, 1).map(unreturnable, [5]))
    assert "The item was 5" in caught.value.__notes__[-1]


@pytest.mark.parametrize(
    ("fn", "sentence"),
    [
        (killed, r"^The process working on 4 was killed \(signal 9\)"),
        (leaves, r"^The process working on 4 exited with status 3"),
    ],
)
def test_a_dead_worker_is_one_clear_error(fn: Callable[[int], None], sentence: str) -> None:
    with pytest.raises(LandbridgeError, match=sentence):
        list(Processes(2, 1).map(fn, [4]))


def test_workers_are_limited_before_they_load_anything() -> None:
    before = dict(os.environ)
    seen = list(Processes(2, 3).map(who, range(6)))
    assert {process for process, _, _ in seen}.isdisjoint({os.getpid()})
    assert len({process for process, _, _ in seen}) == 2
    for _, limits, _ in seen:
        assert limits == dict.fromkeys(THREAD_VARIABLES, "3")
    assert dict(os.environ) == before


@pytest.mark.parametrize("way", WAYS)
def test_items_are_taken_only_when_a_worker_is_free(way: Executor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    results = way.map(square, items())
    next(results)
    assert len(taken) <= 3  # two at work and one in place of the first
    results.close()
    assert len(taken) <= 3
    assert not active_children()


@pytest.mark.parametrize(("jobs", "threads"), [(0, 1), (1, 0)])
def test_impossible_numbers(jobs: int, threads: int) -> None:
    with pytest.raises(SettingsError, match="must be 1 or more, not 0"):
        Processes(jobs, threads)


PROGRAM = """
import os, sys, time
from pathlib import Path
from landbridge.core.parallel import Processes

def slow(name):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(Processes(2, 1).map(slow, "ab"))
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_who_started_them(tmp_path: Path, ending: signal.Signals) -> None:
    program, marks = tmp_path / "program.py", tmp_path / "marks"
    program.write_text(PROGRAM)
    marks.mkdir()
    parent = subprocess.Popen([sys.executable, program, marks], stderr=subprocess.PIPE)
    until(lambda: len(list(marks.iterdir())) == 2)
    workers = [int(mark.name) for mark in marks.iterdir()]
    parent.send_signal(ending)
    _, said = parent.communicate(timeout=20)
    assert (b"KeyboardInterrupt" in said) == (ending == signal.SIGINT)
    until(lambda: not any(map(alive, workers)))


def until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("It did not become true within 20 seconds.")


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_work_beside_a_block_is_done_in_another_process() -> None:
    with beside(who, 3, 1) as result:
        assert result()[0] != os.getpid()
    assert not active_children()


def test_the_process_beside_a_block_ends_with_it() -> None:
    with pytest.raises(ZeroDivisionError), beside(time.sleep, 60, 1):
        1 / 0  # noqa: B018
    assert not active_children()


def test_an_error_beside_a_block_names_its_item() -> None:
    with beside(bad_data, 7, 1) as result, pytest.raises(DataError, match=r"^7: There is no column"):
        result()
