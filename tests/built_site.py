"""The documentation built as a site, for the tests that read it and those that look at it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(folder: Path) -> Path:
    """``folder`` with the site in it; the test is skipped where the extra docs is not installed."""
    if not all(map(find_spec, ("mkdocs", "material", "mkdocstrings_handlers", "fastapi"))):
        pytest.skip("the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder
