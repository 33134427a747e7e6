"""Pictures of the page of the demo's run, for the documentation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.steps import Opened, domain_list, fits, like, settled
from serving_process import serving

from landbridge import store

RUN = os.environ.get("LANDBRIDGE_RUN")  # what landbridge demo --serve leaves in the cache
SHOTS = os.environ.get("LANDBRIDGE_SCREENSHOTS")  # a folder in which pictures of the page are kept

pytestmark = pytest.mark.skipif(not (RUN and SHOTS), reason="no run or no folder for pictures is named")
FILMS = ("Blade Runner", "Shining, The", "Being John Malkovich", "Fargo")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the run with a table of its films' decades."""
    items = tmp_path_factory.mktemp("pictures") / "items.jsonl"
    history = store.load(str(RUN)).history
    with items.open("w") as table:
        for domain, titles in history.titles.items():
            for item, title in zip(history.items[domain].ids.tolist(), titles.tolist(), strict=True):
                row = {"domain": domain, "item": item, "decade": f"{title[-5:-2]}0s"}
                table.write(json.dumps(row) + "\n")
    with serving(Path(str(RUN)), "--items", items) as server:
        yield f"http://127.0.0.1:{server.port}/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "size"), [("desktop", (1440, 900)), ("phone", (360, 780))])
def test_pictures(opened: Opened, name: str, size: tuple[int, int], scheme: str) -> None:
    folder = Path(str(SHOTS))
    page = settled(opened(size=size, color_scheme=scheme))
    like(page, *FILMS)
    page.goto(page.url + "&where.decade=1980s&where.decade=1990s")
    page.reload()
    settled(page)
    domain_list(page, "Comedy" if name == "desktop" else "Drama").locator("button.reason").first.click()
    page.locator(".parts").wait_for()
    page.screenshot(path=folder / f"page-{name}-{scheme}.png", animations="disabled")
    fits(page)


def test_pictures_of_similar_items_and_of_the_model(opened: Opened) -> None:
    page = settled(opened(size=(1440, 900), color_scheme="light"))
    domain_list(page, "Sci-Fi").locator("button.alike").first.click()
    settled(page)
    page.screenshot(path=Path(str(SHOTS)) / "page-similar.png", animations="disabled")
    page.get_by_role("tab", name="Model").click()
    page.locator("#model table").first.wait_for()
    page.screenshot(path=Path(str(SHOTS)) / "page-model.png")
