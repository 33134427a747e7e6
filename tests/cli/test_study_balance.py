"""``landbridge study balance``: its tables and verdict on the terminal, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import shops
from commands import answered, refused

torch = pytest.importorskip("torch")
SMALL = (
    "--grid",
    2,
    "--seeds",
    1,
    "--sharing",
    "tower",
    "--balance",
    "none, grid, gradnorm",
    "--split",
    "random",
)
QUICK = [word for each in ("factors=4", "network.tower=[4]", "epochs=1") for word in ("--set", each)]


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> tuple[int, str, str]:
    told = ("study", "balance", *shops(folder), "--users", "shared", "--out", folder / "out")
    return answered(capsys, *told, *SMALL, *QUICK, *words)


def test_tables_and_a_verdict_twice_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--complexity", "rate,loss", "--candidates", "8,0")
    status, said, err = run(capsys, tmp_path, *words)
    assert status == 0, err
    assert "data: ndcg@10, sampled 1+8, against tower, none" in said
    assert "data: ndcg@10, full ranking, against tower, none" in said
    assert "tower, gradnorm loss" in said
    verdict = said.splitlines()[-1]
    assert verdict.startswith("gradnorm rate against equal weights (NDCG@10, sampled 1+8, Holm's correction)")
    assert "random weightings: 2/2" in err
    assert "cells: 4/4" in err
    assert (tmp_path / "out" / "verdict.txt").read_text().strip() == verdict
    assert run(capsys, tmp_path, *words)[:2] == (0, said)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--balance", "none,gradnrm"), "Unknown balance 'gradnrm': did you mean 'gradnorm'"),
        (("--sharing", "all"), "Unknown sharing 'all'"),
        (("--complexity", "size"), "Unknown complexity 'size'"),
        (("--model", "ials"), "ials cannot be balanced"),
        (("--set", "balance.kind=none"), "balance.kind is what is compared here"),
        (("--set", "epochs"), "'epochs' is no setting"),
        (("--grid", 0), "grid and seeds must be 1 or more"),
        (("--split", "none"), "data 1, split, kind"),
        (("--candidates", "many"), "data 1, candidates 1"),
        (("--dataset",), "dataset"),
    ],
    ids=str,
)
def test_mistakes(
    words: tuple[object, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(run(capsys, tmp_path, *words), sentence)
    assert not (tmp_path / "out").exists()


def test_domains_may_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, err = run(capsys, tmp_path, "--balance", "none", "--domains", "movies")
    assert status == 0, err
    assert "movies" in said
    assert "books" not in said
    assert said.splitlines()[-1].startswith("Only equal weights were requested")
    status, said, err = run(capsys, tmp_path, "--balance", "none", "--domains", "shoes")
    assert (status, said) == (2, "")
    assert "was begun with other data" in err
