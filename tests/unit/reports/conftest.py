"""A made-up benchmark with one cell missing, its runs and its reports in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.reports.runs import Runs, read
from landbridge.reports.write import report

from . import world

MISSING = ("shops", "CDIMF", 3)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark's folder."""
    path = world.write(tmp_path_factory.mktemp("reports") / "bench", missing=(MISSING,))
    world.write_transfer(path)
    return path


@pytest.fixture(scope="session")
def runs(folder: Path) -> Runs:
    """The benchmark as read."""
    return read(folder)


@pytest.fixture(scope="session")
def page(folder: Path) -> str:
    """The report as HTML."""
    report(folder, folder.parent / "report.html")
    return (folder.parent / "report.html").read_text()
