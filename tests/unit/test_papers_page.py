"""docs/papers.md: every file, test, setting and link that it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from landbridge.core.settings import schema
from landbridge.models import registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/papers.md"
FOLDERS = ("landbridge/", "tests/", "experiments/", "benchmarks/")


def quoted(text: str) -> list[str]:
    """What stands between back quotes."""
    return re.findall(r"`([^`]+)`", text)


def missing(text: str) -> Iterator[str]:
    """What a page names and the repository lacks."""
    for name in quoted(text):
        path, _, test = name.partition("::")
        method, _, setting = name.partition(".")
        if name.startswith(FOLDERS):
            if not (ROOT / path).exists() or (test and test not in functions(ROOT / path)):
                yield name
        elif method in registry.names() and setting and setting not in settings_of(method):
            yield name
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = PAGE.parent / path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            yield link


def functions(path: Path) -> set[str]:
    """Names of the test functions of a file."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def settings_of(method: str) -> set[str]:
    """Dotted names of a method's settings, and of the parts that hold them."""
    names = set(schema(registry.method(method)))
    return names | {name.rpartition(".")[0] for name in names}


def anchors(text: str) -> set[str]:
    """What the headings of a page can be linked by."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_everything_named_exists() -> None:
    assert list(missing(PAGE.read_text())) == []


def test_every_row_says_where_what_guards_it_and_what_came_out() -> None:
    for line in PAGE.read_text().splitlines():
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            assert len(cells) == 5, line
            assert all(cell.strip() for cell in cells), line


@pytest.mark.parametrize(
    "text",
    [
        "`landbridge/models/nothing.py`",
        "`tests/unit/test_papers_page.py::test_of_nothing`",
        "`uclr.contrast.nothing`",
        "[nothing](results/nothing.md)",
        "[theory](results/theory.md#nothing)",
    ],
)
def test_what_does_not_exist_is_noticed(text: str) -> None:
    assert len(list(missing(text))) == 1
