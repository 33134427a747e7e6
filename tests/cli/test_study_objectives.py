"""``landbridge study objectives``: its table and verdict on the terminal, its files, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import answered, event_files, refused

torch = pytest.importorskip("torch")
QUICK = (
    "encoder.factors=4",
    "encoder.blocks=1",
    "encoder.heads=1",
    "encoder.hidden=8",
    "encoder.max_length=8",
    "epochs=1",
)


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> tuple[int, str, str]:
    quick = [word for each in QUICK for word in ("--set", each)]
    files = event_files(folder, events=200)
    told = ("study", "objectives", *files, "--users", "shared", "--out", folder / "out", "--seeds", 1)
    return answered(capsys, *told, *quick, *words)


def test_a_table_a_verdict_and_two_files_twice_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--of", "sparsity, worst_group", "--steps", 2, "--candidates", "8")
    status, said, err = run(capsys, tmp_path, *words)
    assert status == 0, err
    assert "data: ndcg@10, one list over all domains, against generic (* significant" in said
    assert "0.5 sparsity + 0.5 worst_group" in said
    verdict = said.splitlines()[-1]
    assert verdict.startswith("The sparsest quartile of the domains: ")
    assert "of 3 points are on the front" in verdict
    assert (tmp_path / "out" / "verdict.txt").read_text().strip() == verdict
    header, *rows = (tmp_path / "out" / "pareto.csv").read_text().splitlines()
    assert header == (
        "label,sparsity,worst_group,exposure,sparsest,other,overall,worst,worst_domain,entropy,least_share,front"
    )
    assert [row.split(",")[0] for row in rows] == [
        "generic",
        "sparsity",
        "0.5 sparsity + 0.5 worst_group",
        "worst_group",
    ]
    assert (tmp_path / "out" / "pareto.svg").is_file()
    assert run(capsys, tmp_path, *words)[:2] == (0, said)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--of", "sparsity,worst"), "Unknown of 'worst'"),
        (("--steps", 0), "steps and seeds must be 1 or more"),
        (("--set", "objectives=none"), "objectives is what the points change"),
        (("--set", "epochs"), "'epochs' is no setting"),
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
