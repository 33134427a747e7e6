"""The report in a real browser: nothing fails, everything is seen, and it fits a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.reports import world

from landbridge.reports.write import report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENS = {"desktop": (1280, 900), "phone": (390, 844), "small": (360, 740)}
SHOTS = os.environ.get("LANDBRIDGE_SCREENSHOTS")  # a folder in which pictures of the page are kept
GIVEN = os.environ.get("LANDBRIDGE_REPORT")  # a report to look at instead of that of a small world

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if GIVEN:
        return Path(GIVEN).absolute()
    folder = tmp_path_factory.mktemp("browser")
    world.write(folder / "bench", missing=(("shops", "CDIMF", 3),))
    world.write_transfer(folder / "bench")
    report(folder / "bench", folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_the_report_in_a_browser(browser: Any, page_file: Path, screen: str, scheme: str) -> None:
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(request.url))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"report-{screen}-{scheme}.png")
    fits(page)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    fits(page)
    seen(page, scheme)
    if SHOTS:
        page.query_selector("figure").screenshot(path=Path(SHOTS) / f"picture-{screen}-{scheme}.png")
    assert said == []
    assert asked == [page_file.as_uri()]
    page.close()


def fits(page: Any) -> None:
    """Nothing reaches beyond the page but inside boxes that scroll."""
    across = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, shown = page.evaluate(across)
    assert scrolled <= shown
    wide = """[...document.querySelectorAll('main *, header *, nav *')].filter(each =>
        !each.closest('.scroll, pre, svg') && each.getBoundingClientRect().right > innerWidth + 1
    ).map(each => each.tagName + ' ' + each.textContent.slice(0, 40))"""
    assert page.evaluate(wide) == []


def seen(page: Any, scheme: str) -> None:
    """Of every picture the look that suits the page is shown, at a size, with words for it."""
    figures = page.query_selector_all("figure")
    assert len(figures) > 20
    for figure in figures:
        shown = [each for each in figure.query_selector_all("svg") if each.is_visible()]
        assert [each.get_attribute("class") for each in shown] == [scheme]
        box = shown[0].bounding_box()
        assert box["width"] > 100
        assert box["height"] > 60
        assert len(shown[0].get_attribute("aria-label")) > 30


def test_every_entry_of_the_contents_leads_to_its_section(browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.goto(page_file.as_uri())
    for link in page.query_selector_all("nav a"):
        link.click()
        target = page.query_selector(link.get_attribute("href"))
        assert target.query_selector("h2").inner_text() == link.inner_text()
        assert target.bounding_box()["y"] < 900
    page.close()


def test_text_stands_out_from_its_ground(browser: Any, page_file: Path) -> None:
    """Every text reaches WCAG's 4.5 : 1 in both schemes."""
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(page_file.as_uri())
        assert page.evaluate(CONTRAST) >= 4.5
        page.close()


CONTRAST = """() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => parts(colour).slice(0, 3).map(p => p / 255)
    .map(p => p <= .04045 ? p / 12.92 : ((p + .055) / 1.055) ** 2.4)
    .reduce((sum, p, place) => sum + p * [.2126, .7152, .0722][place], 0);
  const ground = each => {
    for (; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  let least = 21;
  const texts = 'p, a, td, th, small, dt, dd, h1, h2, h3, caption, .mark, pre, b';
  for (const each of document.querySelectorAll(texts)) {
    const pair = [light(getComputedStyle(each).color), light(ground(each))].sort((a, b) => b - a);
    least = Math.min(least, (pair[0] + .05) / (pair[1] + .05));
  }
  return least;
}"""


def test_it_prints_in_light_with_everything_unfolded(browser: Any, page_file: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(page_file.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    first = page.query_selector("figure")
    assert [each.is_visible() for each in first.query_selector_all("svg")] == [True, False]
    assert page.query_selector("details table").bounding_box()["height"] > 0
    page.close()
