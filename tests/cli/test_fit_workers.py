"""``landbridge fit --workers``: the same model, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import answered, event_files, refused

from landbridge import store


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("ials", ("--workers", 2, "--executor", "threads")),
        ("cdimf", ("--workers", 2, "--executor", "threads")),
    ],
)
def test_a_fit_with_workers_is_the_fit(
    model: str, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = (
        "fit",
        *event_files(tmp_path),
        "--users",
        "shared",
        "--model",
        model,
        "--set",
        "epochs=2",
        "--threads",
        1,
    )
    assert answered(capsys, *fit, "--out", tmp_path / "here")[0] == 0
    status, _, err = answered(capsys, *fit, "--out", tmp_path / "apart", *words)
    assert status == 0, err
    runs = [store.load(store.run_folder(tmp_path / name)) for name in ("here", "apart")]
    for domain, item_IF in runs[0].item_IF.items():  # type: ignore[attr-defined]
        assert runs[1].item_IF[domain].tobytes() == item_IF.tobytes()  # type: ignore[attr-defined]


def test_executors_that_there_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ("fit", *event_files(tmp_path), "--users", "shared", "--model", "ials", "--out", tmp_path / "run")
    refused(answered(capsys, *fit, "--executor", "spark"), "Unknown executor 'spark'")
    refused(answered(capsys, *fit, "--executor", "threads", "--address", "far:1"), "threads has none")
    refused(answered(capsys, *fit, "--workers", 0), "jobs must be 1 or more, not 0")
    assert not (tmp_path / "run").exists()
