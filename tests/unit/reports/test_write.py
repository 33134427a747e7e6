"""Reports as files: complete, self-contained, repeatable, and never half written."""

from __future__ import annotations

import html
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from landbridge.cli.report import command
from landbridge.core.errors import MissingExtraError, SettingsError
from landbridge.core.files import atomic_write
from landbridge.reports.runs import Runs, read
from landbridge.reports.write import report

from . import world

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags are closed in order; keeps what is loaded, the ids and the addresses."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "srcset", "data", "action", "xlink:href"):
                (self.links if tag == "a" else self.loaded).append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_sound_and_loads_nothing(page: str) -> None:
    found = Page(page)
    assert found.loaded == []
    assert not found.tags & {"script", "link", "iframe", "object", "img"}
    assert not re.search(r"url\((?!#)|@import", page)
    assert len(set(found.ids)) == len(found.ids)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    light, dark = (page.count(f'class="{look}" role="img" aria-label=') for look in ("light", "dark"))
    assert light == dark > 20


def test_the_page_has_every_section_and_escapes_names(page: str) -> None:
    assert re.findall(r"<h2>(.+?)</h2>", page) == [
        "Summary",
        "At a glance",
        "Results on shops",
        "Results on a-b",
        "Quality against cost",
        "What the guard serves",
        "Training",
        "Who helps whom",
        "Data",
        "How to repeat it",
        "How to read this",
    ]
    assert "Food &amp; Drink" in page
    assert "Food & Drink" not in page
    assert "landbridge benchmark shops.toml --out runs/bench" in page
    assert html.escape(world.SPEC.rstrip()) in page  # letter by letter, to be copied
    assert "cells are missing" in page
    assert "CDIMF on shops, seed 3" in page
    assert "rank correlation of 0." in page


def test_the_same_folder_gives_the_same_bytes(folder: Path, page: str, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    report(moved, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_csv_is_every_figure(folder: Path, runs: Runs, tmp_path: Path) -> None:
    report(folder, tmp_path / "r.csv")
    table = pl.read_csv(tmp_path / "r.csv", schema_overrides={"segment": pl.String})
    assert len(table) == len(runs.results)
    assert table["mean"].equals(runs.results["mean"])


def test_markdown_and_latex_show_the_pictures_that_were_written(folder: Path, tmp_path: Path) -> None:
    report(folder, tmp_path / "text" / "r.md", pictures_in=tmp_path / "pics")
    text = (tmp_path / "text" / "r.md").read_text()
    linked = re.findall(r"\]\((\S+?)\)", text)
    assert len(linked) > 20
    assert all((tmp_path / "text" / link).is_file() for link in linked)
    written = {path.name for path in (tmp_path / "pics").iterdir()}
    assert written == {f"{Path(link).stem}{end}" for link in linked for end in (".svg", ".png")}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "pics").glob("*.png"))
    assert "**Not finished: 1 of 24 cells are missing** (CDIMF on shops, seed 3)" in text
    report(folder, tmp_path / "r.tex")
    latex = (tmp_path / "r.tex").read_text()
    assert latex.count(r"\begin{longtable}") == latex.count(r"\end{longtable}") > 10
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == latex.count(r"\begin{longtable}")
    assert "includegraphics" not in latex
    assert r"Food \& Drink" in latex


def test_text_and_csv_need_no_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("altair", "vl_convert", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    for end in ("md", "tex", "csv"):
        report(folder, tmp_path / f"r.{end}")
    with pytest.raises(MissingExtraError, match=r"pip install 'landbridge\[report\]'"):
        report(folder, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_an_unknown_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"format of a report '\.htm': did you mean '\.html'\?"):
        report(tmp_path / "nowhere", tmp_path / "r.htm")


def test_a_report_that_fails_leaves_the_old_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.md"
    out.write_text("old")

    def torn(path: Path) -> object:
        kept = atomic_write(path)

        class Torn:
            def __enter__(self) -> Path:
                temporary = kept.__enter__()
                temporary.write_bytes(b"half")
                raise KeyboardInterrupt

            def __exit__(self, *about: object) -> None:
                raise AssertionError("not reached")

        return Torn()

    monkeypatch.setattr("landbridge.reports.write.atomic_write", torn)
    with pytest.raises(KeyboardInterrupt):
        report(folder, out)
    assert out.read_text() == "old"


def test_a_benchmark_without_extras_still_makes_a_report(folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "transfer.csv").unlink()
    for path in bare.glob("cells/*/*guarded*/*/cell.json"):
        path.unlink()
    for path in bare.glob("cells/*/*/*/log.json"):
        path.write_text("[]")
    found = read(bare)
    assert len(found.missing) == 7
    report(bare, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    for title in ("What the guard serves", "Training", "Who helps whom"):
        assert f"## {title}" not in text


def test_the_command_writes_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(folder, tmp_path / "r.md")
    assert (tmp_path / "r.md").exists()
    assert str(tmp_path / "r.md") in capsys.readouterr().err
