"""``landbridge show``: the model card that every fit writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import answered, event_files, refused, run

import landbridge as lb


def test_the_card_has_what_a_reader_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    books, movies = event_files(tmp_path)
    words = ["--users", "shared", "--set", "reg=7", "--threads", 1, "--out", tmp_path / "run"]
    run("fit", books, movies, "--model", "ease", *words, "--no-deploy")
    capsys.readouterr()
    status, text, _ = answered(capsys, "show", tmp_path / "run")
    assert status == 0
    fitted = lb.load(tmp_path / "run")
    assert fitted.history.fingerprint in text
    assert "| reg | 7 |" in text
    for heading in ("## Data", "## Settings", "## Quality", "## Limits", "By activity:", "By popularity:"):
        assert heading in text
    assert re.search(
        r"^[\d.e-]+ Wh, (measured by RAPL|estimated as [\d.]+ s of processor at 10 W)", text, re.M
    )
    assert "Measured before" not in text
    assert "| books | all | ndcg@10 |" in text


def test_the_card_shows_decisions_and_that_the_model_was_fitted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books, movies = event_files(tmp_path)
    words = ["--users", "shared", "--threads", 1, "--out", tmp_path / "run", "--guard", "--deploy"]
    run("fit", books, movies, "--model", "ease", *words)
    capsys.readouterr()
    text = answered(capsys, "show", tmp_path / "run")[1]
    assert "## Which model serves whom" in text
    assert "Measured before the model was fitted again" in text


def test_a_run_without_a_card_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from worlds import uneven

    lb.save(lb.Popularity().fit(uneven()), tmp_path / "run")
    refused(answered(capsys, "show", tmp_path / "run"), "holds no card")
