"""`landbridge data transferability` from files to tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import answered


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compat")
    rng = np.random.default_rng(1)
    for name, size in (("books", 30), ("movies", 20)):
        pl.DataFrame({"user": rng.integers(0, 60, 700), "item": rng.integers(0, size, 700)}).write_csv(
            folder / f"{name}.csv"
        )
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    return answered(capsys, "data", "transferability", *words)


def sources(work: Path) -> list[object]:
    return [work / "books.csv", work / "movies.csv", "--users", "shared"]


def test_every_ordered_pair_is_scored(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *sources(work), "--json")
    assert status == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert {(row["source"], row["target"]) for row in rows} == {("books", "movies"), ("movies", "books")}
    assert all(row["shared"] == 60 and -1 <= row["predicted"] <= 1 for row in rows)
    assert rows[0]["predicted"] >= rows[1]["predicted"]
    assert not (work / "transfer.csv").exists()


@pytest.mark.parametrize("method", ["cdimf", "ials"])
def test_measured_gains_are_written_beside(
    work: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    folder = work / method
    small = ("--method", method, "--set", "factors=4", "--set", "epochs=2", "--threads", 1)
    table_file = folder / "transferability.csv"
    status, out, err = run(capsys, *sources(work), "--measure", *small, "--out", table_file)
    assert status == 0, err
    assert pl.read_csv(table_file)["source"].to_list() != []
    table = pl.read_csv(folder / "transfer.csv")
    assert table.columns == ["data", "source", "target", "gain", "low", "high", "predicted"]
    assert table["data"].unique().to_list() == ["books+movies"]
    assert table.select("source", "target").rows() == [("books", "movies"), ("movies", "books")]
    assert len(list((folder / "transfer.cells").iterdir())) == 3
    assert "so few domains cannot tell this from chance" in " ".join(out.split())


def test_what_is_wrong_is_a_sentence(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, work / "books.csv")
    assert status == 2
    assert "there is only 'books'" in err
    status, _, err = run(capsys, *sources(work), "--measure", "--method", "cdmif")
    assert status == 2
    assert "Unknown method 'cdmif': did you mean 'cdimf'" in err
    status, _, err = run(capsys, *sources(work), "--measure", "--set", "factor=4")
    assert status == 2
    assert "did you mean 'factors'" in err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert "landbridge data transferability" in out.split("Usage")[1].split("\n", 1)[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data compat", "data transferability"),
        ("ablate balance", "study balance"),
        ("ablate weights", "study weights"),
        ("ablate objectives", "study objectives"),
    ],
)
def test_a_former_verb_names_the_new_one_and_does_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    words = (tmp_path / "none.csv", *(() if "data" in old else ("--out", tmp_path / "out")))
    status, said, err = answered(capsys, *old.split(), *words)
    expected = answered(capsys, *new.split(), *words)
    line, _, rest = err.partition("\n")
    assert line == f"`landbridge {old}` is now `landbridge {new}`; the old name goes in version 0.4."
    assert (status, said, rest) == expected
    _, listed, _ = answered(capsys, "data", "--help")
    assert "compat" not in listed
