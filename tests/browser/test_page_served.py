"""The page of a real server: filters, similar items, commands to copy, reasons, a server that is gone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser.real_shop import ODD_IDS, items_table, save_shop
from browser.steps import (
    Opened,
    domain_list,
    expect,
    fits,
    focused,
    like,
    liked_titles,
    listed,
    serious,
    settled,
)
from serving_process import Server, serving

from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.linear.ease import EASE
from landbridge.models.mixture import Mixture

KEY = "a very secret key"
DOMAINS = ("films", "books")
SHARED = IALS(factors=8, epochs=4, sharing="joined")
METHODS: dict[str, Method] = {
    "factors": SHARED,
    "item-item": EASE(sharing="joined"),
    "blend": Mixture(
        {
            "popularity": {"method": "popularity", "settings": {}},
            "ease": {"method": "ease", "settings": {"sharing": "joined"}},
            "ials": {"method": "ials", "settings": {"factors": 8, "epochs": 4, "sharing": "joined"}},
        }
    ),
    "approximated": Mixture(
        {
            "popularity": {"method": "popularity", "settings": {}},
            "bprmf": {"method": "bprmf", "settings": {"factors": 4, "epochs": 2}},
        }
    ),
}
SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return save_shop(folder / "run", SHARED)


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with serving(run, "--items", items_table(run.parent / "items.jsonl")) as server:
        yield server


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Of a real server instead of the planted one: that with a table, or the one that a test names."""
    server = request.getfixturevalue(getattr(request, "param", "server"))
    return f"http://127.0.0.1:{server.port}/"


def ids(server: Server, path: str, body: Any) -> list[str]:
    """What the API lists, by titles or, without one, by ids, as the page does."""
    return [item["title"] or str(item["item"]) for item in server.post(path, body).json["items"]]


def add_filter(page: Any, column: str, typed: str, option: str) -> None:
    """With the keyboard, from the button on."""
    if not page.locator("#filter-form").is_visible():
        page.get_by_role("button", name="Filter", exact=True).press("Enter")
    page.get_by_label("Column", exact=True).select_option(column)
    page.get_by_label("Value", exact=True).fill(typed)
    page.locator("#filter-values").get_by_role("option", name=option).first.wait_for()
    before = page.locator(".chip").count()
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(before + 1)
    settled(page)


def chips(page: Any) -> list[str]:
    return page.locator("#filter-chips .name").all_inner_texts()


def test_filters_hold_for_every_list_and_can_be_shared(opened: Opened, server: Server) -> None:
    page = settled(opened())
    like(page, "Film 20 of")
    add_filter(page, "genre", "se", "sea")
    assert chips(page) == ["genre: sea"]
    event = {"domain": "films", "item": film(server, "Film 20 of")}
    for domain in DOMAINS:
        body = {"domains": [domain], "events": [event], "k": 8}
        assert listed(page, domain) == ids(server, "/v1/recommend", body | {"where": {"genre": "sea"}})
        assert listed(page, domain) != ids(server, "/v1/recommend", body)
    add_filter(page, "genre", "spa", "space")
    add_filter(page, "year", "1921", "1921")
    where = {"genre": ["sea", "space"], "year": 1921}
    body = {"domains": ["films"], "events": [event], "k": 8, "where": where}
    assert listed(page, "films") == ids(server, "/v1/recommend", body)
    assert len(listed(page, "films")) == 1
    other = settled(opened("#" + page.url.partition("#")[2]))
    assert chips(other) == chips(page) == ["genre: sea", "genre: space", "year: 1921"]
    assert listed(other, "films") == listed(page, "films")
    assert liked_titles(other) == liked_titles(page)  # by its title, although no list names it


def film(server: Server, words: str) -> Any:
    (found,) = server.get(f"/v1/search?k=1&q={words.replace(' ', '%20')}").json["items"]
    return found["item"]


def test_a_filter_finds_what_has_no_value_and_is_removed_with_the_keyboard(
    opened: Opened, server: Server
) -> None:
    page = settled(opened())
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("Column", exact=True).select_option("language")
    page.get_by_role("option", name="no value").click()
    settled(page)
    assert chips(page) == ["language: no value"]
    assert "where.language=" in page.url
    assert listed(page, "films") == ids(
        server, "/v1/recommend", {"domains": ["films"], "k": 8, "where": {"language": None}}
    )
    page.keyboard.press("Escape")
    assert focused(page) == "Filter"
    assert not page.locator("#filter-form").is_visible()
    page.keyboard.press("Tab")
    assert focused(page) == "Remove the filter language: no value"
    page.keyboard.press("Enter")
    assert focused(page) == "Filter"
    settled(page)
    assert chips(page) == []
    assert page.url.endswith("/")
    page.go_back()
    settled(page)
    assert chips(page) == ["language: no value"]


def test_where_nothing_passes_the_list_says_so(opened: Opened) -> None:
    page = settled(opened("#where.genre=sea&where.year=1901"))
    for domain in DOMAINS:
        assert domain_list(page, domain).locator(".rows").inner_text() == "Nothing here passes the filter."
    assert page.locator(".error:visible").count() == 0
    page.get_by_role("button", name="Remove the filter year: 1901").click()
    settled(page)
    assert len(listed(page, "films")) == 8
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("Value", exact=True).fill("opera")
    page.get_by_text("No item has such a value.").first.wait_for()


def test_a_rule_filters_every_list_alone_and_beside_chosen_values(opened: Opened, server: Server) -> None:
    page = settled(opened("#like.films=it%27s"))
    events = [{"domain": "films", "item": "it's"}]
    page.get_by_role("button", name="Filter", exact=True).click()
    rule = page.get_by_label("Or a rule")
    rule.fill("year < 1912 and not genre = crime")
    rule.press("Enter")
    expect(page.locator(".chip")).to_have_count(1)
    settled(page)
    assert chips(page) == ["year < 1912 and not genre = crime"]
    for domain in DOMAINS:
        body = {"domains": [domain], "events": events, "k": 8, "where": "year < 1912 and genre != crime"}
        assert listed(page, domain) == ids(server, "/v1/recommend", body)
    add_filter(page, "language", "it", "it's $HOME")
    add_filter(page, "language", "", "no value")
    add_filter(page, "genre", "sea", "sea")
    body = {"domains": ["books"], "events": events, "k": 8}
    assert listed(page, "books") == ids(server, "/v1/recommend", body | {"allow": {"books": [0, 3]}})
    other = settled(opened("#" + page.url.partition("#")[2]))
    assert sorted(chips(other)) == sorted(chips(page))
    assert listed(other, "books") == listed(page, "books")
    page.get_by_role("button", name="Remove the filter year < 1912 and not genre = crime").click()
    settled(page)
    where = {"genre": "sea", "language": ["it's $HOME", None]}
    assert listed(page, "books") == ids(server, "/v1/recommend", body | {"where": where})
    assert page.get_by_label("Or a rule").input_value() == ""


def test_what_is_wrong_with_a_rule_is_one_sentence_with_its_place(opened: Opened) -> None:
    page = opened("#where=year+%3C")
    page.locator("#failed").get_by_text("At character 7 of the rule 'year <'").wait_for()
    assert page.locator(".error:visible").count() == 1
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("Or a rule").fill("year < 1905")
    page.get_by_role("button", name="Apply").click()
    settled(page)
    assert page.locator(".error:visible").count() == 0
    assert chips(page) == ["year < 1905"]


def test_odd_addresses_of_filters(opened: Opened) -> None:
    page = opened("#where.colour=red&where.=x&where.genre=sea")
    page.locator("#failed").get_by_text("Unknown column of the items' table 'colour'").wait_for()
    page.get_by_role("button", name="Remove the filter colour: red").click()
    settled(page)
    assert chips(page) == ["genre: sea"]
    assert page.locator(".error:visible").count() == 0


@pytest.fixture(scope="module")
def plain(run: Path) -> Iterator[Server]:
    with serving(run) as server:
        yield server


@pytest.mark.parametrize("address", ["plain"], indirect=True)
def test_without_a_table_no_filter_is_offered(opened: Opened) -> None:
    page = settled(opened())
    assert not page.locator("#filter, #filter-form, #filter-chips").filter(visible=True).count()


@pytest.mark.parametrize("address", ["plain"], indirect=True)
def test_without_a_table_a_filter_of_the_address_can_be_removed(opened: Opened) -> None:
    page = opened("#where.genre=sea")
    page.locator("#failed").get_by_text("served without a table of its items").wait_for()
    page.get_by_role("button", name="Remove the filter genre: sea").click()
    settled(page)
    assert len(listed(page, "films")) == 8


def test_similar_items_in_every_catalogue_and_the_way_back(opened: Opened, server: Server) -> None:
    page = settled(opened())
    like(page, "Film 20 of")
    before = {domain: listed(page, domain) for domain in DOMAINS}
    row = domain_list(page, "books").locator(".row").nth(2)
    title = row.locator(".pick").get_attribute("title")
    row.get_by_role("button", name="Similar items").press("Enter")
    settled(page)
    assert page.locator("#answers-title").inner_text() == f"Similar to {title}"
    assert focused(page) == f"Similar to {title}"
    item = server.post(
        "/v1/recommend",
        {"domains": ["books"], "events": [{"domain": "films", "item": film(server, "Film 20 of")}], "k": 3},
    ).json["items"][2]["item"]
    for domain in DOMAINS:
        body = {"domain": "books", "item": item, "to": domain, "k": 8}
        assert listed(page, domain) == ids(server, "/v1/similar", body)
    assert title not in listed(page, "books")
    other = settled(opened("#" + page.url.partition("#")[2]))
    expect(other.locator("#answers-title")).to_have_text(f"Similar to {title}")
    page.get_by_role("button", name="Back to the lists").click()
    settled(page)
    assert {domain: listed(page, domain) for domain in DOMAINS} == before
    expect(page.locator("#answers-title")).to_have_text("For you")
    where = "document.activeElement.closest('.row').querySelector('.pick').title"
    assert (focused(page), page.evaluate(where)) == ("Similar items", title)  # the focus is back on the row
    page.go_back()
    settled(page)
    expect(page.locator("#answers-title")).to_have_text(f"Similar to {title}")


def test_similar_items_follow_the_filters_and_can_be_chosen(opened: Opened, server: Server) -> None:
    page = settled(opened("#similar.books=20&where.language=en"))
    body = {"domain": "books", "item": 20, "to": "films", "k": 8, "where": {"language": "en"}}
    assert listed(page, "films") == ids(server, "/v1/similar", body)
    chosen = domain_list(page, "films").locator(".pick").first
    title = chosen.get_attribute("title")
    chosen.click()
    expect(page.locator(".liked-item")).to_have_count(1)
    settled(page)
    domain_list(page, "films").get_by_role("button", name=f"Remove {title}").click()
    expect(page.locator(".liked-item")).to_have_count(0)


def test_an_item_that_is_not_there_has_no_similar_ones(opened: Opened) -> None:
    page = opened("#similar.books=no%20such")
    page.locator("#failed").get_by_text("has no item 'no such'").wait_for()
    assert page.locator(".row").count() == 0
    page.get_by_role("button", name="Back to the lists").click()
    settled(page)
    assert len(listed(page, "books")) == 8


ODD_LIKES = "&".join(f"like.films={name}" for name in map(quote, ODD_IDS))
VIEWS = {
    "popular": "",
    "likes": f"#{ODD_LIKES}",
    "user": "#user=u07&like.films=it%27s",
    "filters": "#like.films=it%27s&where.language=it%27s%20%24HOME&where.genre=sea&where.genre=space",
    "no value": "#where.language=",
    "rule": "#where=year+%3C+1950+and+language+!%3D+%27it%5C%27s+%24HOME%27",
    "rule and values": "#like.books=20&where.language=it%27s%20%24HOME&where=not+genre+%3D+sea",
    "similar": "#similar.films=%24HOME%20%24(date)%20%24%7BPATH%7D",
    "similar to lines": "#similar.films=two%0Alines&where.genre=sea",
}


def copied(page: Any, domain: str) -> str:
    page.evaluate("navigator.clipboard.writeText('')")
    domain_list(page, domain).get_by_role("button", name="Copy as curl").click()
    domain_list(page, domain).get_by_text("Copied").wait_for()
    return str(page.evaluate("navigator.clipboard.readText()"))


def shell(command: str, name: str = "sh", **environment: str) -> Any:
    """What a shell's command prints, as JSON."""
    result = subprocess.run(
        [name, "-c", command], capture_output=True, env=os.environ | environment, timeout=60, check=True
    )
    assert result.stderr == b""
    return json.loads(result.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("view", VIEWS)
def test_a_copied_command_answers_with_the_list(opened: Opened, view: str) -> None:
    page = settled(opened(VIEWS[view], permissions=["clipboard-read", "clipboard-write"]))
    for domain in DOMAINS:
        shown = listed(page, domain)
        assert shown
        command = copied(page, domain)
        assert command.isascii()
        assert "api-key" not in command
        for name in SHELLS:
            answer = shell(command, name)
            assert [item["title"] or str(item["item"]) for item in answer["items"]] == shown


def test_a_command_is_of_the_list_that_is_shown(opened: Opened) -> None:
    page = settled(opened("#like.films=it%27s", permissions=["clipboard-read", "clipboard-write"]))
    domain_list(page, "films").get_by_role("button", name="More").click()
    settled(page)
    shown = listed(page, "films")
    assert len(shown) == 20
    assert [item["title"] for item in shell(copied(page, "films"))["items"]] == shown


def test_where_no_page_may_copy_the_command_is_shown_selected(opened: Opened) -> None:
    page = opened()
    page.add_init_script("delete Navigator.prototype.clipboard")
    page.reload()
    settled(page)
    domain_list(page, "books").get_by_role("button", name="Copy as curl").click()
    selected = page.evaluate("getSelection().toString()")
    assert re.fullmatch(r"curl -s 'http://127\.0\.0\.1:\d+/v1/popular\?domain=books&k=8'", selected)


@pytest.fixture(scope="module")
def locked(run: Path) -> Iterator[Server]:
    os.environ["SHOP_KEY"] = "schlüssel"
    try:
        with serving(run, "--api-key-env", "SHOP_KEY") as server:
            yield server
    finally:
        del os.environ["SHOP_KEY"]


@pytest.mark.parametrize("address", ["locked"], indirect=True)
def test_a_copied_command_names_the_variable_and_never_the_key(opened: Opened) -> None:
    page = opened("#like.films=it%27s", permissions=["clipboard-read", "clipboard-write"])
    field = page.get_by_label("This server wants a key.")
    for typed in ("🔑", "ключ", "wrong", "schlüssel"):  # browsers send a key as Latin-1
        field.fill(typed)
        page.keyboard.press("Enter")
        if not typed.isascii() and typed != "schlüssel":
            page.get_by_text("type it again").wait_for()
    settled(page)
    assert not field.is_visible()
    command = copied(page, "films")
    assert "schl" not in command
    assert '"x-api-key: $LANDBRIDGE_API_KEY"' in command
    shown = listed(page, "films")
    answer = shell(command, LANDBRIDGE_API_KEY="schlüssel")  # a terminal sends it as UTF-8
    assert [item["title"] for item in answer["items"]] == shown


@pytest.mark.parametrize("address", ["locked"], indirect=True)
def test_with_a_key_an_address_without_a_page_has_a_way_to_it(opened: Opened) -> None:
    page = opened("docs")
    assert page.locator("p").first.inner_text() == "This needs a key in the header x-api-key."
    page.get_by_role("link", name="The page").click()
    page.get_by_label("This server wants a key.").wait_for()


@pytest.mark.parametrize("path", ["", "index.html", "?", "?x=1", "#", "index.html#like.films=it%27s"])
def test_addresses_of_the_page(opened: Opened, path: str) -> None:
    assert len(listed(settled(opened(path)), "films")) == 8


@pytest.mark.parametrize(
    "path", ["docs", "x", "x/y/", "index.html/", "v1/model/", "v1", "%3Cb%3E", "main.js/", "redoc"]
)
def test_any_other_address_has_a_way_to_the_page(opened: Opened, server: Server, path: str) -> None:
    page = opened(path)
    assert page.locator("p").first.inner_text() == "Not Found: see /openapi.json for what there is."
    assert server.get(f"/{path}").status == 404
    assert server.get(f"/{path}").json.keys() == {"error", "request_id"}  # a program gets JSON
    page.get_by_role("link", name="The page").click()
    settled(page)


def test_lists_stay_while_a_real_server_is_gone(browser: Any, run: Path) -> None:
    with serving(run) as first:
        port = first.port
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        settled(page)
        before = listed(page, "films")
    like_first = domain_list(page, "books").locator(".pick").first
    like_first.click()
    page.locator("#failed").get_by_text("The server cannot be reached.").wait_for()
    assert listed(page, "films") == before
    expect(page.locator(".rows").first).to_have_css("opacity", "0.45")
    with serving(run, "--port", port):
        expect(page.locator(".stale")).to_have_count(0)
        settled(page)
        expect(page.locator(".rows").first).to_have_css("opacity", "1")
        assert page.locator(".error:visible").count() == 0


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
def test_odd_titles_take_two_lines_and_stay_in_their_column(opened: Opened, width: int) -> None:
    likes = "&".join(f"like.books={n}" for n in range(11))
    page = settled(opened(f"#{likes}", size=(width, 844)))
    expect(page.locator(".liked-item")).to_have_count(11)
    expect(page.locator(".liked-item .name").first).not_to_have_text("0")  # the titles have been learned
    assert liked_titles(page)[1:3] == ["1", "2"]  # a title without a visible sign is none
    fits(page)
    for hash_ in ("", "#similar.books=0"):
        page = settled(opened(hash_, size=(width, 844)))
        page.get_by_role("button", name="More films").click()
        page.get_by_role("button", name="More books").click()
        settled(page)
        fits(page)
        assert any(title.startswith("xxx") for title in listed(page, "books")) or hash_
        heights = page.locator(".pick .title").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().height)"
        )
        assert max(heights) < 50
        assert page.locator("#answers-title").bounding_box()["height"] < 80  # it may be about such an item
        page.fill("#search", "xxx")
        assert page.locator("#search-results .title").first.bounding_box()["height"] < 50
        fits(page)
        page.keyboard.press("Escape")
        first, lists = page.locator(".query").bounding_box(), page.locator("#lists").bounding_box()
        assert first["x"] + first["width"] <= lists["x"] or first["y"] + first["height"] <= lists["y"]


@pytest.mark.parametrize("hash_", ["", "#like.films=it%27s&like.books=20&where.genre=sea&where.genre=space"])
def test_the_first_item_is_on_the_first_screen_of_a_phone(opened: Opened, hash_: str) -> None:
    page = settled(opened(hash_, size=(390, 844)))
    row = page.locator(".row").first.bounding_box()
    assert row["y"] + row["height"] <= 844
    fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_nothing_serious_in_filters_and_similar_items(
    opened: Opened, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = settled(opened("#where.genre=sea&similar.books=20", size=(width, 900), color_scheme=scheme))
    assert serious(axe, page) == []
    page.get_by_role("button", name="Filter", exact=True).click()
    page.locator("#filter-values").get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    assert serious(axe, page) == []
    fits(page)


@pytest.mark.parametrize("kind", METHODS)
def test_reasons_are_those_of_the_model(browser: Any, folder: Path, kind: str) -> None:
    """The line, the strip and the bars say what /v1/explain says, whatever the model is."""
    run = save_shop(folder / kind, METHODS[kind])
    with serving(run) as server:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/#like.films=it%27s&like.books=20")
        settled(page)
        body = {"events": [{"domain": "films", "item": "it's"}, {"domain": "books", "item": "20"}]}
        for domain in DOMAINS:
            best = server.post("/v1/recommend", {"domains": [domain], "k": 8, **body}).json["items"]
            lines = domain_list(page, domain).locator(".reason .line").all_inner_texts()
            total: dict[str, float] = {}
            for item, line in zip(best, lines, strict=True):
                parts = server.post("/v1/explain", {"domain": domain, "item": item["item"], **body}).json[
                    "parts"
                ]
                helped = [part for part in parts if part["value"] > 0]
                other = [part for part in helped if part["item"] is None]
                share = sum(part["value"] for part in other) / sum(part["value"] for part in helped)
                assert line.startswith(expected_start(helped, other, share)), (line, parts)
                for part in helped:
                    name = part["domain"] if part["item"] is not None else part["title"]
                    total[name] = total.get(name, 0.0) + part["value"]
            said = domain_list(page, domain).locator(".sources .unseen").inner_text()
            largest = max(total, key=lambda name: total[name])
            assert said.partition(" % ")[2].startswith(largest), (said, total)
            assert set(re.findall(r"% (.*?)(?:,| and |$)", said)) <= set(total)


def expected_start(helped: list[Any], other: list[Any], share: float) -> str:
    if other and share > 0.5:
        return f"mostly {other[0]['title']}" if len(helped) > len(other) else other[0]["title"]
    return "because you liked"
