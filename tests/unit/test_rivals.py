"""The table of rivals on planted data: tuned alike, tested once, continued where it broke off, its page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from experiments import common, rivals, rivals_page, rows
from experiments.rivals import Cell, entries, learned_numbers
from experiments.rivals_page import AUTO
from landbridge.core.errors import SettingsError
from landbridge.core.files import read_json
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import evaluate
from landbridge.models import registry
from landbridge.selection.auto import auto
from landbridge.selection.search import Budget
from landbridge.training.options import FitOptions

STUDY, BUDGET = "sport-cloth", Budget(2, 60.0)
LABELS = ("popularity", "itemknn", "ials joined", "sasrec", AUTO)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Planted data in place of the real ones, and results in a temporary folder."""
    world = planted_transfer(users=64, items=32, groups=4)
    quick = partial(auto, families=("popularity", "itemknn"))
    monkeypatch.setattr(rivals, "auto", quick)
    for kept in (rivals._split, rivals._sampled):
        kept.cache_clear()
    monkeypatch.setattr(rivals, "STUDIES", {STUDY: lambda: world.split})
    monkeypatch.setattr(rivals, "SEEDS", (15, 16))
    monkeypatch.setattr(rivals_page, "SEEDS", (15, 16))
    monkeypatch.setattr(rivals, "NEGATIVES", 15)
    monkeypatch.setattr(rivals, "CELLS", tmp_path / "cells")
    for module in (common, rows):
        monkeypatch.setattr(module, "PAGES", tmp_path / "pages")
    (tmp_path / "pages/rows/rivals").mkdir(parents=True)
    yield tmp_path
    for kept in (rivals._split, rivals._sampled):
        kept.cache_clear()


def table_of(page: str, head: str) -> dict[str, list[str]]:
    """The rows of the first table whose first columns are ``head``, by their first cell."""
    lines = page[page.index(head) :].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0]: row for row in cells[: [len(row) for row in cells].index(1)]}


def test_every_method_is_entered_and_those_of_one_table_both_ways() -> None:
    found = entries()
    assert {m.name for m in found.values() if m is not None} == {*registry.names()} - {"mixture"}
    assert found[AUTO] is None
    assert {"ials joined", "ease separate", "ease joined", "neumf joined", "mlp++"} <= found.keys()
    assert len({repr(method) for method in found.values()}) == len(found)


def test_a_table_of_planted_data(folder: Path) -> None:
    rivals.run([STUDY], LABELS, BUDGET, jobs=1)
    page = page_of(folder)
    ranked = table_of(page, "| method | family |")
    # data without times have no sequences: the page says so and goes on
    assert ranked.keys() == {*LABELS} - {"sasrec"}
    assert "- sasrec: " in page
    assert ranked["popularity"][1] == "popularity"
    assert ranked[AUTO][1] == AUTO
    # what the page says is what a plain fit and evaluation say
    cell = Cell(STUDY, "ials joined", BUDGET)
    method, test = cell.chosen(), rivals.STUDIES[STUDY]().test
    plain = [evaluate(method.fit(test.history, FitOptions(seed=seed)), test) for seed in (15, 16)]
    for column, metric in ((2, "hr@10"), (3, "ndcg@10"), (4, "mrr@10")):
        value = np.mean([float(np.mean(list(each.means(metric).values()))) for each in plain])
        assert float(ranked["ials joined"][column]) == pytest.approx(value, abs=1e-4)
    assert float(ranked["popularity"][2]) < float(ranked["popularity"][5])  # fewer items to beat
    assert cell.search["trials"] == 2
    compared = table_of(page, "| method | its value |")
    assert compared.keys() == ranked.keys() - {rivals_page.best_simple(facts_of(folder)["models"])}
    assert set(pl.read_parquet(folder / "pages/rows/rivals/sport-cloth-1-99.parquet")["candidates"]) == {15}


def facts_of(folder: Path) -> Any:
    return read_json(folder / "pages/rows/rivals/sport-cloth-full.json")


def test_a_table_that_broke_off_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, test = Cell(STUDY, "itemknn", BUDGET), Cell._test

    def broken(self: Cell, method: Any, seed: int) -> None:
        if (self.label, seed) == ("itemknn", 16):
            raise KeyboardInterrupt
        test(self, method, seed)

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "_test", broken)
        with pytest.raises(KeyboardInterrupt):
            rivals.run([STUDY], ["popularity", "itemknn"], BUDGET, jobs=1)
    rivals.run([STUDY], ["popularity"], BUDGET, jobs=1)  # is done: the page has what is finished
    assert facts_of(folder)["models"].keys() == {"popularity"}
    kept = cell.facts_file(15).read_bytes(), cell.search
    monkeypatch.setattr(Cell, "_search", lambda self: pytest.fail("searched again"))
    rivals.run([STUDY], ["itemknn"], BUDGET, jobs=1)
    assert (cell.facts_file(15).read_bytes(), cell.search) == kept
    assert facts_of(folder)["models"].keys() == {"popularity", "itemknn"}


def test_what_is_kept_beside_the_page_is_not_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals.run([STUDY], ["popularity", "sasrec", "itemknn"], BUDGET, jobs=1)
    page = page_of(folder)
    monkeypatch.setattr(rivals, "CELLS", folder / "another machine")
    with monkeypatch.context() as patch:
        patch.setattr(Cell, "_search", lambda self: pytest.fail("searched again"))
        rivals.run([STUDY], ["popularity", "sasrec", "itemknn"], BUDGET, jobs=1)
    assert page_of(folder) == page
    rivals.run([STUDY], ["ials joined"], BUDGET, jobs=1)
    facts = facts_of(folder)
    assert facts["models"].keys() == {"popularity", "itemknn", "ials joined"}
    assert facts["failed"].keys() == {"sasrec"}
    before, after = (table_of(text, "| method | family |")["itemknn"] for text in (page, page_of(folder)))
    assert before == after
    assert not Cell(STUDY, "itemknn", Budget(3, 60.0)).published


def page_of(folder: Path) -> str:
    return (folder / "pages/rivals.md").read_text()


def test_cells_of_another_budget_are_others(folder: Path) -> None:
    one, other = (Cell(STUDY, "itemknn", Budget(n, 60.0)).folder for n in (2, 3))
    assert one != other


def test_learned_numbers_are_counted_once() -> None:
    data = planted_transfer(users=64, items=32, groups=2).data
    joined = registry.method("ials").from_settings({"factors": 4, "epochs": 1, "sharing": "joined"})
    assert learned_numbers(joined.fit(data, FitOptions(threads=1))) == 4 * (64 + 3 * 32)
    assert learned_numbers(registry.method("popularity")().fit(data)) == 3 * 32


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SettingsError, match="Unknown study 'siao'"):
        rivals.run(["siao"], ["uclr"], BUDGET, jobs=1)
    with pytest.raises(SettingsError, match="Unknown method 'ucl'"):
        rivals.run([STUDY], ["ucl"], BUDGET, jobs=1)
