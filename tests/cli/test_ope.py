"""``landbridge ope``: estimates for a run from a log of impressions, and the log's mistakes."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import answered, refused, run
from pages import shell_commands

from landbridge.evaluation.off_policy import Logged, Softmax, ips, replay, snips, target_probabilities
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.store import EventStore
from landbridge.store import load

PAGE = Path(__file__).parents[2] / "docs" / "off-policy.md"
USERS, ITEMS = 40, 20


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two event files, a run of popularity on them, and a log of uniformly random showings."""
    folder, rng = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    for name in ("books", "movies"):
        item = np.stack([rng.permutation(ITEMS)[:6] for _ in range(USERS)]).ravel()
        user = [f"u{n}" for n in np.repeat(np.arange(USERS), 6)]
        table = {
            "user": user,
            "item": [f"{name}-{n}" for n in item],
            "time": rng.integers(10**9, size=6 * USERS),
        }
        pl.DataFrame(table).write_csv(folder / f"{name}.csv")
    log().write_csv(folder / "impressions.csv")
    files = (folder / "books.csv", folder / "movies.csv")
    run("fit", *files, "--users", "shared", "--model", "popularity", "--out", folder / "run")
    return folder


def log() -> pl.DataFrame:
    """1,200 showings of random items; a click is likelier for low numbers."""
    rng = np.random.default_rng(1)
    item, domain = rng.integers(0, ITEMS, 1200), rng.choice(["books", "movies"], 1200)
    return pl.DataFrame(
        {
            "user": [f"u{n}" for n in rng.integers(0, USERS, 1200)],
            "item": [f"{name}-{n}" for name, n in zip(domain, item, strict=True)],
            "domain": domain,
            "propensity": np.full(1200, 1 / ITEMS),
            "reward": (rng.random(1200) < 0.6 - item / 40).astype(int),
        }
    )


def ope(capsys: pytest.CaptureFixture[str], shop: Path, *words: object) -> tuple[int, str, str]:
    return answered(capsys, "ope", shop / "run", *words)


def rows(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def test_the_estimates_are_those_of_the_library(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (shop / "impressions.csv", "--temperature", 0.5, "--clip", 5, "--json")
    status, said, _ = ope(capsys, shop, *words)
    assert status == 0
    table = rows(said)
    assert [(row["domain"], row["estimate"]) for row in table] == [
        (name, kind) for name in ("books", "movies") for kind in ("ips", "snips", "replay")
    ]
    fitted = load(shop / "run")
    for name in ("books", "movies"):
        own = log().filter(domain=name)
        user, item = fitted.history.users.index(own["user"].to_list()), fitted.history.items[name]
        logged = Logged(
            name,
            user,
            item.index(own["item"].to_list()),
            own["propensity"].to_numpy(),
            own["reward"].to_numpy(),
        )
        chance = target_probabilities(fitted, logged, Softmax(0.5))
        expected = (ips(logged, chance, clip=5), snips(logged, chance, clip=5), replay(logged, chance))
        for row, each in zip([row for row in table if row["domain"] == name], expected, strict=True):
            assert (row["value"], row["low"], row["high"]) == pytest.approx((each.value, each.low, each.high))
            assert (row["events"], row["left_out"], row["policy"]) == (len(own), 0, "softmax")


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_formats_and_names_of_columns_make_no_difference(
    ending: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, table = tmp_path / f"log.{ending}", log().rename({"reward": "liked", "user": "customer_id"})
    if ending != "csv":
        table = table.with_columns(pl.col("liked").cast(pl.Boolean))  # clicks are often true or false
    {"parquet": table.write_parquet, "jsonl": table.write_ndjson, "csv": table.write_csv}[ending](file)
    same = ope(capsys, shop, shop / "impressions.csv", "--json")
    assert ope(capsys, shop, file, "--column", "reward=liked", "--json") == same


def test_a_table_of_eighty_columns_and_what_was_left_out(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = log().head(3).with_columns(user=pl.lit("stranger"), domain=pl.lit("books"))
    pl.concat([log(), strange]).write_csv(tmp_path / "log.csv")
    status, said, err = ope(capsys, shop, tmp_path / "log.csv", "--policy", "top-k", "-k", 5)
    assert status == 0
    assert "snips" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "books: 3 events of users or items that the run does not know." in err
    assert "events of items that the run knows of the user" in err  # a uniform log shows those, too


def test_a_file_of_estimates(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = ope(capsys, shop, shop / "impressions.csv", "--out", tmp_path / "ope.csv")
    assert (status, said) == (0, "")
    assert pl.read_csv(tmp_path / "ope.csv").columns[:5] == ["domain", "estimate", "value", "low", "high"]


def changed(**columns: Any) -> pl.DataFrame:
    return log().with_columns(**columns)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (log().drop("propensity"), "No propensity column in file"),
        (log().drop("domain"), "and the run has the domains books, movies"),
        (log().head(0), "There are no events in file"),
        (changed(propensity=pl.lit(1.5)), "'propensity' of file"),
        (changed(propensity=pl.lit(0)), "is not above 0 and at most 1 in row 1"),
        (changed(reward=pl.lit("much")), "'reward' of file"),
        (changed(domain=pl.lit("book")), "Unknown domain 'book': did you mean 'books'"),
        (changed(user=pl.lit("stranger")), "is of a user and an item that the run knows"),
    ],
    ids=str,
)
def test_mistakes_of_a_log_are_one_sentence(
    table: pl.DataFrame, sentence: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_csv(tmp_path / "log.csv")
    out = tmp_path / "ope.csv"
    refused(ope(capsys, shop, tmp_path / "log.csv", "--out", out), sentence)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--policy", "best"), "Unknown policy 'best'"),
        (("--temperature", 0), "temperature must be above 0"),
        (("--policy", "top-k", "-k", 0), "k must be 1 or more"),
        (("--clip", 0), "clip must be above 0"),
        (("--column", "price=x"), "Unknown column role 'price'"),
        (("--out", "ope.pdf"), "Unknown kind of file '.pdf'"),
    ],
    ids=str,
)
def test_mistakes_of_a_command_are_one_sentence(
    words: tuple[object, ...], sentence: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(ope(capsys, shop, shop / "impressions.csv", *words), sentence)


def test_files_that_are_not_there(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(ope(capsys, shop, tmp_path / "none.csv"), "There is no file")
    refused(answered(capsys, "ope", tmp_path / "none", shop / "impressions.csv"), "none")


def served(shop: Path) -> None:
    """A log as a server writes it, without rewards, and its event store."""
    lists = log().with_columns(recommendation_id=pl.format("r{}", pl.int_range(pl.len())))
    (shop / "impressions").mkdir()
    lists.drop("reward").write_ndjson(shop / "impressions" / "impressions-1.jsonl")
    with closing(EventStore.open(str(shop / "events.sqlite"))) as store:
        for user, item, domain, reward, led in lists.select(
            "user", "item", "domain", "reward", "recommendation_id"
        ).rows():
            if reward:
                store.append(user, [Event(domain, item, kind="buy", recommendation_id=led)])


def test_a_served_log_has_the_estimates_of_one_with_rewards(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served(tmp_path)
    words = (tmp_path / "impressions", "--events", tmp_path / "events.sqlite", "--json")
    assert ope(capsys, shop, *words)[1] == ope(capsys, shop, shop / "impressions.csv", "--json")[1]


def test_the_commands_of_the_page(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    served(shop)
    commands = [words for words in shell_commands(PAGE) if words[:1] == ["landbridge"]]
    assert [words[1] for words in commands] == ["fit", "ope", "ope", "ope"]
    for words in commands:
        status, said, err = answered(capsys, *words[1:])
        assert status == 0, f"{shlex.join(words)}: {err}"
    _, said, _ = answered(capsys, *commands[2][1:])
    assert {row["estimate"] for row in rows(said)} == {"ips", "snips", "replay"}
