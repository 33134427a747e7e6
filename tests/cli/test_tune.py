"""landbridge tune: from files to an experiment file that landbridge fit takes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from commands import answered as run
from commands import untimed_files

SMALL = ("--users", "shared", "--threads", 1, "--seed", 3, "--set", "factors=4", "--set", "epochs=3")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untimed_files(tmp_path_factory.mktemp("work"))


def sources(work: Path) -> tuple[Path, Path]:
    return work / "books.csv", work / "movies.csv"


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_the_best_settings_are_an_experiment_that_fit_takes(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = work / "best.toml"
    words = ("--model", "cdimf", "--trials", 3, "--metric", "hr@5", "--out", out)
    status, said, err = run(capsys, "tune", *sources(work), *SMALL, *words)
    assert status == 0, err
    assert "hr@5" in said
    best = read(out)
    assert best["model"]["name"] == "cdimf"
    assert best["model"]["settings"]["factors"] == 4
    assert "patience" not in best["fit"]
    assert best["model"].get("trials", 0) == 0
    status, said, err = run(capsys, "fit", out, "--out", work / "runs" / "best")
    assert status == 0, err
    (kept,) = (work / "runs" / "best").glob("settings-*.toml")
    assert read(kept)["settings"] == best["model"]["settings"]


def test_several_models_spend_alike_and_the_best_is_written(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, work_dir = work / "several.toml", work / "searches"
    models = [word for name in ("popularity", "ials", "cdimf") for word in ("--model", name)]
    words = (*models, "--trials", 3, "--work-dir", work_dir, "--out", out)
    status, said, err = run(capsys, "tune", *sources(work), *SMALL, *words)
    assert status == 0, err
    assert sorted(folder.name for folder in work_dir.iterdir()) == ["cdimf", "ials", "popularity"]
    rows = [line.split("│")[1:5] for line in said.splitlines() if line.startswith("│")]
    assert {(row[0].strip(), row[2].strip()) for row in rows} == {
        ("cdimf", "3"),
        ("ials", "3"),
        ("popularity", "1"),  # without times there is nothing to try
    }
    figures = [float(row[1]) for row in rows]
    assert figures == sorted(figures, reverse=True)
    assert read(out)["model"]["name"] == rows[0][0].strip()
    again = work / "again.toml"
    status, repeated, err = run(capsys, "tune", *sources(work), *SMALL, *words[:-1], again)
    assert (status, repeated) == (0, said), err
    assert read(again) == read(out)
    beside = work / "beside.toml"
    words = (*models, "--trials", 3, "--jobs", 2, "--out", beside)
    status, repeated, err = run(capsys, "tune", *sources(work), *SMALL, *words)
    assert status == 0, err
    assert read(beside) == read(out)


def test_an_experiment_file_with_a_space(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out = work / "experiment.toml", work / "spaced.toml"
    spec.write_text(
        f'data = {{source = ["{work}/books.csv", "{work}/movies.csv"], users = "shared"}}\n'
        'model = {name = "ials", settings = {factors = 4, epochs = 2, reg = 0.5}, trials = 2}\n'
        "fit = {threads = 1, patience = 1}\n"
        "[space]\nreg = {low = 0.4, high = 0.6}\nsharing = {options = ['joined']}\n"
    )
    status, _, err = run(capsys, "tune", spec, "--out", out)
    assert status == 0, err
    settings = read(out)["model"]["settings"]
    assert 0.4 <= settings["reg"] <= 0.6
    assert settings["sharing"] == "joined"
    assert read(out)["data"]["users"] == "shared"
    assert read(out)["fit"] == {
        "seed": 0,
        "threads": 1,
        "validate_on": "ndcg@10",
        "deploy": True,
        "jobs": 1,
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "factor=8"], "did you mean 'factors'"),
        (
            ["--model", "ials", "--model", "popularity", "--set", "rho=1"],
            "Unknown setting of ials, popularity",
        ),
        (["--model", "cdmf"], "did you mean 'cdimf'"),
        (["--split", "none"], "needs validation data"),
        (["--metric", "ndgc@10"], "Unknown metric"),
        (["--trials", "-1"], "[model] trials"),
        (["--seconds", "0"], "[model] seconds"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    work: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    status, out, err = run(
        capsys, "tune", *sources(work), "--users", "shared", "--out", work / "bad.toml", *words
    )
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (work / "bad.toml").exists()


def test_a_range_of_the_file_that_is_none(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "bad_space.toml").write_text('[data]\nsource = "books.csv"\n[space]\nreg = {low = 2, high = 1}\n')
    status, _, err = run(capsys, "tune", work / "bad_space.toml", "--out", work / "bad.toml")
    assert status == 2
    assert "[space] reg: low must be below high and both finite" in err


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "tune", "--help")
    assert status == 0
    assert "landbridge tune" in out.split("Usage")[1].split("\n", 1)[1]


def test_the_former_name_of_the_work_dir(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (work / "none.csv", "--storage", work / "former", "--out", work / "best.toml")
    status, _, err = run(capsys, "tune", *words)
    assert status == 2
    assert err.splitlines()[0] == "`--storage` is now `--work-dir`; the old name goes in version 0.4."
    assert "--storage" not in run(capsys, "tune", "--help")[1]
