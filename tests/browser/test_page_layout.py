"""The page of a served model: keyboard, screen reader, any width, light and dark theme."""

from __future__ import annotations

import threading

import pytest
from browser.stand_in import World
from browser.steps import Opened, domain_list, expect, fits, focused, like, liked_titles, serious, settled


def test_tabs_with_the_keyboard(opened: Opened) -> None:
    page = settled(opened())
    page.get_by_role("tab", name="Try it").focus()
    for key, name in (
        ("ArrowRight", "Model"),
        ("ArrowRight", "Health"),
        ("ArrowRight", "Try it"),
        ("ArrowLeft", "Health"),
        ("Home", "Try it"),
        ("End", "Health"),
    ):
        page.keyboard.press(key)
        assert focused(page) == name
        assert page.get_by_role("tab", selected=True).all_inner_texts() == [name]
        assert page.get_by_role("tabpanel").count() == 1
        reached = "[...document.querySelectorAll('[role=tab]')].filter(e => e.tabIndex === 0)"
        assert page.evaluate(f"{reached}.map(each => each.innerText)") == [name]  # by the Tab key
    assert "tab=health" in page.url
    page.reload()
    assert page.get_by_role("tabpanel", name="Health").is_visible()
    assert settled(opened("#tab=nonsense")).get_by_role("tabpanel", name="Try it").is_visible()


def test_everything_can_be_done_with_the_keyboard(opened: Opened, shown: World) -> None:
    page = settled(opened())
    page.focus("#search")
    page.keyboard.type("sea hawk")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    active = page.get_attribute("#search", "aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    assert liked_titles(page) == ["The Sea Hawk (1924)"]
    page.keyboard.type("zzz")
    page.get_by_text("No title has these words.").first.wait_for()
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    page.keyboard.press("ArrowDown")  # an empty field offers popular things
    page.get_by_role("option").first.wait_for()
    assert page.get_by_role("option").count() >= 5
    page.keyboard.press("Escape")
    assert page.get_by_role("option").count() == 0
    first = domain_list(page, "books").locator(".pick").first
    first.focus()
    page.keyboard.press("Enter")
    settled(page)
    assert len(liked_titles(page)) == 2
    lists = "[...document.querySelectorAll('.domain-list')]"
    place = f"{lists}[1].querySelector('.pick') === document.activeElement"
    assert page.evaluate(place)  # the list was replaced, the focus stayed


def test_skipping_to_the_lists_keeps_the_user(opened: Opened) -> None:
    page = settled(opened("#like.films=f5&like.books=9007199254740993"))
    for key in ("Tab", "Enter", "Tab"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.closest('#lists') !== null")
    assert len(liked_titles(page)) == 2


def test_changes_are_announced_to_screen_readers(opened: Opened) -> None:
    page = settled(opened())
    like(page, "Captain Blood")
    page.get_by_text("The lists of 3 catalogues have changed.").wait_for(state="attached")
    assert page.locator("#said").get_attribute("role") == "status"


def test_light_and_dark(opened: Opened) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(15, 20, 25)"
    assert opened(color_scheme="dark").evaluate(ground) == dark
    page = settled(opened(color_scheme="light"))
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("tab", ["try", "model", "health"])
@pytest.mark.parametrize("width", [360, 820, 1600])
def test_it_fits(opened: Opened, width: int, tab: str) -> None:
    liked = "".join(f"&like.films=f{place}" for place in (0, 5, 7, 17))
    page = opened(f"#tab={tab}{liked}", size=(width, 800))
    if tab == "try":
        settled(page).locator("button.reason").first.click()
    else:
        page.locator(f"#{tab} table").first.wait_for()
    fits(page)


@pytest.mark.parametrize("size", [(360, 640), (390, 664), (412, 732)])
@pytest.mark.parametrize("liked", [(), (0, 5, 7, 17)], ids=["none", "four"])
def test_the_first_recommendation_is_on_the_first_screen_of_a_phone(
    opened: Opened, size: tuple[int, int], liked: tuple[int, ...]
) -> None:
    page = settled(opened("#" + "&".join(f"like.films=f{place}" for place in liked), size=size))
    row = page.locator(".row").first.bounding_box()
    assert row["y"] + row["height"] <= size[1]
    fits(page)


def test_nothing_jumps(opened: Opened, shown: World) -> None:
    """Lists keep their places while they load and when they change."""
    go_on = threading.Event()
    shown.hold = lambda path, given: path == "/v1/popular" and go_on.wait(30)
    page = opened()
    page.locator(".skeleton").first.wait_for()
    places = "[...document.querySelectorAll('.domain-list, .row')].map(e => e.getBoundingClientRect().top)"
    waiting = page.evaluate(places)
    assert page.evaluate(places + ".length") == 3 * 9
    go_on.set()
    settled(page)
    assert page.evaluate(places) == waiting
    like(page, "Captain Blood")
    assert page.evaluate(places) == waiting
    shift = """new Promise(done => new PerformanceObserver(list =>
        done(list.getEntries().filter(e => !e.hadRecentInput).reduce((sum, e) => sum + e.value, 0))
    ).observe({type: 'layout-shift', buffered: true}) || setTimeout(() => done(0), 300))"""
    assert page.evaluate(shift) < 0.02


def test_reduced_motion_is_respected(opened: Opened, shown: World) -> None:
    go_on = threading.Event()
    shown.hold = lambda path, given: path == "/v1/popular" and go_on.wait(30)
    moving = {}
    for motion in ("reduce", "no-preference"):
        page = opened(reduced_motion=motion)
        page.locator(".skeleton").first.wait_for()
        moving[motion] = page.evaluate("document.getAnimations().length")
    go_on.set()
    assert moving["reduce"] == 0
    assert moving["no-preference"] > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_axe_finds_nothing_serious(opened: Opened, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = settled(opened("#user=ada&like.books=9007199254740997", size=(width, 900), color_scheme=scheme))
    page.locator("button.reason").first.click()
    page.locator(".parts").wait_for()
    assert serious(axe, page) == []
    page.fill("#search", "the")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    assert serious(axe, page) == []
    for tab in ("Model", "Health"):
        page.get_by_role("tab", name=tab).click()
        page.locator("table:visible").first.wait_for()
        assert serious(axe, page) == []
