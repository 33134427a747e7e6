"""``landbridge fit`` under torchrun: one run folder, one output; what it does not divide is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import answered, event_files, refused

import landbridge as lb

pytest.importorskip("torch")

SMALL = (
    "--set",
    "factors=8",
    "--set",
    "batch_size=256",
    "--set",
    "epochs=2",
    "--threads",
    "1",
    "--no-deploy",
)


def test_two_ranks_write_one_run(tmp_path: Path) -> None:
    books, movies = event_files(tmp_path)
    out = tmp_path / "run"
    launch = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "landbridge",
        "fit",
    )
    command = [
        sys.executable,
        *launch,
        books,
        movies,
        "--users",
        "shared",
        "--model",
        "adc",
        "--out",
        out,
        *SMALL,
    ]
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Saved in") == 1
    assert done.stdout.count("┏") == 1  # one table
    model = lb.load(out)
    assert model.method.name == "adc"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "books.csv",
        "movies.csv",
        "run",
        "run.checkpoint",
    ]


@pytest.fixture
def under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)


def test_other_commands_are_refused(
    under_torchrun: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(
        answered(capsys, "evaluate", tmp_path),
        "torchrun divides `landbridge fit` alone: start `landbridge evaluate` without it.",
    )
