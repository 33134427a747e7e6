"""``landbridge fit --tensorboard``: a run with event files for every fit, the choosing one and the last."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import event_files, run


def test_the_option_writes_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", *event_files(tmp_path), "--users", "shared", "--model", "cdimf", "--patience", 2]
    words += ["--set", "factors=4", "--set", "epochs=4", "--threads", 1, "--out", tmp_path / "run"]
    run(*words, "--no-deploy", "--tensorboard", tmp_path / "curves")
    files = sorted((tmp_path / "curves").glob("*/*"))
    assert [path.parent.name for path in files] == ["CDIMF-1", "CDIMF-2"]
    chosen, last = (path.read_bytes() for path in files)
    assert b"CDIMF/valid" in chosen
    assert b"CDIMF/valid" not in last
    assert b"CDIMF/gap" in last
    assert "CDIMF: " in capsys.readouterr().err  # what a terminal is told, it is told still
