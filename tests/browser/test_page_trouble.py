"""The page of a served model when things go wrong: late answers, refusals, hostile titles, another model."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from browser.stand_in import HOSTILE, Routes, World
from browser.steps import (
    DOMAINS,
    Opened,
    domain_list,
    events,
    expect,
    expected,
    fits,
    like,
    listed,
    settled,
)


def test_a_late_answer_to_an_old_question_is_dropped(opened: Opened, shown: World) -> None:
    first, go_on = threading.Event(), threading.Event()

    def hold(path: str, given: dict[str, Any]) -> None:
        if len(given.get("events", ())) == 1:
            first.set()
            go_on.wait(30)

    shown.hold = hold
    page = settled(opened())
    domain_list(page, "music").get_by_role("button", name="La mer").click()
    while not first.is_set():
        page.wait_for_timeout(20)
    domain_list(page, "music").get_by_role("button", name="The Planets").click()
    settled(page)
    go_on.set()
    page.wait_for_timeout(300)
    assert listed(page, "books") == expected(shown, "books", events=events(shown, "La mer", "The Planets"))


def test_hostile_titles_are_only_text(opened: Opened, shown: World) -> None:
    shown.works = tuple(replace(work, title=f"{HOSTILE} {place}") for place, work in enumerate(shown.works))
    page = settled(opened(size=(360, 740)))
    page.locator(".pick").first.click()
    settled(page)
    page.fill("#search", "onerror")
    page.get_by_role("option").first.wait_for()
    assert HOSTILE in page.get_by_role("option").first.inner_text()
    page.keyboard.press("Escape")
    page.locator("button.reason").first.click()
    page.locator(".parts").wait_for()
    assert HOSTILE in listed(page, "books")[0]
    assert HOSTILE in page.locator(".parts").inner_text()
    assert page.locator("main img, main b").count() == 0
    assert page.title() == "landbridge"
    fits(page)


def test_a_failure_is_one_sentence_where_it_happens(opened: Opened, shown: World) -> None:
    page = settled(opened())
    shown.status = lambda path, given: 503 if given.get("domains") == ["books"] else 200
    page.locator(".pick").first.click()
    settled(page)
    said = domain_list(page, "books").locator(".error")
    assert said.inner_text().startswith("The planted server was told to fail.")
    assert page.locator(".error").count() == 1
    shown.status = lambda path, given: 422 if path == "/v1/explain" else 200
    said.get_by_role("button", name="Try again").click()
    settled(page)
    assert listed(page, "books") == expected(shown, "books", events=events(shown, "Twenty Thousand"))
    domain_list(page, "books").locator("button.reason").first.click()
    page.locator(".bars .error").wait_for()
    assert page.locator(".bars .error button").count() == 0  # asking again would be refused again
    shown.status = lambda path, given: 500
    page.fill("#search", "moon")
    page.locator("#search-note").get_by_text("told to fail").wait_for()


def test_what_all_lists_fail_with_is_said_once(opened: Opened, shown: World) -> None:
    page = settled(opened())
    shown.status = lambda path, given: 503
    page.locator(".pick").first.click()
    page.locator("#failed .error").wait_for()
    assert page.locator(".error:visible").count() == 1
    shown.status = lambda path, given: 200
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".error")).to_have_count(0)


def test_lists_stay_dimmed_while_the_server_is_gone_and_come_back(opened: Opened, shown: World) -> None:
    page = settled(opened())
    before = {domain: listed(page, domain) for domain in DOMAINS}
    shown.status = lambda path, given: 503
    page.locator(".pick").first.click()
    page.locator("#failed .error").wait_for()
    assert {domain: listed(page, domain) for domain in DOMAINS} == before
    rows = page.locator(".domain-list .rows")
    assert [row.is_visible() for row in rows.all()] == [True] * 3
    expect(rows.first).to_have_css("opacity", "0.45")
    shown.status = lambda path, given: 200
    expect(page.locator(".stale")).to_have_count(0)  # without a click
    assert listed(page, "books") == expected(shown, "books", events=events(shown, "Twenty Thousand"))
    assert page.locator(".error").count() == 0
    expect(rows.first).to_have_css("opacity", "1")


def test_a_list_that_fails_alone_keeps_its_rows(opened: Opened, shown: World) -> None:
    page = settled(opened())
    before = listed(page, "books")
    shown.status = lambda path, given: 503 if given.get("domains") == ["books"] else 200
    page.locator(".pick").first.click()
    domain_list(page, "books").locator(".error").wait_for()
    assert listed(page, "books") == before
    shown.status = lambda path, given: 200
    expect(page.locator(".stale")).to_have_count(0)


def test_rows_about_something_else_do_not_stay(opened: Opened, shown: World) -> None:
    """Recommendations under the heading of similar items would be wrong."""
    page = settled(opened())
    before = listed(page, "music")
    shown.status = lambda path, given: 503 if path == "/v1/similar" else 200
    domain_list(page, "films").get_by_role("button", name="Similar items").first.click()
    page.locator("#failed .error").wait_for()
    assert page.locator(".row").count() == 0
    assert page.get_by_role("button", name="Copy as curl").count() == 0
    page.get_by_role("button", name="Back to the lists").click()
    settled(page)
    assert listed(page, "music") == before
    assert page.locator(".error:visible").count() == 0


def test_a_page_that_finds_no_server_begins_when_there_is_one(opened: Opened, shown: World) -> None:
    shown.status = lambda path, given: 502
    page = opened()
    page.locator("#failed .error").wait_for()
    shown.status = lambda path, given: 200
    settled(page)
    assert page.locator(".error").count() == 0


def test_a_server_that_is_gone_and_comes_back(opened: Opened, shown: World) -> None:
    shown.status = lambda path, given: 502
    page = opened()
    page.locator("#failed .error").wait_for()
    shown.status = lambda path, given: 200
    page.get_by_role("button", name="Try again").click()
    settled(page)
    page.context.set_offline(True)
    page.locator(".pick").first.click()
    page.get_by_text("The server cannot be reached.").first.wait_for()
    page.context.set_offline(False)


def test_a_server_that_wants_a_key(opened: Opened, shown: World) -> None:
    shown.key = "sesame"
    page = opened()
    field = page.get_by_label("This server wants a key.")
    field.fill("wrong")
    page.keyboard.press("Enter")
    field.wait_for()
    field.fill("sesame")
    page.keyboard.press("Enter")
    settled(page)
    assert not field.is_visible()
    page.reload()
    assert listed(settled(page), "films")


@pytest.mark.parametrize("typed", ["ключ", "🔑", "a\u2028b", "sesame\u200b"])
def test_a_key_that_no_header_can_carry_is_refused_in_one_sentence(
    opened: Opened, shown: World, typed: str
) -> None:
    shown.key = "sesame"
    page = opened()
    field = page.get_by_label("This server wants a key.")
    field.fill(typed)
    page.keyboard.press("Enter")
    page.get_by_text("type it again").wait_for()
    assert field.is_visible()
    field.fill("sesame")
    page.keyboard.press("Enter")
    settled(page)
    assert not field.is_visible()


def test_what_the_tab_keeps_may_be_anything(opened: Opened) -> None:
    page = settled(opened())
    for kept in ("5", "{", "[[1]]", "null", '"x"', "[1]"):
        page.evaluate("kept => sessionStorage.setItem('landbridge-names', kept)", kept)
        page.evaluate("sessionStorage.setItem('landbridge-key', 'ключ')")
        page.reload()
        assert listed(settled(page), "films")


LONG = "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1963)"


@pytest.mark.parametrize("title", [LONG, "x" * 300, "\u202e" + LONG, "a\u0301" * 200], ids=range(4))
@pytest.mark.parametrize("width", [360, 1060, 1280, 1600])
def test_a_long_title_stays_in_its_column(opened: Opened, shown: World, width: int, title: str) -> None:
    shown.works = tuple(replace(work, title=f"{title} {place}") for place, work in enumerate(shown.works))
    page = settled(opened(size=(width, 900)))
    page.locator(".pick").first.click()
    settled(page)
    fits(page)
    across = """each => [...document.querySelectorAll(each)].map(e => e.getBoundingClientRect())
        .map(box => [box.left, box.right, box.height])"""
    for name in (".pick .title", ".liked-item"):
        assert all(0 <= left < right <= width for left, right, _ in page.evaluate(across, name))
    assert all(height < 50 for _, _, height in page.evaluate(across, ".pick .title"))  # two lines
    if width > 1056:  # two columns
        ((_, end, _),), ((begin, _, _),) = (page.evaluate(across, name) for name in ("#search", "#lists"))
        assert end < begin


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("text", ["x" * 300, "\u202eabc", "a b " * 100], ids=["one word", "turned", "words"])
def test_odd_users_and_catalogues_stay_in_their_place(
    opened: Opened, shown: World, width: int, text: str
) -> None:
    shown.works = tuple(
        replace(work, domain=text if work.domain == "music" else work.domain, title=f"{text} {work.title}")
        for work in shown.works
    )
    sizes = shown.about["domains"]
    shown.about["domains"] = {text if name == "music" else name: size for name, size in sizes.items()}
    page = settled(opened(f"#user={text}&like.films=f1", size=(width, 900)))
    fits(page)
    page.fill("#search", "moon")
    page.get_by_role("option").first.wait_for()
    fits(page)
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Model").click()
    page.locator("#model table").first.wait_for()
    fits(page)


def test_another_model_is_noticed(opened: Opened, shown: World) -> None:
    page = settled(opened())
    like(page, "Captain Blood")
    assert page.locator("#news").inner_text() == ""
    shown.model = "0123456789ab"
    shown.works = tuple(work for work in shown.works if work.title != "Treasure Island")
    like(page, "La mer")
    page.locator("#news").get_by_text("0123456789ab").wait_for()
    settled(page)
    assert "Treasure Island" not in listed(page, "books")
    assert "0123456789ab" in page.locator("#serving").inner_text()
    page.get_by_role("button", name="Dismiss").click()
    assert page.locator("#news").inner_text() == ""


def test_a_refused_model_is_reported(opened: Opened, shown: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"state": "0" * 12, "why": "Its scores are not finite.", "at": "2026-11-21T21:00:00+00:00"}
    ready = Routes.readyz
    monkeypatch.setattr(Routes, "readyz", lambda self, given: {**ready(self, given), "failed": failed})
    page = opened("#tab=health")
    page.get_by_text("Its scores are not finite.").wait_for()
