"""``landbridge page``: a whole page of lists, and what its file may not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import answered, refused
from served_runs import save_run

import landbridge as lb
from landbridge.ranking.strategies import item_scores

PAGE = """
[top]
domain = "books"
k = 4
[new]
domain = "books"
strategy = "latest"
k = 5
where = "shelf = 1"
[films]
domain = "movies"
strategy = "trending"
max_per = {shelf = 2}
k = 3
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    save_run(folder / "run")
    (folder / "page.toml").write_text(PAGE)
    rows = [(name, item, item % 2) for name in ("books", "movies") for item in range(55)]
    pl.DataFrame(rows, ["domain", "item", "shelf"], orient="row").write_csv(folder / "items.csv")
    return folder


def page(shop: Path, *words: object) -> tuple[object, ...]:
    return "page", shop / "run", shop / "page.toml", "--items", shop / "items.csv", "--json", *words


def test_a_page_has_the_lists_of_its_file_without_repetition(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, _ = answered(capsys, *page(shop, "--user", 3, "--user", 7))
    rows = [json.loads(line) for line in said.splitlines()]
    fitted = lb.load(shop / "run")
    assert status == 0
    for user in (3, 7):
        own = {
            name: [row for row in rows if (row["user"], row["list"]) == (user, name)]
            for name in ("top", "new", "films")
        }
        assert [len(each) for each in own.values()] == [4, 5, 3]
        top = lb.recommend(fitted, "books", [user], k=4)["item"].to_list()
        assert [int(row["item"]) for row in own["top"]] == top
        assert [int(row["item"]) for row in own["new"]] == expected(fitted, "books", "latest", user, top)[:5]
        shelves = [int(row["item"]) % 2 for row in own["films"]]
        assert max(shelves.count(0), shelves.count(1)) <= 2
        first_seen = item_scores("latest", fitted.history["books"], "books")
        assert [row["score"] for row in own["new"]] == [first_seen[int(row["item"])] for row in own["new"]]


def expected(fitted: Any, domain: str, strategy: str, user: int, above: list[int]) -> list[int]:
    """The order of a loop: odd items, best first, without those of the user and of the list above."""
    events = fitted.history[domain]
    score_I = item_scores(strategy, events, domain)
    own = set(events.item_idx[events.user_idx == user].tolist()) | set(above)
    return [
        item
        for item in sorted(range(len(score_I)), key=lambda i: -score_I[i])
        if item % 2 and item not in own
    ]


def test_unknown_users_are_reported(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "page",
        shop / "run",
        shop / "page.toml",
        "--items",
        shop / "items.csv",
        "--user",
        3,
        "--user",
        999,
    )
    status, _, err = answered(capsys, *words, "--out", tmp_path / "page.parquet")
    assert status == 1
    assert "does not know 1 of 2 users" in err
    assert pl.read_parquet(tmp_path / "page.parquet").height == 12
    assert (tmp_path / "page.parquet.unknown.txt").read_text() == "999\n"
    refused(answered(capsys, "page", shop / "run", shop / "page.toml"), "--users")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no list"),
        ("[top]\nk = 3", "[top] domain: Field required"),
        ('[top]\ndomain = "books"\nstrategi = "latest"', "did you mean 'strategy'"),
        ('[top]\ndomain = "books"\nstrategy = "newest"', "Unknown strategy 'newest'"),
        ('[top]\ndomain = "bookz"', "did you mean 'books'"),
        ('[top]\ndomain = "books"\nk = 0', "k must be 1 or more"),
        ("[top", "is not valid TOML"),
    ],
    ids=str,
)
def test_mistakes_of_a_page_file_are_one_sentence(
    text: str, sentence: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.toml").write_text(text)
    refused(answered(capsys, "page", shop / "run", tmp_path / "page.toml", "--user", 3), sentence)
