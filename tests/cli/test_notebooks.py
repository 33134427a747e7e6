"""The notebooks: every cell runs in order, and what a cell ends with can be shown."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_dir

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
CELL = re.compile(r"^# %%( \[markdown\])?\n", re.M)


def cells(path: Path) -> list[str]:
    """The code cells of a source in percent format; text and the header are comments."""
    _, *parts = CELL.split(path.read_text())
    return [text for markdown, text in zip(parts[::2], parts[1::2], strict=True) if not markdown]


def run_cell(text: str, variables: dict[str, Any]) -> str:
    """Run a cell as Jupyter does: its last expression is shown, as HTML where it can be."""
    body = ast.parse(text).body
    ends = bool(body) and isinstance(body[-1], ast.Expr)
    exec(compile(ast.Module(body[: len(body) - ends], []), "cell", "exec"), variables)
    if not ends:
        return ""
    last: Any = body[-1]
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), variables)
    return str(value._repr_html_()) if hasattr(value, "_repr_html_") else repr(value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "movielens_study" and not (Path(user_cache_dir("landbridge")) / "movielens-1m").is_dir():
        pytest.skip("MovieLens-1M is not in the cache: `landbridge data get movielens-1m` fetches it")
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {"__name__": "__main__"}
    shown = [run_cell(cell, variables) for cell in cells(path)]
    assert len(shown) > 4
    assert any("<table" in each for each in shown)


def test_the_list_names_every_notebook() -> None:
    assert len(NOTEBOOKS) == 4
    listed = re.findall(r"\]\(([\w]+\.py)\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [path.name for path in NOTEBOOKS]
