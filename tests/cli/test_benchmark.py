"""``landbridge benchmark`` from a file or from names, its tables on the terminal, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tomli_w
from benches import small_spec
from commands import answered


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    return answered(capsys, "benchmark", *words)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "bench.toml"
    path.write_text(tomli_w.dumps(small_spec(tmp_path, seeds=[1])))
    return path


def test_a_spec_gives_the_main_tables(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = spec.parent / "out"
    status, said, err = run(capsys, spec, "--out", out, "--leak-check")
    assert status == 0, err
    assert "shops: ndcg@10, full ranking, against separate" in said
    assert "shops: ndcg@10, sampled 1+8, against separate" in said
    assert "joined & more is at chance on shuffled data" in said
    assert "cells: 6/6" in err
    again, shown, err = run(capsys, out / "spec.toml", "--out", out)
    assert again == 0
    assert shown.splitlines()[0] == said.splitlines()[0]
    assert "cells: " not in err


def test_names_instead_of_a_spec(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = published(tmp_path / "shelves")
    words = ("--models", "popularity, ials", "--data", folder, "--seeds", 1, "--seconds", 600)
    status, said, err = run(capsys, *words, "--out", tmp_path / "named")
    assert status == 0, err
    assert "shelves: ndcg@10, full ranking, against popularity" in said


def published(folder: Path) -> Path:
    """Two domains in the published layout; every user is tested in both."""
    rng = np.random.default_rng(3)
    for name in ("a_b", "b_a"):
        (folder / name).mkdir(parents=True)
        items = [rng.permutation(15)[:8] for _ in range(40)]
        for part, columns in {"train": slice(0, 7), "test": slice(7, 8)}.items():
            rows = [f"{user}\t{item}\n" for user, own in enumerate(items) for item in own[columns]]
            (folder / name / f"{part}.txt").write_text("".join(rows))
    return folder


def test_what_the_time_did_not_allow_is_said(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 10_000, 100))
    monkeypatch.setattr("landbridge.studies.benchmark.runner.time.monotonic", lambda: float(next(ticks)))
    status, _, err = run(capsys, spec, "--out", spec.parent / "out", "--seconds", 50)
    assert status == 0
    assert "3 jobs are left. Re-run the same command to resume." in err


def test_a_leak_is_a_failure(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landbridge.studies.benchmark.leak_check.SURE", 2.0)
    status, said, _ = run(capsys, spec, "--out", spec.parent / "out", "--leak-check")
    assert status == 1
    assert "test pairs reach its fit" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("SPEC", "--jobs", 0), "budget, jobs: Input should be greater than or equal to 1"),
        (("SPEC", "--seconds", 0), "budget, seconds: Input should be greater than 0"),
        (("SPEC", "--models", "ials"), "Give either a benchmark file, or --models and --data"),
        (("--models", "ials"), "Give either a benchmark file, or --models and --data"),
        (("--models", "iasl", "--data", "ciao"), "Unknown method 'iasl'"),
        (("--models", "ials", "--data", "cia"), "Unknown data set 'cia': did you mean 'ciao'"),
        (("--models", "ials", "--data", "ciao", "--seeds", 0), "seeds must be 1 or more"),
        (("nowhere.toml",), "There is no experiment file nowhere.toml"),
    ],
)
def test_mistakes(
    spec: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], sentence: str
) -> None:
    given = [spec if word == "SPEC" else word for word in words]
    status, said, err = run(capsys, *given, "--out", spec.parent / "out")
    assert (status, said) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_an_error_in_a_worker_is_one_sentence_and_names_the_cell(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data change under a benchmark that is half done."""
    out = spec.parent / "out"
    assert run(capsys, spec, "--out", out)[0] == 0
    (cell,) = out.glob("cells/*/separate-*/1/cell.json")
    cell.unlink()
    (spec.parent / "books.csv").write_text("user,item\n" + "".join(f"{n % 60},{n % 7}\n" for n in range(300)))
    status, _, err = run(capsys, spec, "--out", out, "--jobs", 2)
    assert status == 2
    assert err.startswith("landbridge: shops / separate / seed 1: Data 'shops' have changed")
    assert err.count("\n") == 1
