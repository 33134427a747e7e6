"""Where nothing can be written, every function that writes says so in one sentence, before it works."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from worlds import uneven

import landbridge as lb
from landbridge import pipeline
from landbridge.config import validated_spec
from landbridge.core.errors import StoreError
from landbridge.core.files import atomic_write, exclusive_lock, make_folder, write_hashed
from landbridge.core.tensorboard import TensorBoard
from landbridge.selection.compare_methods import MethodComparison
from landbridge.serving.events.refit import refit
from landbridge.serving.events.store import EventStore
from landbridge.studies.benchmark.runner import exclusive_folder

DATA = uneven({"a": (8, 20), "b": (6, 20)}, users=20)
SPLIT = lb.leave_last_out(DATA, seed=0)
MODEL = lb.Popularity().fit(DATA)
FEW = lb.FitOptions(threads=1)


def experiment(out: Path) -> None:
    spec = validated_spec({"data": {"source": "no such file.csv"}, "model": {"name": "popularity"}})
    pipeline.run(spec, out)


def refitted(out: Path) -> None:
    run = out.parent / "served"
    lb.save(MODEL, run)
    with closing(EventStore.open(str(out.parent / "events.sqlite"))) as store:
        refit(run, store, out)


def logged(out: Path) -> None:
    with TensorBoard(out).task("fit", 1) as task:
        task.step(1, {"loss": 1.0})


def held(out: Path) -> None:
    with exclusive_folder(out):
        pass


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "save": lambda out: lb.save(MODEL, out),
    "recommend_all": lambda out: lb.recommend_all(MODEL, "a", out),
    "fit": experiment,
    "refit": refitted,
    "tune": lambda out: lb.tune(lb.IALS(factors=2), SPLIT, lb.Budget(1), FEW, work_dir=out),
    "checkpoints": lambda out: lb.IALS(factors=2).fit(DATA, lb.FitOptions(threads=1, work_dir=out)),
    "benchmark": held,
    "tensorboard": logged,
    "make_folder": make_folder,
}
FILES: dict[str, Callable[[Path], Any]] = {
    "evaluation": lambda out: lb.evaluate(MODEL.method.fit(SPLIT.test.history), SPLIT.test).write(out),
    "comparison": lambda out: MethodComparison(validated_spec({"data": {"source": "x"}}), {}).write(out),
}


def refused(write: Callable[[Path], Any], out: Path) -> str:
    with pytest.raises(StoreError) as error:
        write(out)
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_where_a_folder_is_needed(name: str, tmp_path: Path) -> None:
    """The file itself, and one above the folder; it stays as it was."""
    file = tmp_path / "plain"
    file.write_text("mine")
    for out in (file, file / "run"):
        assert "plain is a file" in refused(FOLDERS[name], out)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_where_a_file_is_needed(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch()
    assert "folder (Is a directory)" in refused(FILES[name], tmp_path / "folder")
    assert "plain is a file" in refused(FILES[name], tmp_path / "plain" / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "plain"]


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_a_name_that_no_disk_takes(name: str, tmp_path: Path) -> None:
    assert "File name too long" in refused({**FOLDERS, **FILES}[name], tmp_path / ("x" * 300))


@pytest.mark.parametrize("reason", [PermissionError(13, "Permission denied"), OSError(28, "No space left")])
def test_what_the_disk_refuses_is_one_sentence(
    reason: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or one that may not be written: the old file stays, and nothing half-written."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fails(*_: object, **__: object) -> None:
        raise reason

    def write(_: Path) -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("new")
            fails()

    assert str(reason.strerror) in refused(write, path)
    assert str(reason.strerror) in refused(lambda out: write_hashed(out.parent, "a", "txt", fails), path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fails)
        assert str(reason.strerror) in refused(lambda out: exclusive_lock(out.parent).__enter__(), path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_run_that_may_only_be_read_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landbridge import store

    run = tmp_path / "run"
    lb.save(lb.Popularity().fit(SPLIT.test.history), run)
    store.save_holdout(run, SPLIT.test)
    before = sorted(file.name for file in run.iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert pipeline.evaluate_saved(run).means("ndcg@10")
    assert sorted(file.name for file in run.iterdir()) == before


@pytest.mark.parametrize("place", [".", "below/.."])
def test_the_folder_one_stands_in_can_be_refitted(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lb.save(MODEL, tmp_path / "run")
    (tmp_path / "run" / "below").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))) as events:
        refit(Path(place), events)
    assert sorted(path.name for path in tmp_path.iterdir() if "sqlite" not in path.name) == ["run"]
