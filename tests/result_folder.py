"""Results and unfinished work of experiments in a folder of a test."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from experiments import by_seed, common, rows


def kept_in(folder: Path, monkeypatch: pytest.MonkeyPatch, page: str, *experiments: ModuleType) -> Path:
    """Experiments write to ``folder/pages`` and ``folder/cells``; ``page``: whose rows are kept there."""
    for part in ("choices", f"rows/{page}"):
        (folder / "pages" / part).mkdir(parents=True)
    for module in (common, rows, by_seed, *experiments):
        for name in ("PAGES", "CELLS"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, folder / name.lower())
    return folder
