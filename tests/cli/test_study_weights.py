"""``landbridge study weights``: its table and verdict on the terminal, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import answered, event_files, refused, untimed_files

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
    told = (
        "study",
        "weights",
        *event_files(folder, events=200),
        "--users",
        "shared",
        "--out",
        folder / "out",
    )
    return answered(capsys, *told, "--seeds", 1, "--vary", "map, period", *quick, *words)


def test_a_table_per_metric_and_a_verdict_twice_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, err = run(capsys, tmp_path, "--candidates", "8")
    assert status == 0, err
    assert "data: ndcg@10, one list over all domains, against generic (* significant" in said
    assert "data: recall@10, one list over all domains, against generic (* significant" in said
    assert "map exponential = base" in said
    assert "period 4 = generic" in said  # one epoch has no update
    verdict = (tmp_path / "out" / "verdict.txt").read_text().splitlines()
    assert said.splitlines()[-len(verdict) :] == verdict
    first, second, third, *signs = verdict
    assert first.startswith("The sparsest quartile of the domains: ")
    assert second.startswith("NDCG@10, one list over all domains, Holm's correction: base against generic: ")
    assert second.endswith("; period 2 and period 1 have the same weights.")
    assert third.startswith("RECALL@10")
    assert signs  # after one epoch there is hardly a gain
    protocols = (tmp_path / "out" / "bench" / "results.csv").read_text()
    assert ",1+8," in protocols
    assert ",across," in protocols
    assert ",full," not in protocols
    assert run(capsys, tmp_path, "--candidates", "8")[:2] == (0, said)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--vary", "maps"), "Unknown vary 'maps': did you mean 'map'"),
        (("--vary", "signal", "--window-days", 0), "window_days must be a number, above 0"),
        (("--set", "domain_weighting=none"), "domain_weighting is what the controls change"),
        (("--set", "epochs"), "'epochs' is no setting"),
        (("--seeds", 0), "seeds must be 1 or more"),
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


def test_one_domain_and_events_without_times_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, err = run(capsys, tmp_path, "--domains", "movies")
    assert (status, said) == (2, "")
    assert "one domain with events" in err
    folder = untimed_files(tmp_path)
    told = ("study", "weights", folder / "books.csv", folder / "movies.csv", "--out", tmp_path / "out")
    status, said, err = answered(capsys, *told, "--users", "shared")
    assert (status, said) == (2, "")
    assert "time" in err
    assert err.count("\n") == 1
