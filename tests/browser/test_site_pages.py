"""The documentation in a browser: nothing serious for a screen reader, no page wider than a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser.steps import serious
from built_site import build

PAGES = (
    "index.html",
    "start.html",
    "tutorials/study.html",
    "data.html",
    "reference/api/methods.html",
    "architecture.html",
)
WIDTHS = (360, 1440)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_serious_fault_and_fit(browser: Any, site: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults = {}
    for name in PAGES:
        page = context.new_page()
        page.goto((site / name).as_uri())
        beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        faults[name] = serious(axe, page) + ([f"{beyond} pixels too wide"] if beyond > 0 else [])
        page.close()
    context.close()
    assert {name: found for name, found in faults.items() if found} == {}
