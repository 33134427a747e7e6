"""The tutorial, executed: its commands in their order, what they say, and the list that it ends with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import answered
from pages import FENCE, shell_commands
from serving_process import Server, serving

from landbridge.demo.messy_shop import CATEGORIES

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
CUSTOMER = 210  # of both shops


class Reader:
    """Does what the page says, in the current folder. ``lists``: what the server listed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], held: ExitStack) -> None:
        self.capsys, self.held = capsys, held
        self.server: Server | None = None
        self.said = ""
        self.lists: list[dict[str, Any]] = []

    def block(self, language: str, text: str) -> None:
        if language == "toml":
            with open("shops.toml", "a") as file:
                file.write(text)
        elif language == "text":
            self.check(text)
        else:
            commands = shell_commands_of(text)
            self.said = "\n".join(self.run(words) for words in commands)

    def check(self, text: str) -> None:
        """Every line of the page was said; ``...`` stands for any text."""
        said = plain(self.said)
        for line in text.splitlines():
            pattern = ".*".join(re.escape(plain(part)) for part in line.split("..."))
            assert re.search(pattern, said), f"{line!r} was not said: {said}"
        refused = self.said.count("landbridge: ")
        assert refused == text.count("landbridge: "), f"the page does not show all of {said}"

    def run(self, words: list[str]) -> str:
        if words[0] == "pip":
            return ""
        if words[:2] == ["landbridge", "serve"]:
            self.server = self.held.enter_context(serving(Path(words[2]), *words[3:]))
            return ""
        if words[0] == "landbridge":
            status, out, err = answered(self.capsys, *words[1:])
            expected = 2 if err.startswith("landbridge: ") else int("who have no list" in err)
            assert status == expected, err
            return out + err
        if words[0] == "curl":
            return self.post(words)
        program = {"python": sys.executable}.get(words[0], words[0])
        return subprocess.run([program, *words[1:]], capture_output=True, text=True, check=True).stdout

    def post(self, words: list[str]) -> str:
        assert self.server is not None
        path = next(word for word in words if word.startswith("localhost:8000")).removeprefix(
            "localhost:8000"
        )
        answer = self.server.post(path, json.loads(words[words.index("-d") + 1]))
        if "items" in answer.json:
            self.lists.append(answer.json)
        return answer.json["error"] if "error" in answer.json else answer.body.decode()


def shell_commands_of(block: str) -> list[list[str]]:
    """The commands of one block, as :func:`pages.shell_commands` reads those of a page."""
    page = Path("block.md")
    page.write_text(f"```\n{block}```\n")
    return shell_commands(page)


def plain(text: str) -> str:
    """A text without the borders of tables and with single blanks."""
    return " ".join(re.sub(r"[│┃]", " ", text).split())


def test_the_tutorial_says_what_happens_and_ends_with_the_list_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as held:
        reader = Reader(capsys, held)
        for language, text in FENCE.findall(PAGE.read_text()):
            reader.block(language, text)
        (listed,) = reader.lists
        assert reader.server is not None
        later = reader.server.post("/v1/recommend", {"domains": ["north"], "user": "C210", "k": 50}).json
    items = pl.read_csv("items.csv", separator=";", decimal_comma=True).filter(domain="north")
    of_item = {row["item"].lower(): row for row in items.iter_rows(named=True)}
    own = [of_item[entry["item"]] for entry in listed["items"]]
    assert len(own) == 5
    assert {row["category"] for row in own} == {CATEGORIES[CUSTOMER % len(CATEGORIES)]}  # their planted taste
    assert all(row["price"] < 40 and row["stock"] > 0 for row in own)
    assert max(sum(row["brand"] == brand for row in own) for brand in items["brand"]) <= 2
    assert not {entry["item"] for entry in listed["items"]} & bought_or_disliked()
    assert "n-090" not in {entry["item"] for entry in later["items"]}


def bought_or_disliked() -> set[str]:
    """The customer's articles of both shops, as the north shop numbers them."""
    north = pl.read_csv("north.csv", separator=";").filter(pl.col("Customer No") == f"C{CUSTOMER:03}")[
        "Article"
    ]
    south = [line.split("::") for line in Path("south.dat").read_text().splitlines()]
    numbers = [f"n-{int(item) - 4000:03}" for user, item, *_ in south if user == f"c{CUSTOMER:03}"]
    return {*(item.lower() for item in north), *numbers}
