"""A search that was killed, anywhere and any number of times, ends as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from landbridge.core.errors import StoreError
from landbridge.models.search_space import Real
from landbridge.selection.optuna_study import IDENTITY, JOURNAL
from landbridge.training.options import FitOptions

from .hills import Hill, find, line

TRIALS = 11  # beyond the random ones, so that the sampler has learned something


class Killed(BaseException):
    """Nothing catches it."""


def trials(work_dir: Path | None, count: int = TRIALS, **others: Any) -> pl.DataFrame:
    return find(Hill(epochs=4), count, work_dir=work_dir, **others).trials.drop("seconds")


def writes(folder: Path) -> int:
    return (folder / JOURNAL).read_bytes().count(b"\n")


def dying_after(count: int, append: Callable[..., None]) -> Callable[..., None]:
    """``append`` that raises after ``count`` writes."""
    left = [count]

    def dying(self: Any, logs: Any) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        append(self, logs)

    return dying


def test_a_kill_after_any_write_changes_nothing(tmp_path: Path) -> None:
    from optuna.storages.journal import JournalFileBackend

    whole = trials(tmp_path / "whole")
    assert whole.equals(trials(None))
    append = JournalFileBackend.append_logs
    for count in [*range(8), *range(8, writes(tmp_path / "whole"), 11)]:
        folder = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", dying_after(count, append))
            with pytest.raises(Killed):
                trials(folder)
        assert trials(folder).equals(whole), f"killed after write {count}"


def test_killed_again_and_again(tmp_path: Path) -> None:
    from optuna.storages.journal import JournalFileBackend

    append, kills = JournalFileBackend.append_logs, 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", dying_after(17, append))
            try:
                found = trials(tmp_path)
                break
            except Killed:
                kills += 1
    assert kills >= 5
    assert found.equals(trials(None))


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import hills

class Mortal(hills.Height):
    seen = []
    def __call__(self, fitted):
        self.seen.append(1)
        if len(self.seen) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(fitted)

hills.Height = Mortal
hills.find(hills.Hill(epochs=4), 11, work_dir=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", [1, 14, 30])
def test_a_sigkill_in_the_middle_of_a_fit(tmp_path: Path, moment: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path), str(moment)]
    gone = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": str(moment)}, check=False)
    assert gone.returncode == -signal.SIGKILL
    before = writes(tmp_path)
    assert trials(tmp_path).equals(trials(None))
    assert writes(tmp_path) > before


def test_half_a_line_of_a_power_cut_is_cut_off(tmp_path: Path) -> None:
    whole = trials(tmp_path, 3)
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b'{"op_code":4,"worker')
    assert trials(tmp_path, 5).head(3).equals(whole)
    assert trials(tmp_path, 5).equals(trials(None, 5))


def test_a_finished_search_is_not_repeated(tmp_path: Path) -> None:
    trials(tmp_path, 4)
    before = writes(tmp_path)
    again = find(Hill(epochs=4), 4, work_dir=tmp_path)
    assert writes(tmp_path) == before + 1  # that it was opened
    assert again.trials["seconds"].sum() > 0
    assert again.overhead_seconds == pytest.approx(again.seconds)


def test_a_larger_budget_goes_on_and_a_smaller_one_sees_its_share(tmp_path: Path) -> None:
    trials(tmp_path, 4)
    assert trials(tmp_path, 9).equals(trials(None, 9))
    smaller = find(Hill(epochs=4), 4, work_dir=tmp_path)
    alone = find(Hill(epochs=4), 4)
    assert (smaller.method, smaller.value, len(smaller.trials)) == (alone.method, alone.value, 4)


def test_no_lock_is_taken_that_a_kill_leaves_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Any) -> bool:
        raise AssertionError("a file that stays when the process is killed")

    monkeypatch.setattr("optuna.storages.journal.JournalFileSymlinkLock.acquire", never)
    monkeypatch.setattr("optuna.storages.journal.JournalFileOpenLock.acquire", never)
    assert len(trials(tmp_path, 2)) == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": Hill(spread=2)}, "settings"),
        ({"seed": 4}, "seed"),
        ({"metric": "hr@10"}, "metric"),
        ({"space": {"place": Real(0.1, 1.0)}}, "space"),
        ({"split": line(first=1)}, "data"),
        ({"split": line(summit=500)}, "data"),
        ({"options": FitOptions(seed=3, validate=float, patience=2)}, "patience"),
    ],
)
def test_another_search_is_refused_and_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    find(trials=2, work_dir=tmp_path)
    with pytest.raises(StoreError, match=rf"holds another search \({named} differ\)") as caught:
        find(**({"trials": 2, "work_dir": tmp_path} | change))
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_folder_is_one_sentence(tmp_path: Path) -> None:
    find(trials=2, work_dir=tmp_path)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join([lines[0], b"{nonsense\n", *lines[1:]]))
    with pytest.raises(StoreError, match="is damaged"):
        find(trials=2, work_dir=tmp_path)
    (tmp_path / IDENTITY).write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        find(trials=2, work_dir=tmp_path)
    (tmp_path / IDENTITY).unlink()
    with pytest.raises(StoreError, match="holds trials without"):
        find(trials=2, work_dir=tmp_path)


def test_what_is_kept_is_plain_text(tmp_path: Path) -> None:
    find(trials=2, work_dir=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [IDENTITY, JOURNAL]
    assert json.loads((tmp_path / IDENTITY).read_text())["method"] == "hill"
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())
