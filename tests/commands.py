"""The ``landbridge`` command, here or in a process of its own, and event files for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from landbridge.cli.main import main

PROGRAM = """
import sys
from landbridge.cli.main import main

times, words = int(sys.argv[1]), sys.argv[2:]
for _ in range(times):
    sys.argv = ["landbridge", *words]
    try:
        main()
    except SystemExit as stopped:
        if stopped.code:
            raise
"""


def start(*words: object, times: int = 1) -> subprocess.Popen[str]:
    """The command in another process, again and again; the caller must wait for it."""
    command = [sys.executable, "-c", PROGRAM, str(times), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*words: object) -> None:
    """The command in this process; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["landbridge", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code


def answered(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """The command in this process: its status and what it said on standard output and error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["landbridge", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def untimed_files(folder: Path) -> Path:
    """A folder with ``books.csv`` and ``movies.csv``: user and item, the same 60 users; the folder itself."""
    rng = np.random.default_rng(1)
    for name, size in (("books", 30), ("movies", 20)):
        table = pl.DataFrame({"user": rng.integers(0, 60, 700), "item": rng.integers(0, size, 700)})
        table.with_columns(pl.format("u{}", "user").alias("user")).write_csv(folder / f"{name}.csv")
    return folder


def event_files(folder: Path, users: int = 60, items: int = 30, events: int = 700) -> tuple[Path, Path]:
    """``books.csv`` and ``movies.csv``: user, item, time, with partly the same users."""
    rng = np.random.default_rng(1)
    paths = []
    for name, size, first in (("books", items, 0), ("movies", items - 5, users // 4)):
        user = rng.integers(first, users, events)
        table = {
            "user": user,
            "item": rng.integers(0, size, events),
            "time": rng.permutation(events) * 86_400,
        }
        paths.append(folder / f"{name}.csv")
        pl.DataFrame(table).write_csv(paths[-1])
    return paths[0], paths[1]


def stored(run_folder: Path, role: str) -> Path:
    """The one file in a role of a run folder."""
    (path,) = run_folder.glob(f"{role}-*")
    return path


def refused(answer: tuple[int, str, str], sentence: str) -> None:
    """One line on standard error that says the sentence, status 2, and nothing else."""
    status, said, err = answer
    assert (status, said) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
