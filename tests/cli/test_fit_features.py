"""``landbridge fit`` with a table of item features, and what uses it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from commands import answered, event_files, refused

from landbridge import store
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.store import EventStore


def item_table(folder: Path) -> Path:
    """``items.csv``: domain, item, shelf; items 0 to 24 of both domains, and 100 of books, which is new."""
    items = [("books", item) for item in [*range(25), 100]] + [("movies", item) for item in range(25)]
    table = pl.DataFrame(items, schema=["domain", "item"], orient="row")
    path = folder / "items.csv"
    table.with_columns(shelf=pl.format("s{}", pl.col("item") % 5)).write_csv(path)
    return path


def test_item_features_reach_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, table, out = event_files(tmp_path), item_table(tmp_path), tmp_path / "run"
    given = ("--users", "shared", "--item-features", table, "--model", "popularity", "--no-deploy")
    status, _, said = answered(capsys, "fit", *sources, *given, "--out", out)
    assert status == 0, said
    assert "1 items have no events" in said
    assert "5 items with events have no row" in said
    history = store.load(out).history
    assert history.items["books"].ids[history.new_items("books")].tolist() == [100]


def test_an_unknown_domain_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, table = event_files(tmp_path), tmp_path / "items.csv"
    pl.DataFrame({"domain": ["book"], "item": [1], "shelf": ["a"]}).write_csv(table)
    given = (
        "--users",
        "shared",
        "--item-features",
        table,
        "--model",
        "popularity",
        "--out",
        tmp_path / "run",
    )
    refused(answered(capsys, "fit", *sources, *given), "did you mean 'books'")


@pytest.mark.parametrize("model", ["ials", "ease", "itemknn"])
def test_an_explanation_names_what_is_known_of_the_item(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, table, out = event_files(tmp_path), item_table(tmp_path), tmp_path / "run"
    given = ("--users", "shared", "--item-features", table, "--model", model, "--no-deploy")
    assert answered(capsys, "fit", *sources, *given, "--out", out)[0] == 0
    _, _, said = answered(capsys, "explain", out, "--domain", "books", "--user", 20, "--item", 100)
    assert "Of the score, by what is known of the item: shelf = s0 " in said
    _, listed, _ = answered(capsys, "recommend", out, "--domain", "books", "--user", 20, "-k", 30, "--json")
    assert '"item":100' in listed.replace(" ", "")
    assert listed.count('"cold":true') == 1


def test_a_refit_takes_up_a_later_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, table, out = event_files(tmp_path), item_table(tmp_path), tmp_path / "run"
    given = ("--users", "shared", "--item-features", table, "--no-deploy")
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))) as opened:
        opened.append("20", [Event("movies", 1)])
    assert answered(capsys, "fit", *sources, *given, "--model", "ials", "--out", out)[0] == 0
    more = pl.DataFrame({"domain": ["books"], "item": [101], "shelf": ["s1"]})
    pl.concat([pl.read_csv(table), more]).write_csv(table)
    again = ("--events", tmp_path / "events.sqlite", "--item-features", table, "--no-gate", "--threads", 1)
    status, _, said = answered(capsys, "refit", out, *again)
    assert status == 0, said
    history = store.load(out).history
    assert history.items["books"].ids[history.new_items("books")].tolist() == [100, 101]


def test_a_refit_of_a_method_that_ignores_features_refuses_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, table, out = event_files(tmp_path), item_table(tmp_path), tmp_path / "run"
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))):
        pass
    assert (
        answered(capsys, "fit", *sources, "--users", "shared", "--model", "popularity", "--out", out)[0] == 0
    )
    again = ("--events", tmp_path / "events.sqlite", "--item-features", table)
    refused(answered(capsys, "refit", out, *again), "A popularity model ignores item features")


def test_lists_in_files_hold_the_items_of_a_later_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, table, out = event_files(tmp_path), item_table(tmp_path), tmp_path / "run"
    given = ("--users", "shared", "--item-features", table, "--model", "ease", "--no-deploy")
    assert answered(capsys, "fit", *sources, *given, "--out", out)[0] == 0
    later, page = tmp_path / "later.csv", tmp_path / "page.toml"
    later.write_text(table.read_text() + "books,101,s1\n")
    page.write_text('[all]\ndomain = "books"\nk = 40\n')
    for words in (
        ("recommend", out, "--domain", "books", "--user", 20, "-k", 40),
        ("page", out, page, "--user", 20),
        ("fold-in", out, "--domain", "books", "--item", "books=1", "-k", 40),
    ):
        for more, new in (((), {100}), (("--item-features", later), {100, 101})):
            status, said, _ = answered(capsys, *words, *more, "--json")
            assert status == 0
            listed = {int(json.loads(line)["item"]) for line in said.splitlines()}
            assert listed & {100, 101} == new
    answered(capsys, "fit", *sources, *given[:-2], "popularity", "--no-deploy", "--out", tmp_path / "plain")
    words = ("recommend", tmp_path / "plain", "--domain", "books", "--user", 20, "--item-features", later)
    refused(answered(capsys, *words), "refit")
