"""Proposed item links: alike titles and buyers in planted worlds, and the titles of MovieLens with noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platformdirs import user_cache_dir

import landbridge as lb
from landbridge.data import link_proposals
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.link_proposals import plain, propose_links
from landbridge.data.vocabulary import Vocabulary

FILMS = Path(user_cache_dir("landbridge")) / "movielens-1m" / "films.parquet"


def of_titles(titles: dict[str, list[str]], ids: dict[str, list[int]] | None = None) -> MultiDomain:
    """A domain per list of titles, one event per item, no common user."""
    users = sum(map(len, titles.values()))
    tables, start = {}, 0
    for name, own in titles.items():
        tables[name] = Interactions.from_events(
            np.arange(start, start + len(own)), np.arange(len(own)), users, len(own)
        )
        start += len(own)
    return MultiDomain(
        Vocabulary.of(np.arange(users)),
        {
            name: Vocabulary.of(np.array((ids or {}).get(name, range(len(own)))))
            for name, own in titles.items()
        },
        tables,
        {name: np.array(own, np.dtypes.StringDType()) for name, own in titles.items()},
    )


def found(links: pl.DataFrame, confidence: float = 0.5) -> set[tuple[str, str]]:
    chosen = links.filter(pl.col("confidence") >= confidence)
    return set(zip(chosen["item_a"].to_list(), chosen["item_b"].to_list(), strict=True))


def noisy(title: str, rng: np.random.Generator) -> str:
    """Another shop's spelling: the article in front, no year, a letter too few, capitals or signs."""
    name, _, year = title.rpartition(" (")
    if name.endswith(", The") and rng.random() < 0.5:
        name = f"The {name.removesuffix(', The')}"
    if rng.random() < 0.3:
        place = int(rng.integers(len(name)))
        name = name[:place] + name[place + 1 :]
    if rng.random() < 0.2:
        name = name.upper().replace(" ", " - ")
    return name if rng.random() < 0.2 else f"{name} ({year}"


def words(rng: np.random.Generator, n: int) -> list[str]:
    """Titles of two to four made-up words and a year."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = ["".join(rng.choice(letters, int(rng.integers(3, 9)))) for _ in range(n)]
    return [
        " ".join(rng.choice(known, int(rng.integers(2, 5)))) + f" ({rng.integers(1950, 2000)})"
        for _ in range(n)
    ]


def test_the_links_of_a_planted_world_are_proposed() -> None:
    """300 titles each, 200 of them the same products with another spelling and other ids."""
    rng = np.random.default_rng(0)
    here, elsewhere = words(rng, 300), words(rng, 100)
    order = rng.permutation(300)
    there = [noisy(title, rng) for title in here[:200]] + elsewhere
    links = propose_links(of_titles({"a": here, "b": [there[place] for place in order]}))
    truth = {(str(item), str(np.flatnonzero(order == item)[0])) for item in range(200)}
    sure = found(links, 0.8)
    assert len(sure & truth) >= 0.99 * len(sure)
    assert len(found(links) & truth) >= 0.95 * len(truth)
    assert links["confidence"].is_sorted(descending=True)


@pytest.mark.skipif(not FILMS.exists(), reason="MovieLens-1M is not in the cache")
def test_films_with_noise_are_found_again() -> None:
    rng, titles = np.random.default_rng(0), pl.read_parquet(FILMS)["item"].unique().sort().to_list()
    half = rng.permutation(len(titles))[: len(titles) // 2]
    there = [noisy(titles[item], rng) for item in half.tolist()]
    links = propose_links(of_titles({"a": titles, "b": there}))
    truth = {(str(item), str(place)) for place, item in enumerate(half.tolist())}
    for confidence, precision, recall in ((0.5, 0.9, 0.9), (0.8, 0.97, 0.75)):
        own = found(links, confidence)
        print(confidence, len(own & truth) / len(own), len(own & truth) / len(truth))
        assert len(own & truth) >= precision * len(own)
        assert len(own & truth) >= recall * len(truth)


def twin(a: list[str], b: list[str]) -> dict[tuple[int, int], float]:
    """Eq. (1) and the halving, for all pairs of titles that share a word, with dicts."""
    texts = [plain(pl.Series(side)).to_list() for side in (a, b)]
    grams = [[{f" {t} "[k : k + 3] for k in range(len(t))} if t else set() for t in side] for side in texts]
    total = len(a) + len(b)
    weight = {
        gram: np.log((1 + total) / sum(gram in own for side in grams for own in side))
        for gram in set().union(*grams[0], *grams[1])
    }
    scores = {}
    for i, one in enumerate(grams[0]):
        for j, two in enumerate(grams[1]):
            if not set(texts[0][i].split()) & set(texts[1][j].split()):
                continue
            norms = [np.sqrt(sum(weight[gram] ** 2 for gram in own)) for own in (one, two)]
            score = sum(weight[gram] ** 2 for gram in one & two) / (norms[0] * norms[1])
            numbers = [
                {word for word in side.split() if word.isdigit()} for side in (texts[0][i], texts[1][j])
            ]
            differ = numbers[0] - numbers[1] and numbers[1] - numbers[0]
            scores[i, j] = score / 2 if differ else score
    return scores


TITLES = st.lists(
    st.sampled_from(["red", "dust", "ünder", "Sea 2", "king (1990)", "the", "of", ""]), max_size=4
)


@settings(max_examples=60)
@given(st.lists(TITLES, min_size=1, max_size=6), st.lists(TITLES, min_size=1, max_size=6))
def test_proposals_are_the_only_best_of_the_slow_twin(a: list[list[str]], b: list[list[str]]) -> None:
    one, two = ([" ".join(title) for title in side] for side in (a, b))
    scores = {pair: round(score, 6) for pair, score in twin(one, two).items() if score >= 0.5 - 1e-9}
    expected = {}
    for (i, j), score in scores.items():
        rivals = [s for (k, n), s in scores.items() if (k == i) != (n == j)]
        if all(score > rival for rival in rivals):
            expected[str(i), str(j)] = score
    links = propose_links(of_titles({"a": one, "b": two}))
    own = dict(
        zip(
            zip(links["item_a"].to_list(), links["item_b"].to_list(), strict=True),
            links["confidence"],
            strict=True,
        )
    )
    assert own.keys() == expected.keys()
    assert all(abs(own[pair] - expected[pair]) < 2e-6 for pair in own)


def test_parts_of_a_series_and_remakes_are_not_one() -> None:
    here = ["Night Harbour 2 (1988)", "The Silent Orchard (1933)", "Alone in Copenhagen"]
    there = ["Night Harbour 3 (1991)", "Silent Orchard, The (1977)", "Alone in Copenhagen (2001)"]
    assert found(propose_links(of_titles({"a": here, "b": there})), 0.7) == {("2", "2")}


def test_two_items_of_one_title_are_linked_to_neither() -> None:
    data = of_titles(
        {"a": ["Blue Lantern", "Blue Lantern", "Green Meadow"], "b": ["blue lantern", "green meadow"]}
    )
    assert found(propose_links(data)) == {("2", "1")}


def shops_of_one_city() -> MultiDomain:
    """400 users of both shops, who have the same seven things in both; numbers are turned round in b."""
    rng = np.random.default_rng(0)
    user_N, item_N = np.nonzero(rng.random((400, 7)) < 0.1)
    data = of_titles({"a": ["?"] * 7, "b": ["?"] * 7})
    tables = {
        "a": Interactions.from_events(user_N, item_N, 400, 7),
        "b": Interactions.from_events(user_N, 6 - item_N, 400, 7),
    }
    return MultiDomain(Vocabulary.of(np.arange(400)), data.items, tables)


def test_without_titles_the_same_buyers_are_a_reason() -> None:
    links = propose_links(shops_of_one_city())
    assert found(links) == {(str(item), str(6 - item)) for item in range(7)}
    table = shops_of_one_city()["a"]
    n_shared = len(np.unique(table.user_idx))
    for item, confidence in zip(links["item_a"].to_list(), links["confidence"].to_list(), strict=True):
        users = int((table.item_idx == int(item)).sum())
        assert abs(confidence - (users - users**2 / n_shared) / (users + 5)) < 1e-6  # all of them are common
    assert links["title_a"].null_count() == 7


def test_buyers_and_titles_add_up_and_break_ties() -> None:
    """All titles are one; only buyers say which is which."""
    data = shops_of_one_city()
    data = replace(
        data, titles={name: np.array(["Teapot"] * 7, np.dtypes.StringDType()) for name in ("a", "b")}
    )
    links = propose_links(data)
    assert found(links) == {(str(item), str(6 - item)) for item in range(7)}
    np.testing.assert_allclose(links["titles"], 1.0)


def test_what_is_linked_is_not_proposed_again() -> None:
    frames = {
        name: pl.DataFrame({"user": [1, 2], "item": ["x", own], "title": ["Old Mill", "New Bridge"]})
        for name, own in (("a", "y"), ("b", "z"))
    }
    data = lb.read(frames, users="local", items="shared")
    assert found(propose_links(data)) == {("y", "z")}


def test_links_that_would_join_two_items_of_a_domain_lose_the_least_sure() -> None:
    """a0 – b0 – c0 agree; c0 is also like a1, but less: through b0 it would make a0 and a1 one."""
    links = np.array([[0, 2], [2, 3], [3, 1]])
    data = of_titles({"a": ["p", "q"], "b": ["r"], "c": ["s"]})
    kept = link_proposals._without_conflicts(data, links, np.array([0.9, 0.8, 0.7]))
    assert kept.tolist() == [True, True, False]
    kept = link_proposals._without_conflicts(data, links, np.array([0.9, 0.6, 0.7]))
    assert kept.tolist() == [True, False, True]


@pytest.mark.parametrize("seed", range(10))
def test_proposals_can_always_be_read(seed: int) -> None:
    """Of four domains: no two items of a domain become one product, so reading the table is no error."""
    rng = np.random.default_rng(seed)
    known = words(rng, 60)
    frames = {}
    for name in "abcd":
        chosen = rng.permutation(60)[:40]
        titles = [
            noisy(known[item], rng) if rng.random() < 0.7 else known[int(rng.integers(60))] for item in chosen
        ]
        frames[name] = pl.DataFrame(
            {"user": range(40), "item": [f"{name}{k}" for k in range(40)], "title": titles}
        )
    links = propose_links(lb.read(frames, users="local"))
    assert links.height > 30
    data = lb.read(frames, users="local", item_links=links, min_confidence=0.6)
    assert data.products is not None
    again = propose_links(data).filter(pl.col("confidence") >= 0.6)
    assert again.height < links.height / 10
