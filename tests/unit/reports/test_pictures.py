"""Pictures are drawn from the numbers, alike every time, and tell what they show."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from xml.etree import ElementTree

import pytest

from landbridge.core.errors import MissingExtraError
from landbridge.reports import cells, facts, pictures, plots
from landbridge.reports.document import document
from landbridge.reports.looks import DARK, LIGHT, Look, ink_on, luminance
from landbridge.reports.pictures import Picture
from landbridge.reports.runs import Runs
from landbridge.reports.values import tidy_table


def texts(drawn: str) -> list[str]:
    """The words in an SVG."""
    root = ElementTree.fromstring(drawn)
    return [
        text for node in root.iter("{http://www.w3.org/2000/svg}text") if (text := "".join(node.itertext()))
    ]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_gain_map_shows_every_gain_of_the_tables(runs: Runs) -> None:
    tidy = tidy_table(runs)
    drawn = pictures.gains(runs, tidy, "shops")
    assert [each.name for each in drawn] == [
        f"gain-activity-shops-{end}" for end in ("popularity", "cdimf", "cdimf-guarded")
    ]
    chosen = tidy.filter(data="shops", by="activity", label="CDIMF", metric="ndcg@10", protocol="full")
    marks = {"better": "▲", "worse": "▼", "": ""}
    wanted = {
        (f"{gain:+.0f}".replace("-", "−") if round(gain) else "0") + marks[verdict]
        for gain, verdict in chosen["gain_percent", "verdict"].rows()
    }
    assert wanted <= set(texts(pictures.svg(drawn[1], LIGHT)))
    assert f"{(chosen['verdict'] == 'worse').sum()} worse" in drawn[1].alt


def test_pictures_are_sound_svg_in_both_themes(runs: Runs) -> None:
    drawn = document(runs).pictures
    names = [picture.name for picture in drawn]
    assert len(set(names)) == len(names)
    kinds = (
        "difference",
        "gain-activity",
        "cost",
        "validation",
        "own",
        "served",
        "transfer",
        "predicted",
        "share",
    )
    assert {kind for kind in kinds if any(name.startswith(kind) for name in names)} == set(kinds)
    for picture in drawn[::2]:
        light, dark = pictures.svg(picture, LIGHT), pictures.svg(picture, DARK)
        assert texts(light) == texts(dark) != []
        assert light != dark
        assert "NaN" not in light
        assert ' id="' not in light  # two pictures of one page must not share one
        assert picture.alt.endswith(".")
        assert len(picture.alt) > 30


def test_own_series_are_all_that_the_log_holds(runs: Runs) -> None:
    named = {picture.name: picture for picture in pictures.own_series(runs, "shops")}
    assert set(named) == {"own-shops-cdimf-gap", "own-shops-cdimf-shift", "own-shops-cdimf-temperature"}
    assert {"0", "1-2", "31+"} <= set(texts(pictures.svg(named["own-shops-cdimf-temperature"], LIGHT)))
    gap = texts(pictures.svg(named["own-shops-cdimf-gap"], LIGHT))
    assert {"0.001", "0.01", "0.1", "1"} <= set(gap)  # a logarithmic axis


def test_values_have_names_in_words(runs: Runs) -> None:
    log = [{"epoch": n, "loss_of": {"a": 1.0 / n}, "sample_weight": {"a": 1.0 * n}} for n in (1, 2)]
    cell = {"data": "shops", "label": "CDIMF", "seed": 1}
    told = pictures.own_series(replace(runs, series=cells.series([(cell, log)])), "shops")
    assert [picture.title for picture in told] == ["CDIMF: loss", "CDIMF: weight of a sample"]


def test_what_is_logged_by_activity_is_a_picture_of_groups(runs: Runs) -> None:
    (drawn,) = pictures.by_activity(runs, "a-b")
    assert (drawn.name, drawn.title) == ("own-a-b-cdimf-taste-by-activity", "CDIMF: taste by activity")
    assert drawn.alt == (
        "taste by activity of CDIMF on a-b, mean ± standard deviation. "
        "1: 0.12 ± 0.04, 2: 0.22 ± 0.04, 3-5: 0.325 ± 0.05 and 26+: 0.42 ± 0.04."
    )
    shown = texts(pictures.svg(drawn, LIGHT))
    assert [text for text in shown if text in ("124k", "29990", "3-5800", "26+7")] == [
        "124k",  # a group above its people
        "29990",
        "3-5800",
        "26+7",
    ]
    assert {"known events; below: users", "taste"} <= set(shown)
    charted = drawn.chart(LIGHT).to_dict()
    (values,) = (layer["data"]["values"] for layer in [charted, *charted["layer"]] if "data" in layer)
    first = values[0]
    assert [first[key] for key in ("low", "value", "high")] == pytest.approx([0.08, 0.12, 0.16])


def test_groups_without_spread_or_users_are_dots(runs: Runs) -> None:
    record = {"x_by_activity": {"0": {"mean": 0.5}, "1+": {"mean": 0.7, "sd": 0.1}, "9": {"users": 3}}}
    cell = {"data": "shops", "label": "CDIMF", "seed": 1}
    bare = replace(runs, series=cells.series([(cell, [record])]))
    (drawn,) = pictures.by_activity(bare, "shops")
    assert drawn.alt.endswith("0: 0.5 ± 0 and 1+: 0.7 ± 0.1.")
    assert {"0", "1+", "known events"} <= set(texts(pictures.svg(drawn, DARK)))
    assert facts.shared_values(bare).rows == ()


def test_the_imbalance_of_users_and_domains_is_drawn_as_shares(runs: Runs) -> None:
    users, events, domains = pictures.imbalance(runs, "a-b")
    assert [each.name for each in (users, events, domains)] == [
        "share-a-b-users", "share-a-b-events", "share-a-b-domains",
    ]  # fmt: skip
    assert users.alt.endswith("in per cent. a|1: 1-2 75, 31+ 25; b_2: 1-2 75, 31+ 25.")
    # 6000 and 44000 events of the one, 5500 and 38500 of the other
    assert events.alt.endswith("a|1: 1-2 12, 31+ 88; b_2: 1-2 12, 31+ 88.")
    # 6000 and 5500 users, 1200 and 1500 items, 50000 and 44000 events
    assert domains.alt.endswith("a|1: users 52, items 44, events 53; b_2: users 48, items 56, events 47.")
    assert {"75", "25", "1-2", "31+", "a|1"} <= set(texts(pictures.svg(users, LIGHT)))
    assert {"users", "items", "events", "44", "56"} <= set(texts(pictures.svg(domains, LIGHT)))


def test_what_a_folder_does_not_describe_is_not_drawn(runs: Runs) -> None:
    former = [{**domain, "activity": None} for domain in runs.data[0]["domains"]]
    alone = {**runs.data[0], "domains": former[:1]}
    (sizes,) = pictures.imbalance(replace(runs, data=({**runs.data[0], "domains": former},)), "shops")
    assert sizes.name == "share-shops-domains"
    assert pictures.imbalance(replace(runs, data=(alone,)), "shops") == []
    assert pictures.imbalance(replace(runs, data=()), "shops") == []


def test_weights_served_are_means_over_the_seeds(runs: Runs) -> None:
    drawn = pictures.served(runs, "a-b", "CDIMF, guarded")
    assert [picture.title.split()[-1] for picture in drawn] == ["alone", "cdimf", "popularity"]
    shown = texts(pictures.svg(drawn[0], LIGHT))
    assert shown.count("1.00") == 3
    chosen = runs.decisions.filter(data="a-b", domain="b_2", group="0", member="alone")
    assert f"{chosen['weight'].sum() / 3:.2f}" in shown


def test_the_frontier_is_of_those_that_no_other_beats_in_both(runs: Runs) -> None:
    told = pictures.pareto(runs, tidy_table(runs), "shops")[0].alt
    assert told.endswith("than: separate ALS, popularity, CDIMF, CDIMF, guarded.")
    told = pictures.pareto(runs, tidy_table(runs), "a-b")[0].alt
    assert "popularity" in told


@pytest.mark.parametrize(
    ("sizes", "cap"), [([1, 2, 3, 90], 5.0), ([30, 40, 60], 50.0), ([], 5.0), ([500], 100.0)]
)
def test_colours_are_full_where_most_gains_stay_below(sizes: list[float], cap: float) -> None:
    assert pictures._cap(sizes) == cap


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_colours_can_be_distinguished_from_what_is_behind_them(look: Look) -> None:
    assert contrast(look.ink, look.ground) > 7
    assert contrast(look.muted, look.ground) > 4.5
    assert all(contrast(colour, look.ground) > 3 for colour in look.lines)
    for step, faint, low in product(range(101), (False, True), (-1.0, 0.0)):
        fill = look.tile(low + (1 - low) * step / 100, (low, 1.0), faint=faint)
        assert contrast(ink_on(fill), fill) >= 4.5


def test_luminance_of_known_colours() -> None:
    assert luminance("#ffffff") == pytest.approx(1)
    assert luminance("#000000") == 0
    assert luminance("#808080") == pytest.approx(0.2159, abs=1e-4)


def test_no_gain_is_neutral_and_beyond_the_ends_nothing_changes() -> None:
    assert LIGHT.tile(0.0, (-5.0, 5.0)) == LIGHT.diverging[2]
    assert LIGHT.tile(-5.0, (-5.0, 5.0)) == LIGHT.tile(-80.0, (-5.0, 5.0)) == LIGHT.diverging[0]
    assert LIGHT.tile(5.0, (-5.0, 5.0)) == LIGHT.diverging[-1]
    assert LIGHT.tile(0.0, (0.0, 1.0)) == LIGHT.sequential[0]


def test_without_the_extra_one_sentence_names_it(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    picture = Picture("p", "t", "told.", lambda look: plots.lines([], [], "", look))
    with pytest.raises(MissingExtraError, match=r"vl_convert: pip install 'landbridge\[report\]'"):
        pictures.svg(picture, LIGHT)
