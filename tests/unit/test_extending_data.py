"""docs/extending/reader.md and dataset.md, executed: what they add works and passes their own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pages import code_blocks

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.io import formats
from landbridge.datasets import catalog

PAGES = Path(__file__).parents[2] / "docs" / "extending"


def executed(page: str) -> dict[str, Any]:
    """The names that the page's code defines."""
    names: dict[str, Any] = {"__name__": page}
    for block in code_blocks(PAGES / page):
        exec(compile(block, page, "exec", dont_inherit=True), names)
    return names


def test_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))
    with pytest.raises(DataError, match="file extension"):
        formats.format_of(".feather", tmp_path)
    names = executed("reader.md")
    for number, test in enumerate(("test_feather_files_are_read", "test_the_error_names_the_file")):
        folder = tmp_path / str(number)
        folder.mkdir()
        names[test](folder)


def test_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_ENTRIES", dict(catalog._ENTRIES))
    assert "corner-shops" not in catalog.names()
    names = executed("dataset.md")
    assert "corner-shops" in catalog.names()
    names["test_both_shops_are_read"](tmp_path, monkeypatch)


def test_a_data_set_needs_a_place() -> None:
    with pytest.raises(SettingsError, match="needs a folder or a function"):
        catalog.register("nowhere", catalog.Info("t", "l", "s", "x", 1))
