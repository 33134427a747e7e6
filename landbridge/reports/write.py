"""From a benchmark's folder to a report in the format that the file's name asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.files import atomic_write
from landbridge.reports import html, pictures, runs, text
from landbridge.reports.document import Document, document
from landbridge.reports.looks import LIGHT
from landbridge.reports.values import tidy_table

FORMATS = (".html", ".md", ".tex", ".csv")


def report(folder: str | Path, out: str | Path, *, pictures_in: str | Path | None = None) -> None:
    """Report on the benchmark in ``folder``: .html (one file), .md, .tex, or .csv (one row per value).

    ``pictures_in``: a folder for every picture as SVG and PNG; Markdown and LaTeX then show them.
    Raises SettingsError for another suffix, StoreError where there is no sound benchmark, and
    MissingExtraError where pictures or HTML are wanted without the extra ``report``.
    """
    out = Path(out)
    if out.suffix not in FORMATS:
        raise SettingsError(unknown("format of a report", out.suffix, FORMATS))
    result = runs.read(Path(folder))
    made = document(result)
    if pictures_in is not None:
        _write_pictures(made, Path(pictures_in))
    seen = (
        None
        if pictures_in is None
        else PurePosixPath(os.path.relpath(pictures_in, out.parent).replace("\\", "/"))
    )
    writers: dict[str, Callable[[], str]] = {
        ".html": lambda: html.page(made),
        ".md": lambda: text.as_markdown_text(made, seen),
        ".tex": lambda: text.as_latex_text(made, seen),
        ".csv": lambda: tidy_table(result).write_csv(),
    }
    _write(out, writers[out.suffix]().encode())


def _write_pictures(made: Document, folder: Path) -> None:
    for picture in made.pictures:
        _write(folder / f"{picture.name}.svg", pictures.svg(picture, LIGHT).encode())
        _write(folder / f"{picture.name}.png", pictures.png(picture))


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
