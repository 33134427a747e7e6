"""Steps of a user on the page of a served model, and what the page shows afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browser.stand_in import Routes, World

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
DOMAINS = ("films", "books", "music")
SEA = ("Captain Blood", "The Sea Hawk", "Battleship Potemkin")

Opened = Callable[..., Any]


def settled(page: Any) -> Any:
    """The page once every list has arrived."""
    expect(page.locator(".domain-list")).not_to_have_count(0)
    expect(page.locator(".domain-list[aria-busy]")).to_have_count(0)
    return page


def like(page: Any, *titles: str) -> None:
    """Find titles and choose the first that is found."""
    for title in titles:
        before = page.locator(".liked-item").count()
        page.fill("#search", title)
        page.get_by_role("option").first.click()
        expect(page.locator(".liked-item")).to_have_count(before + 1)
    settled(page)


def liked_titles(page: Any) -> list[str]:
    return page.locator(".liked-item .name").evaluate_all(
        "all => all.map(each => each.firstChild.textContent)"
    )


def listed(page: Any, domain: str) -> list[str]:
    """The titles of a catalogue's list."""
    return domain_list(page, domain).locator(".pick").evaluate_all("all => all.map(each => each.title)")


def domain_list(page: Any, domain: str) -> Any:
    return page.get_by_role("region", name=domain, exact=True)


def expected(shown: World, domain: str, k: int = 8, **given: Any) -> list[str]:
    """What the planted server lists."""
    answer = Routes(shown).recommend({"domains": [domain], "k": k, **given})
    return [item["title"] for item in answer["items"]]


def events(shown: World, *titles: str) -> list[dict[str, Any]]:
    found = [next(work for work in shown.works if work.title.startswith(title)) for title in titles]
    return [{"domain": work.domain, "item": work.item} for work in found]


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.innerText")


def fits(page: Any) -> None:
    """Nothing reaches beyond the window but inside boxes that scroll."""
    across = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, wide = page.evaluate(across)
    assert scrolled <= wide
    beyond = """(() => {
        const hides = each => getComputedStyle(each).overflowX !== 'visible';
        const cut = each => each && (hides(each) || cut(each.parentElement));
        return [...document.querySelectorAll('main *, header *')].filter(each =>
            !cut(each.parentElement) && each.getBoundingClientRect().right > innerWidth + 1
        ).map(each => each.className + ' ' + each.textContent.slice(0, 40));
    })()"""
    assert page.evaluate(beyond) == []


def serious(axe: Any, page: Any) -> list[str]:
    # a list that fades in is pale
    page.evaluate("() => Promise.all(document.getAnimations().map(each => each.finished)).then(() => null)")
    found = axe.run(page).response["violations"]
    return [
        f"{each['id']}: {node['html']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def cells(page: Any, name: str) -> list[str]:
    """What the row of a catalogue says."""
    row = page.get_by_role("table", name="What it serves").get_by_role("row", name=name)
    row.wait_for()
    return row.get_by_role("cell").all_inner_texts()
