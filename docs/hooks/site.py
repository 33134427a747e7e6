"""What the site has beside its pages: folders of the navigation, and pages that are made from the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli_page import cli_page
from http_page import http_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every folder of the navigation becomes the list of its pages, its README first."""
    config.nav = [_with_pages(entry, Path(config.docs_dir)) for entry in config.nav or ()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that are made from the program itself, so that they cannot be out of date."""
    for name, text in (
        ("reference/cli.md", cli_page()),
        ("reference/http.md", http_page()),
        ("changelog.md", (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")),
    ):
        files.append(File.generated(config, name, content=text))
    return files


def on_post_page(output: str, **_: Any) -> str:
    """The theme's search dialog has no name that a screen reader could say."""
    return output.replace(
        'data-md-component="search" role="dialog"',
        'data-md-component="search" role="dialog" aria-label="Search"',
    )


def _with_pages(entry: Any, docs: Path) -> Any:
    """An entry of the navigation: a path, or {title: path or entries}."""
    if not isinstance(entry, dict):
        return entry
    return {title: _pages_of(value, docs) for title, value in entry.items()}


def _pages_of(value: Any, docs: Path) -> Any:
    if isinstance(value, str):
        return _pages(value, docs) if value.endswith("/") else value
    flat: list[Any] = []
    for each in value:
        is_folder = isinstance(each, str) and each.endswith("/")
        flat.extend(_pages(each, docs) if is_folder else [_with_pages(each, docs)])
    return flat


def _pages(folder: str, docs: Path) -> list[str]:
    names = [str(path.relative_to(docs)) for path in sorted((docs / folder).glob("*.md"))]
    return sorted(names, key=lambda name: not name.endswith("README.md"))
