"""What differs between operating systems, with the modules of one system taken away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import landbridge as lb
from landbridge.core.files import exclusive_lock, locked, write_json
from landbridge.core.system import peak_bytes, processors

FOREIGN = ("fcntl", "resource", "pwd", "grp", "termios", "uvloop")  # not on Windows
ELSEWHERE = f"""
import os, sys
for name in {FOREIGN!r}:
    sys.modules[name] = None  # importing it fails
for name in ("sched_getaffinity", "O_DIRECTORY"):
    delattr(os, name)
"""
USE = """
from pathlib import Path
import landbridge as lb
from landbridge.cli.main import app
from landbridge.data.synthetic import checkerboard
from landbridge.studies.benchmark import runner
run = Path(sys.argv[1])
model = lb.EASE().fit(checkerboard().data)
lb.save(model, run)
lb.save(model, run)
print(lb.FitOptions().threads, len(lb.recommend(lb.load(run), "board_0", users=[0], k=3)))
"""


@pytest.fixture
def without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to lock, on a system without flock."""
    pytest.importorskip("filelock")  # before flock goes: it chooses its kind of lock when it is imported
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_every_part_works_without_the_modules_of_linux(tmp_path: Path) -> None:
    pytest.importorskip("filelock")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", ELSEWHERE + USE, str(tmp_path / "run")]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(os.cpu_count()), "3"]


def test_every_module_can_be_imported_without_them() -> None:
    pytest.importorskip("torch")  # networks need it, on every system
    package = Path(lb.__file__).parent
    names = [
        ".".join(("landbridge", *path.relative_to(package).with_suffix("").parts))
        for path in sorted(package.rglob("*.py"))
        if path.name != "__init__.py"
    ]
    program = ELSEWHERE + f"from importlib import import_module\nfor name in {names!r}: import_module(name)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_one_writer_without_flock(without_flock: Path) -> None:
    with (
        exclusive_lock(without_flock),
        pytest.raises(BlockingIOError, match="locked by another"),
        exclusive_lock(without_flock),
    ):
        pass
    with exclusive_lock(without_flock), exclusive_lock(without_flock.parent / "another"):
        pass
    assert list(without_flock.iterdir()) == []  # a run holds no foreign file


def test_readers_without_flock_wait_for_nothing(without_flock: Path) -> None:
    with locked(without_flock), locked(without_flock, shared=True), locked(without_flock, shared=True):
        pass
    with pytest.raises(FileNotFoundError), locked(without_flock / "absent"):
        pass


def test_folders_that_cannot_be_opened_are_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "fsync", synced.append)
    write_json(tmp_path / "value.json", [1])
    assert len(synced) == 1  # the file; with folders it would be two


def test_processors_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processors() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)  # of Python 3.13
    assert processors() == 3
    monkeypatch.setattr(os, "process_cpu_count", lambda: None)
    assert processors() == 1


def test_peak_of_memory_by_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    by_linux = peak_bytes()
    assert by_linux > 20 * 2**20
    monkeypatch.setattr(Path, "read_text", _refused)
    by_resource = peak_bytes()
    assert by_linux <= by_resource * 1.01
    monkeypatch.setattr(sys, "platform", "darwin")  # which counts bytes, not KiB
    assert peak_bytes() == pytest.approx(by_resource / 1024, rel=0.05)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert peak_bytes() == 0


def _refused(*_: object) -> str:
    raise OSError
