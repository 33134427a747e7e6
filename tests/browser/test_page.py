"""The page of a served model in a real browser: lists and reasons follow the clicks, whatever comes back."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import pytest
from browser import stand_in
from browser.stand_in import Routes, World
from browser.steps import (
    DOMAINS,
    SEA,
    Opened,
    cells,
    domain_list,
    events,
    expect,
    expected,
    focused,
    like,
    liked_titles,
    listed,
    settled,
)


def test_it_begins_with_what_is_popular(opened: Opened, shown: World) -> None:
    page = settled(opened())
    for domain in DOMAINS:
        assert listed(page, domain) == [work.title for work in shown.of(domain)[:8]]
    assert page.locator("#liked-items").inner_text() == ""
    assert page.locator("#answers-title").inner_text() == "Popular, to begin with"


def test_three_clicks_lead_to_lists_and_reasons_in_every_domain(opened: Opened, shown: World) -> None:
    page = settled(opened())
    for title in ("Battleship Potemkin", "The Sea Hawk", "Twenty Thousand Leagues Under the Sea (1916)"):
        domain_list(page, "films").get_by_role("button", name=title).click()
        settled(page)
    liked = events(shown, "Battleship Potemkin", "The Sea Hawk", "Twenty Thousand Leagues Under the Sea (")
    assert len(liked_titles(page)) == 3
    for domain in DOMAINS:
        assert listed(page, domain) == expected(shown, domain, events=liked)
    reason = domain_list(page, "books").locator(".reason .line").first
    assert reason.inner_text().startswith("because you liked")
    assert "The Sea Hawk" in reason.inner_text()
    assert "(films)" in reason.inner_text()  # said to those who do not see the shape
    assert strip(page, "music") == shares(shown, "music", liked)
    said = domain_list(page, "music").locator(".sources .unseen").inner_text()
    assert re.fullmatch(r"from \d+ % films and \d+ % popular in this domain", said)


def strip(page: Any, domain: str) -> dict[str, float]:
    """What the line over a list shows: the colour of a catalogue, none for popularity -> share."""
    pieces = domain_list(page, domain).locator(".strip span")
    read = "all => all.map(each => [each.className, Number(each.style.getPropertyValue('--share'))])"
    return dict(pieces.evaluate_all(read))


def shares(shown: World, domain: str, liked: list[dict[str, Any]]) -> Any:
    """The same from the parts of the scores, where no more than three events are liked, all of films."""
    best = Routes(shown).recommend({"domains": [domain], "events": liked, "k": 8})["items"]
    explained = [Routes(shown).explain({**item, "events": liked})["parts"] for item in best]
    popular = sum(part["value"] for parts in explained for part in parts if part["item"] is None)
    total = sum(item["score"] for item in best)
    found = {"hue-0": 1 - popular / total, "hue-none": popular / total}
    return pytest.approx(found, abs=1e-4)


def test_a_list_of_popular_things_says_so(opened: Opened, shown: World) -> None:
    """Where most of a score is popularity, neither the line nor the strip says that a liked item made it."""
    shown.works = tuple(replace(work, events=100 * work.events) for work in shown.works)
    page = settled(opened())
    like(page, "Captain Blood")
    lines = domain_list(page, "books").locator(".reason .line").all_inner_texts()
    assert lines
    for line in lines:
        assert line.startswith(("mostly popular in this domain; you liked", "popular in this domain"))
    assert strip(page, "books")["hue-none"] > 0.9


@pytest.mark.parametrize(
    ("because", "score", "grey"),
    [
        ([("films", "f1", 0.6), ("books", None, 0.4)], 1.0, 0.4),
        ([("films", "f1", 0.2), ("books", None, 0.4)], 1.0, 0.4),  # events that are not named count, too
        ([("films", "f1", 0.9), ("books", None, 0.3)], 1.0, 0.25),  # something speaks against the item
        ([("films", "f1", 0.5)], -3.0, 0.0),  # log-odds
        ([("books", None, 0.5)], 0.5, 1.0),
        ([], 0.5, 1.0),
    ],
)
def test_the_share_that_no_event_explains(
    opened: Opened, because: list[tuple[str, Any, float]], score: float, grey: float
) -> None:
    page = opened()
    script = """async ([because, score]) => {
      const { split } = await import('./explanation.js');
      const { events, others } = split(because, score);
      const sum = (pairs) => pairs.reduce((total, [, value]) => total + value, 0);
      return sum(others) / (sum(others) + sum(events));
    }"""
    parts = [{"domain": domain, "item": item, "value": value} for domain, item, value in because]
    assert page.evaluate(script, [parts, score]) == pytest.approx(grey)


def test_clicks_in_quick_succession_are_one_request_per_list(opened: Opened, shown: World) -> None:
    page = settled(opened())
    shown.asked.clear()
    page.evaluate("[...document.querySelectorAll('.pick')].slice(0, 3).forEach(each => each.click())")
    settled(page)
    asked = [given for path, given in shown.asked if path == "/v1/recommend"]
    assert sorted(given["domains"] for given in asked) == [["books"], ["films"], ["music"]]
    assert {len(given["events"]) for given in asked} == {3}


def test_a_score_opens_into_its_parts(opened: Opened, shown: World) -> None:
    page = settled(opened())
    like(page, *SEA)
    row = domain_list(page, "books").locator(".row").first
    button = row.locator("button.reason")
    button.click()
    row.locator(".parts").wait_for()
    assert button.get_attribute("aria-expanded") == "true"
    first = next(work for work in shown.works if work.title == listed(page, "books")[0])
    found = Routes(shown).explain({"domain": "books", "item": first.item, "events": events(shown, *SEA)})
    assert row.locator(".value").all_inner_texts() == [f"+{part['value']:.3f}" for part in found["parts"]]
    assert f"{found['score']:.3f}" in row.locator(".bars > p").inner_text()
    wide = row.locator(".bar").evaluate_all(
        "all => all.map(e => parseFloat(getComputedStyle(e).backgroundSize))"
    )
    most = found["parts"][0]["value"]
    shares = "all => all.map(each => Number(each.style.getPropertyValue('--share')))"
    assert row.locator(".bar").evaluate_all(shares) == pytest.approx(
        [part["value"] / most for part in found["parts"]], abs=1e-4
    )
    assert len(set(wide)) > 1  # the style sheet takes the share up
    button.click()
    assert row.locator(".parts").count() == 0


def test_ids_of_64_bits_stay_exact(opened: Opened, shown: World) -> None:
    page = settled(opened())
    shown.asked.clear()
    like(page, "Moby-Dick")
    item = next(work.item for work in shown.works if work.title.startswith("Moby-Dick"))
    assert isinstance(item, int)
    assert item > 2**53
    sent = [given["events"] for path, given in shown.asked if path == "/v1/recommend"]
    assert sent == [[{"domain": "books", "item": str(item)}]] * 3


def test_a_known_user(opened: Opened, shown: World) -> None:
    page = settled(opened())
    page.get_by_label("Or a user the model knows").fill("ada")
    page.keyboard.press("Enter")
    page.get_by_text("The model knows ada.").wait_for()
    assert liked_titles(page) == ["ada"]
    for domain in DOMAINS:
        assert listed(page, domain) == expected(shown, domain, user="ada")
    like(page, "Dracula")
    assert listed(page, "music") == expected(shown, "music", user="ada", events=events(shown, "Dracula"))
    page.get_by_label("Or a user the model knows").fill("nobody at all")
    page.get_by_role("button", name="Look up").click()
    page.get_by_text("The model has never seen nobody at all.").wait_for()
    assert liked_titles(page) == ["nobody at all", "Dracula"]


def test_removing_what_was_liked(opened: Opened, shown: World) -> None:
    page = settled(opened())
    like(page, *SEA)
    page.get_by_role("button", name="Remove The Sea Hawk").click()
    settled(page)
    assert liked_titles(page) == ["Captain Blood (1924)", "Battleship Potemkin (1925)"]
    left = events(shown, "Captain Blood", "Battleship Potemkin")
    assert listed(page, "books") == expected(shown, "books", events=left)
    assert focused(page) == "Remove Battleship Potemkin (1925)"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "search"
    settled(page)
    assert page.locator("#answers-title").inner_text() == "Popular, to begin with"


def test_start_again(opened: Opened, shown: World) -> None:
    page = settled(opened("#user=ada&like.films=f5"))
    page.get_by_role("button", name="Start again").click()
    settled(page)
    assert liked_titles(page) == []
    assert listed(page, "films") == [work.title for work in shown.of("films")[:8]]
    assert page.url.endswith("/")


def test_back_forward_and_reload_keep_the_user(opened: Opened, shown: World) -> None:
    page = settled(opened())
    like(page, *SEA[:2])
    both = listed(page, "books")
    page.go_back()
    expect(page.locator(".liked-item")).to_have_count(1)
    settled(page)
    assert liked_titles(page) == ["Captain Blood (1924)"]
    assert listed(page, "books") == expected(shown, "books", events=events(shown, SEA[0]))
    page.go_forward()
    expect(page.locator(".liked-item")).to_have_count(2)
    settled(page)
    assert listed(page, "books") == both
    page.reload()
    settled(page)
    assert liked_titles(page) == ["Captain Blood (1924)", "The Sea Hawk (1924)"]
    assert listed(page, "books") == both


def test_a_shared_address_shows_titles_to_another_user(opened: Opened, shown: World) -> None:
    page = settled(opened())
    like(page, "Captain Blood", "Lord Jim")
    other = settled(opened(page.url.partition("/#")[2].join(("#", ""))))
    assert liked_titles(other) == ["Captain Blood (1924)", "Lord Jim"]
    signs = other.locator(".liked-item > svg").evaluate_all("all => all.map(e => e.classList[1])")
    assert signs == ["hue-0", "hue-1"]
    assert listed(other, "music") == listed(page, "music")


def test_a_chosen_item_without_a_title_gets_its_catalogues_sign(opened: Opened, shown: World) -> None:
    """Of a shared address, once the catalogues are known: no title that arrives draws it anew."""
    shown.works = tuple(replace(work, title=None) for work in shown.works)
    page = settled(opened("#like.films=f5&like.books=9007199254740993"))
    signs = page.locator(".liked-item > svg").evaluate_all("all => all.map(e => e.classList[1])")
    assert signs == ["hue-0", "hue-1"]


def test_what_the_address_says_is_read_as_it_was_written(opened: Opened) -> None:
    page = opened()
    trip = """async ([user, liked]) => {
      const { EMPTY_QUERY, called, liking, read, written } = await import('./query.js');
      const query = liked.reduce(liking, called(EMPTY_QUERY, user));
      return [read('#' + written(query, 'health')), {query, tab: 'health'}];
    }"""
    odd = ["a b", "a+b", "50%", "a&b=c#d", "like.x", "ünï/cödé", "\u202e", '"17"', "17", "<b>", "a\nb"]
    for user in ("17", "x&user=y", " ü "):
        liked = [{"domain": domain, "item": item} for domain in ("films", "a.b=c") for item in odd]
        found, given = page.evaluate(trip, [user, liked])
        given["query"]["user"] = user.strip()
        assert found == given


@pytest.mark.parametrize(
    "hash_",
    [
        "tab=constructor", "tab=__proto__", "tab=", "user=", "user=%20", "where=", "where=%20", "like.=x",
        "like.films=", "like.", "%", "%zz=%e2", "=", "&&", "like.films", "user=a&user=b&tab=toString",
    ],
)  # fmt: skip
def test_any_address_shows_the_lists(opened: Opened, hash_: str) -> None:
    page = settled(opened(f"#{hash_}"))
    assert page.get_by_role("tabpanel", name="Try it").is_visible()
    assert len(listed(page, "films")) == 8
    assert page.locator(".error:visible").count() == 0


def test_an_address_of_what_is_not_there_is_one_sentence(opened: Opened, shown: World) -> None:
    shown.status = lambda path, given: 422 if given.get("events") else 200
    page = opened("#like.shoes=boot")
    page.locator("#failed .error").wait_for()
    assert page.locator(".error:visible").count() == 1
    assert liked_titles(page) == ["boot"]
    page.get_by_role("button", name="Remove boot").click()
    settled(page)
    assert len(listed(page, "films")) == 8
    assert page.locator(".error:visible").count() == 0


def test_enter_waits_for_what_was_typed(opened: Opened, shown: World) -> None:
    """Never the first of a list that fits an earlier text."""
    page = settled(opened())
    page.fill("#search", "the")
    expect(page.get_by_role("option")).to_have_count(12)
    go_on = threading.Event()
    shown.hold = lambda path, given: path == "/v1/search" and go_on.wait(30)
    page.fill("#search", "hebrides")
    page.keyboard.press("Enter")
    assert liked_titles(page) == []
    go_on.set()
    expect(page.locator(".liked-item")).to_have_count(1)
    assert liked_titles(page) == ["The Hebrides"]


def test_the_model_tab(opened: Opened, shown: World) -> None:
    page = opened("#tab=model")
    page.get_by_role("heading", level=1, name="cdimf").wait_for()
    said = page.locator("#model .pairs div").all_inner_texts()
    assert {"Kind\nfactors", "Age\n3 hours", "factors\n32", "reg\n0.01", "sharing\nnone"} <= set(said)
    assert cells(page, "films") == ["18", "1,200", "20,000", "0.1000", "0.2000"]
    shown.about["quality"] = None
    page.reload()
    page.get_by_text("so its quality is unknown").wait_for()
    assert cells(page, "films") == ["18", "1,200", "20,000"]


def test_gains_over_the_single_domain_baseline(opened: Opened, shown: World) -> None:
    shown.about["quality"]["single_domain"] = {
        "ndcg@10": {"films": 0.08, "books": 0.25, "music": 0.05},
        "models": {"films": "ease", "books": "itemknn", "music": "alone"},
    }
    page = opened("#tab=model")
    gains = ["+25.0 % over ease", "−20.0 % over itemknn", "0.0 % over alone"]
    assert [cells(page, name)[-1] for name in DOMAINS] == gains
    shown.about["quality"].pop("single_domain")
    shown.about["decisions"] = [
        stand_in.decision("films", "0", {"alone": 1.0}, 0.2),
        stand_in.decision("films", "1-2", {"cdimf": 0.75, "alone": 0.25}, 0.3),
    ]
    page.reload()
    assert [cells(page, name)[-1] for name in DOMAINS] == ["−20.0 % over alone", "–", "–"]  # 0.4 against 0.5
    page.get_by_text("Of 2 groups of users, 1 are served by more").wait_for()
    assert page.get_by_role("row", name="films 1-2").get_by_role("cell").all_inner_texts() == [
        "1-2", "75 % cdimf and 25 % alone", "alone", "−33.3 %", "100",
    ]  # fmt: skip


def test_what_noise_guarantees(opened: Opened, shown: World) -> None:
    page = opened("#tab=model")
    assert not page.get_by_role("heading", name="Privacy").is_visible()
    shown.about["privacy"] = {
        "epsilon": 4.8765, "delta": 1e-6, "rounds": 12, "clip": 1.0, "noise": 20.0,
        "unit": "all rows of one user", "not_protected": ["<b>the rows of others</b>", "further fits"],
    }  # fmt: skip
    page.reload()
    privacy = page.locator("section", has=page.get_by_role("heading", name="Privacy"))
    privacy.wait_for()
    assert privacy.locator("dd").all_inner_texts() == [
        "4.88", "0.000001", "12", "1", "20", "all rows of one user",
    ]  # fmt: skip
    assert privacy.get_by_role("listitem").all_inner_texts() == ["<b>the rows of others</b>", "further fits"]
    shown.about["privacy"]["epsilon"] = None
    page.reload()
    privacy.get_by_text("∞: rows were sent without noise").wait_for()


def test_the_statistics_of_health(opened: Opened) -> None:
    page = opened("#tab=health")
    page.locator("#health table").wait_for()
    said = dict(
        zip(
            page.locator("#health .statistics dt").all_inner_texts(),
            page.locator("#health .statistics dd").evaluate_all(
                "all => all.map(e => e.firstChild.textContent)"
            ),
            strict=True,
        )
    )
    # p50: 120 are within 1 ms, 800 within 2: 1 + 380/680 ms; p99: just the end of the bucket up to 5 ms
    assert said == {
        "Requests": "1,050",
        "p50 of lists": "1.6 ms",
        "p99 of lists": "5.0 ms",
        "Cold share": "30 %",
        "Fallback share": "5.0 %",
        "Model age": "3 hours",
    }
    assert page.get_by_role("heading", name="Ready").is_visible()
    row = page.get_by_role("row", name="/v1/recommend").get_by_role("cell").all_inner_texts()
    assert row == ["1,000", "1.6 ms", "5.0 ms", "1.9 ms"]


def test_quantiles_of_buckets(opened: Opened) -> None:
    page = opened()
    script = """async ([ends, share]) => {
      const { quantile } = await import('./metrics.js');
      return quantile(ends.map(([end, count]) => [end ?? Infinity, count]), share);
    }"""
    ends = [[1, 10], [2, 10], [4, 30], [None, 40]]
    wanted = {0.0: 0.0, 0.125: 0.5, 0.25: 1.0, 0.5: 3.0, 0.75: 4.0, 0.9: 4.0, 1.0: 4.0}
    for share, value in wanted.items():
        assert page.evaluate(script, [ends, share]) == pytest.approx(value)
