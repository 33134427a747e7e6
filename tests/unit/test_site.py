"""The documentation as a site: every link leads somewhere, nothing is fetched, every public name is on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from built_site import build

import landbridge as lb

ROOT = Path(__file__).parents[2]
LOADED = {"img": "src", "link": "href", "script": "src", "source": "src"}  # what a browser fetches by itself


class Page(HTMLParser):
    """The links, the fetched addresses and the ids of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (key := LOADED.get(tag)) and key in given and given.get("rel") != "canonical":
            self.loaded.append(given[key])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_link_leads_to_a_page_and_a_place_on_it(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if (
                parts.scheme or path.name == "404.html"
            ):  # that page is for any address: its links are absolute
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            missing = anchor and found in pages and anchor not in pages[found].ids
            if not found.exists() or (missing and not anchor.startswith("__")):
                broken.append((str(path.relative_to(site)), link))
    assert len(pages) > 50
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    elsewhere = {each for page in pages.values() for each in page.loaded if urlsplit(each).scheme == "https"}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert elsewhere == set()
    assert re.findall(r"url\(['\"]?(https?:[^)]*)", styles) == []
    diagrams = (site / "architecture.html").read_text()
    assert "mermaid.tiny.js" in diagrams  # else the theme would fetch its own
    assert (site / "search" / "search_index.js").exists()  # the search of a site that is opened from disk


def test_every_verb_and_route_is_described(site: Path, pages: dict[Path, Page]) -> None:
    reference = site / "reference"
    assert {"landbridge-fit", "landbridge-data-check"} <= pages[reference / "cli.html"].ids
    assert {"post-v1recommend", "recommendanswer"} <= pages[reference / "http.html"].ids


def test_every_public_name_is_on_one_page_of_the_reference() -> None:
    pages = (ROOT / "docs" / "reference" / "api").glob("*.md")
    named = [
        name for page in pages for name in re.findall(r"^::: landbridge\.(\w+)$", page.read_text(), re.M)
    ]
    assert sorted(named) == sorted(lb.__all__)


def test_pages_that_list_a_folder_name_all_its_pages() -> None:
    for folder in ("decisions", "extending", "howto"):
        pages = {path.name for path in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
        listed = (ROOT / "docs" / folder / "README.md").read_text()
        assert {name for name in pages if f"]({name})" not in listed} == set()
