"""Lists under rules, from the service and from ``recommend``: one answer, and every rule holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shops import ALS, fit, lists, opened, pairs, scores, world

from landbridge.core.errors import DataError
from landbridge.inference import ListRules, recommend
from landbridge.models.base import Fitted
from landbridge.models.linear.ease import EASE
from landbridge.models.popularity import Popularity
from landbridge.models.similarity import co_occurrence_cosines, embedding_cosines, item_vectors
from landbridge.ranking.list_order import Boost, ListOrder, Pin
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service

BRANDS = 4


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.csv"
    films = {"domain": "films", "item": [f"f{n:02d}" for n in range(90)]}
    books = {"domain": "books", "item": [str(10 * n) for n in range(15)]}
    frames = [
        pl.DataFrame(own).with_columns(brand=pl.int_range(pl.len()) % BRANDS, price=pl.int_range(pl.len()))
        for own in (films, books)
    ]
    pl.concat(frames).with_columns(pl.format("brand {}", "brand").alias("brand")).write_csv(path)
    return path


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(ALS["joined"])


@pytest.fixture(scope="module")
def service(fitted: Fitted, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return opened(fitted, tmp_path_factory.mktemp("run"), table)


ORDERS = [
    ListOrder(max_per={"brand": 2}),
    ListOrder(boosts=(Boost(2.0, "brand = 'brand 1'"), Boost(-1.0, items={"films": ("f03",)}))),
    ListOrder(pins=(Pin(2, "f40"), Pin(1, "f41"))),
    ListOrder(diversity=0.5),
    ListOrder(tail=0.7),
    ListOrder(max_per={"brand": 1}, diversity=0.3, tail=0.2, pins=(Pin(3, "f02"),)),
]


@pytest.mark.parametrize("order", ORDERS)
def test_the_server_and_python_make_one_list(service: Service, table: Path, order: ListOrder) -> None:
    rules = ListRules(items=table, where="price < 80", **vars(order))
    frame = recommend(service.fitted, "films", ["u03", "u05"], k=6, rules=rules)
    requests = [Request(("films",), user, k=6, where="price < 80", order=order) for user in ("u03", "u05")]
    answers = service.recommend(requests)
    assert [item for answer in answers for _, item in pairs(answer.items)] == frame["item"].to_list()
    served = [score for answer in answers for score in scores(answer)]
    np.testing.assert_allclose(served, frame["score"], rtol=1e-4, atol=1e-6)
    assert lists(service, requests[0])[0] == pairs(answers[0].items)
    assert answers[0].source == "model"


def test_an_order_without_effect_leaves_scores_and_places(service: Service) -> None:
    plain = Request(("books", "films"), "u03", k=12)
    order = ListOrder(max_per={"brand": 90})
    ordered = Request(("books", "films"), "u03", k=12, order=order)
    first, second = service.recommend([plain, ordered])
    assert first == second


def test_limits_hold_over_several_domains(service: Service) -> None:
    request = Request(("books", "films"), "u03", k=8, order=ListOrder(max_per={"brand": 2}))
    found = lists(service, request)[0]
    brands = [
        int(str(item).lstrip("f")) // (10 if domain == "books" else 1) % BRANDS for domain, item in found
    ]
    assert len(found) == 8
    assert all(brands.count(brand) == 2 for brand in range(BRANDS))
    # the best list: an item above the last one is left out only where its value was full
    plain = lists(service, Request(("books", "films"), "u03", k=100))[0]
    counts = [0] * BRANDS
    expected = []
    for domain, item in plain:
        brand = int(str(item).lstrip("f")) // (10 if domain == "books" else 1) % BRANDS
        if counts[brand] < 2:
            counts[brand] += 1
            expected.append((domain, item))
    assert found == expected


def test_pins_obey_the_rules(service: Service) -> None:
    pins = (Pin(1, "f52"), Pin(2, "f53"), Pin(4, "f56"), Pin(5, "unknown"))
    request = Request(
        ("films",), "u03", k=5, deny={"films": ("f53",)}, order=ListOrder(pins=pins, max_per={"brand": 1})
    )
    (found,) = lists(service, request)
    # f52 and f56 are of one brand, f53 is denied
    assert found[0] == ("films", "f52")
    assert not {("films", "f53"), ("films", "f56")} & {*found}
    assert len(found) == BRANDS


def test_a_boost_of_one_takes_place_100_to_the_top(service: Service) -> None:
    plain = lists(service, Request(("films",), "u03", k=90))[0]
    last = plain[-1][1]
    order = ListOrder(boosts=(Boost(1.001, items={"films": (last,)}),))
    assert lists(service, Request(("films",), "u03", order=order))[0][0] == ("films", last)
    order = ListOrder(boosts=(Boost(0.999, items={"films": (last,)}),))
    assert lists(service, Request(("films",), "u03", order=order))[0][0] == plain[0]


def test_weights_and_new_events_count(service: Service) -> None:
    events = (Event("books", 20, 5), Event("films", "f07", 6))
    plain, ordered = service.recommend(
        [
            Request(("films",), None, events, k=4),
            Request(("films",), None, events, k=4, order=ListOrder(max_per={"brand": 9})),
        ]
    )
    assert plain == ordered


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (ListOrder(diversity=1.5), "between 0 and 1"),
        (ListOrder(max_per={"brand": 0}), "1 or more"),
        (ListOrder(max_per={"colour": 1}), "colour"),
        (ListOrder(boosts=(Boost(1.0),)), "'where' or 'items'"),
        (ListOrder(boosts=(Boost(float("nan"), "price < 3"),)), "number"),
        (ListOrder(boosts=(Boost(1.0, items={"cars": ("a",)}),)), "cars"),
        (ListOrder(pins=(Pin(0, "f02"),)), "1 or more"),
        (ListOrder(pins=(Pin(1, "f02"), Pin(1, "f03"))), "one place"),
        (ListOrder(pins=(Pin(1, 20, "books"),)), "books"),
    ],
)
def test_what_is_no_order_is_one_sentence(service: Service, order: ListOrder, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        service.recommend([Request(("films",), "u03", order=order)])


def test_a_pin_in_several_domains_names_its_own(service: Service) -> None:
    with pytest.raises(DataError, match="needs its domain"):
        lists(service, Request(("books", "films"), "u03", order=ListOrder(pins=(Pin(1, "f02"),))))
    order = ListOrder(pins=(Pin(2, "f02", "films"),))
    assert lists(service, Request(("books", "films"), "u03", order=order))[0][1] == ("films", "f02")


def test_items_are_compared_as_similar_ones_are(fitted: Fitted) -> None:
    of_factors = item_vectors(fitted, ("films",)).unit_IF
    own = fitted.item_embeddings("films", "films")
    assert own is not None
    np.testing.assert_allclose(of_factors @ of_factors[7], embedding_cosines(own[0][7], own[0]), atol=1e-5)
    for method in (EASE(), Popularity()):
        linear = method.fit(world())
        vectors = item_vectors(linear, ("books", "films"))
        assert vectors.unit_IF.shape[1] == 0
        own_U = {*vectors.users.columns[vectors.users.offsets[3] : vectors.users.offsets[4]].tolist()}
        cosine_I = co_occurrence_cosines(linear.history, "books", 3, "films")
        for film in range(90):
            start, end = vectors.users.offsets[15 + film : 17 + film]
            theirs = {*vectors.users.columns[start:end].tolist()}
            both = len(own_U & theirs) / max(np.sqrt(len(own_U) * len(theirs)), 1)
            assert both == pytest.approx(cosine_I[film], abs=1e-6)


def test_diversity_lowers_the_likeness_within_a_list(service: Service) -> None:
    unit_IF = item_vectors(service.fitted, ("films",)).unit_IF
    likeness = []
    for diversity in (0.0, 0.9):
        order = ListOrder(diversity=diversity)
        frame = recommend(service.fitted, "films", k=8, rules=ListRules(**vars(order)))
        item_N = service.fitted.history.items["films"].index(frame["item"].to_list())
        rows = unit_IF[item_N].reshape(-1, 8, unit_IF.shape[1])
        likeness.append(float((rows @ rows.swapaxes(1, 2)).mean()))
    assert likeness[1] < likeness[0] - 0.05


def test_the_tail_lists_less_popular_items(service: Service) -> None:
    count_I = service.fitted.history["films"].item_counts
    means = []
    for tail in (0.0, 0.5, 1.0):
        frame = recommend(service.fitted, "films", k=8, rules=ListRules(tail=tail))
        means.append(count_I[service.fitted.history.items["films"].index(frame["item"].to_list())].mean())
    assert means[0] > means[1] > means[2]
