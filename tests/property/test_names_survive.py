"""Names of domains, ids and titles of any Unicode come out of every place as they were put in."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from asgi import asking
from commands import answered
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ANY_TEXT, NAMES, TEXT_IDS

import landbridge as lb
from landbridge.cli import show
from landbridge.core.errors import DataError, StoreError
from landbridge.data.titles import without_blank
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.settings import ServeSettings

Table = dict[str, list[str]]
Catalogues = dict[str, Table]


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogues:
    """Domain -> columns user, item and title of its events."""
    users = draw(st.lists(TEXT_IDS.filter(is_text), min_size=1, max_size=3, unique=True))
    made: Catalogues = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=2, unique=True)):
        items = draw(st.lists(TEXT_IDS.filter(is_text), min_size=1, max_size=3, unique=True))
        titles = draw(st.lists(ANY_TEXT, min_size=len(items), max_size=len(items)))
        each = {"user": users[:1] * len(items), "item": items, "title": titles}
        made[name] = {key: [*column, "last"] for key, column in each.items()}
    return made


def is_text(raw: str) -> bool:
    """Whether no reader takes it for a number, whatever else is in its column."""
    return not raw.lstrip("-").isdecimal()


def titled(table: Table) -> dict[str, str]:
    """Item -> title, or the item itself where a title shows nothing."""
    shown = without_blank(pl.Series(table["title"], dtype=pl.String))
    return {item: title or item for item, title in zip(table["item"], shown, strict=True)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@settings(max_examples=20)
@given(made=catalogues())
def test_names_survive_a_run_folder_and_a_server(made: Catalogues, folder: Path) -> None:
    frames = {name: pl.DataFrame(table) for name, table in made.items()}
    lb.save(lb.Popularity().fit(lb.read(frames, users="shared")), folder / "run")
    back = lb.load(folder / "run")
    assert back.history.domain_names == tuple(made)
    assert set(back.history.users.ids.tolist()) == {user for table in made.values() for user in table["user"]}
    for name, table in made.items():
        everything = lb.recommend(back, name, [table["user"][0]], k=9, seen=True)
        assert dict(everything.select("item", "title").rows()) == titled(table)
    with asking(create_app(folder / "run", ServeSettings())) as client:
        assert list(client.get("/v1/model").json["domains"]) == list(made)
        for name, table in made.items():
            body = {"domains": [name], "user": table["user"][0], "k": 9, "seen": True}
            reply = client.post("/v1/recommend", body)
            if "\x00" not in name + table["user"][0]:
                assert {(i["domain"], i["item"]) for i in reply.json["items"]} == {
                    (name, i) for i in table["item"]
                }
            else:
                assert reply.status == 422  # null characters are no part of a request


@settings(max_examples=30)
@given(made=catalogues())
def test_names_survive_the_files_of_the_command_line(made: Catalogues, folder: Path) -> None:
    frame = pl.concat([pl.DataFrame(table).with_columns(domain=pl.lit(name)) for name, table in made.items()])
    for suffix in (".csv", ".jsonl", ".parquet"):
        show.answer(frame, out=folder / f"list{suffix}")
    rows = frame.to_dicts()
    with (folder / "list.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream)) == rows
    lines = (folder / "list.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == rows
    assert pl.read_parquet(folder / "list.parquet").to_dicts() == rows


@settings(max_examples=30)
@given(made=catalogues())
def test_names_are_printed_as_they_are(made: Catalogues, folder: Path) -> None:
    """Whatever stands in a table, it is printed, and nothing of it is taken for markup."""
    for table in made.values():
        show.table(pl.DataFrame(table))


ODD = os.fsdecode(b"caf\xe9")  # in Latin-1, as the system keeps it


@pytest.mark.parametrize("name", [ODD, ""])
@pytest.mark.parametrize("users", ["shared", "local"])
def test_what_is_no_name_of_a_domain_is_refused(users: Any, name: str) -> None:
    with pytest.raises(DataError, match="names no domain; rename the file"):
        lb.read({name: pl.DataFrame({"user": [1], "item": [2]})}, users=users)


def test_a_file_named_in_an_old_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{ODD}.csv"
    path.write_text("user,item\na,1\nb,2\n")
    model = lb.Popularity().fit(lb.read({"events": pl.DataFrame({"user": [1], "item": [2]})}))
    with pytest.raises(DataError, match=r"caf\\udce9.csv' is no UTF-8; rename it"):
        lb.read(path)
    for write in (
        lambda: lb.save(model, tmp_path / ODD),
        lambda: lb.recommend_all(model, "events", tmp_path / ODD),
    ):
        with pytest.raises(StoreError, match=r"caf\\udce9' is no UTF-8; choose another place"):
            write()


@pytest.mark.parametrize("ids", [["a", "b"], [1, 2]])
def test_an_id_in_an_old_encoding_is_refused(ids: list[Any]) -> None:
    model = lb.Popularity().fit(lb.read(pl.DataFrame({"user": ids, "item": ids})))
    for search in (
        lambda: lb.recommend(model, "events", [ODD]),
        lambda: lb.fold_in(model, {"events": [ODD]}, "events"),
    ):
        with pytest.raises(DataError, match=r"caf\\udce9"):
            search()


def test_an_old_encoding_on_the_command_line_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{ODD}.csv"
    path.write_text("user,item\na,1\nb,2\n")
    films = pl.DataFrame({"user": ["a"], "item": [1]})
    lb.save(lb.Popularity().fit(lb.read({"films": films})), tmp_path / "run")
    for words in (
        ("fit", path, "--model", "popularity", "--split", "none", "--out", tmp_path / "new"),
        ("recommend", tmp_path / "run", "--domain", "films", "--user", ODD),
        ("recommend", tmp_path / "run", "--domain", ODD, "--user", "a"),
        ("fold-in", tmp_path / "run", "--domain", "films", "--item", ODD),
        ("explain", tmp_path / "run", "--domain", "films", "--user", ODD, "--item", "1"),
    ):
        status, _, error = answered(capsys, *words)
        assert (status, error.count("\n")) == (2, 1)
