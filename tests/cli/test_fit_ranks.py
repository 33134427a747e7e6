"""``landbridge fit`` under torchrun: one run folder, one output; what it does not divide is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import answered, event_files, refused

import landbridge as lb
from landbridge import pipeline
from landbridge.config import validated_spec
from landbridge.core.errors import SettingsError
from landbridge.training.process_group import ProcessGroup

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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books.csv", "movies.csv", "run"]


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


def test_what_each_rank_would_do_in_full_is_refused(tmp_path: Path) -> None:
    ranks = ProcessGroup(0, 2)  # refused before any message
    books, _ = event_files(tmp_path)
    for model, sentence in (
        ({"name": "ease"}, "ease is no network, and torchrun divides the training of networks only"),
        ({"name": "auto"}, "torchrun divides the training of one network: name it with --model"),
        ({"name": "adc", "trials": 3}, "leave out the search"),
    ):
        spec = validated_spec({"data": {"source": [str(books)]}, "model": model})
        with pytest.raises(SettingsError, match=sentence):
            pipeline.run(spec, tmp_path / "run", ranks=ranks)
    assert not (tmp_path / "run").exists()
