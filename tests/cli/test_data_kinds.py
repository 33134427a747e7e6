"""``data check`` and ``data transferability`` with kinds of events, a half-life and seen tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import answered, refused

COMMANDS = ["check", "transferability"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``books.csv`` and ``movies.csv`` and, in the folder ``seen``, tables of the pairs without an event."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(1)
    (folder / "seen").mkdir()
    for name in ("books", "movies"):
        table = pl.DataFrame(
            {
                "user": rng.integers(0, 60, 900),
                "item": rng.integers(0, 30, 900),
                "time": 1_500_000_000 + 86_400 * rng.permutation(900),
                "kind": rng.choice(["view", "wink", "dislike"], 900),
            }
        )
        table.write_csv(folder / f"{name}.csv")
        every = pl.DataFrame({"user": range(60)}).join(pl.DataFrame({"item": range(30)}), how="cross")
        every.join(table, on=["user", "item"], how="anti").write_csv(folder / "seen" / f"{name}.csv")
    return folder


def sources(work: Path) -> tuple[object, ...]:
    return work / "books.csv", work / "movies.csv", "--users", "shared"


def lines(work: Path, capsys: pytest.CaptureFixture[str], command: str, *words: object) -> list[Any]:
    """The JSON lines of ``landbridge data COMMAND`` with the two tables."""
    _, out, err = answered(capsys, "data", command, *sources(work), *words, "--json")
    assert "landbridge:" not in err, err
    return [json.loads(line) for line in out.splitlines()]


def seen_tables(work: Path) -> tuple[object, ...]:
    """The option for the tables in ``seen``."""
    return tuple(word for name in ("books", "movies") for word in ("--seen", work / "seen" / f"{name}.csv"))


def learned_pairs(work: Path, *kinds: str) -> dict[str, int]:
    """The number of pairs whose latest event of these kinds and dislikes is no dislike, per table."""
    counts = {}
    for name in ("books", "movies"):
        decisive = pl.read_csv(work / f"{name}.csv").filter(pl.col("kind").is_in([*kinds, "dislike"]))
        latest = decisive.sort("time").unique(["user", "item"], keep="last")
        counts[name] = latest.filter(pl.col("kind") != "dislike").height
    return counts


@pytest.mark.parametrize(("value", "kinds"), [("seen", ("view",)), ("0.5", ("view", "wink"))])
def test_data_check_counts_the_kinds_that_are_learned_from(
    work: Path, capsys: pytest.CaptureFixture[str], value: str, kinds: tuple[str, ...]
) -> None:
    found = lines(work, capsys, "check", "--kind", f"wink={value}", "--all")
    sizes = {line["domains"][0]: line["figures"]["events"] for line in found if line["kind"] == "size"}
    assert sizes == learned_pairs(work, *kinds)


def test_data_check_checks_the_seen_tables(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(work, capsys, "check", "--kind", "wink=0.5", *seen_tables(work), "--all")
    messages = [line["message"] for line in found if line["kind"] == "columns"]
    assert len(messages) == 4
    assert sum(str(work / "seen") in message for message in messages) == 2


def test_transferability_learns_from_kinds_by_their_weights(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One kind fewer leaves fewer events per user; a weight or a half-life changes factors, not counts."""
    few, many, faded = (
        {line["source"]: line for line in lines(work, capsys, "transferability", *words)}
        for words in (
            ("--kind", "wink=seen"),
            ("--kind", "wink=0.5"),
            ("--kind", "wink=0.5", "--half-life", 10),
        )
    )
    for source in ("books", "movies"):
        assert few[source]["per_user"] < many[source]["per_user"] == faded[source]["per_user"]
        assert faded[source]["match"] == many[source]["match"]
        assert abs(faded[source]["cka"] - many[source]["cka"]) > 1e-3


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Unknown kind of event 'wink'"),
        (("--kind", "wink"), "'wink' names no kind. Write kind=value"),
        (("--kind", "wink=never"), "Kind 'wink' has the value 'never'"),
        (("--kind", "wink=0.5", "--half-life", -1), "[data] half_life_days: Input should be"),
        (("--kind", "wink=0.5", "--seen", "nowhere.csv"), "There is no file nowhere.csv"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    work: Path, capsys: pytest.CaptureFixture[str], command: str, words: tuple[object, ...], sentence: str
) -> None:
    refused(answered(capsys, "data", command, *sources(work), *words), sentence)
