"""A planted server and a browser before its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser.stand_in import World, served, world

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 30_000  # milliseconds
REFUSED = "Failed to load resource"  # what the browser itself says of a status that is no success


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the path")
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def shown() -> World:
    return world()


@pytest.fixture
def address(shown: World) -> Iterator[str]:
    with served(shown) as where:
        yield where


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page, in a browser of its own; at the end none may have complained or asked elsewhere."""
    contexts, said, asked = [], [], []

    def open_page(hash_: str = "", size: tuple[int, int] = (1280, 900), **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + hash_)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in said if REFUSED not in text] == []
    assert [url for url in asked if not url.startswith(address)] == []
