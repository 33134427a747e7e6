"""What a terminal shows of a task: its steps, or how much of its seconds is over."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import pytest

from landbridge.core import progress
from landbridge.core.progress import Terminal


def test_a_task_without_a_clock_shows_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(every=0).task("tuning ials", 4) as task:
        for done in (1, 2):
            task.step(done, {"best": 0.5})
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tuning ials: 1/4,")
    assert second.startswith("tuning ials: 2/4,")
    assert second.endswith("left best 0.5")


def test_a_task_that_ends_by_the_clock_shows_how_much_is_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(time.monotonic() + 10, 10)  # ten seconds later at each look, of two per step
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with Terminal(every=0).task("tuning ials", 1000, 50.0) as task:
        for done in (1, 2, 3):
            task.step(done, {})
    percents = [line.split(": ")[1].split("/")[0] for line in capsys.readouterr().err.splitlines()]
    assert percents == sorted(percents, key=int)
    assert 0 < int(percents[0]) < int(percents[-1]) == 100


def test_its_steps_count_where_they_end_before_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    title = "tuning ials, % of the budget"
    with Terminal(every=0).task("tuning ials", 4, 1e9) as task:
        for done in (1, 4):
            task.step(done, {"best": 0.5})
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{title}: 25/100,")
    assert first.endswith("steps 1  best 0.5")
    assert last.startswith(f"{title}: 100/100,")
