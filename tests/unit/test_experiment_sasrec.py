"""The next film on MovieLens-1M: seeds are kept beside the page, and ties keep the order of the release."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from result_folder import kept_in
from worlds import uneven

from experiments import by_seed, common, rows, sasrec
from experiments.sasrec import BLEND, OWN
from landbridge.datasets import catalog
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.mixture import POPULARITY
from landbridge.models.popularity import Popularity
from landbridge.models.sequential import method as sequential
from landbridge.testing.methods import small

KNN = "item-kNN"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small data and models in place of the real ones, and results in a temporary folder."""
    worlds = {"file": lambda: uneven(seed=1), "random": uneven}
    monkeypatch.setattr(sasrec, "ORDERS", worlds)
    monkeypatch.setattr(sasrec, "ratings", lambda name: uneven())
    monkeypatch.setattr(sasrec, "VARIANTS", {"small": small("sasrec").with_settings({"epochs": 4})})
    monkeypatch.setattr(
        sasrec, "GRIDS", {KNN: [ItemKNN(), ItemKNN(shrinkage=9.0)], POPULARITY: [Popularity()]}
    )
    monkeypatch.setattr(sasrec, "COMPARED", ((BLEND, OWN), (OWN, KNN)))
    return kept_in(tmp_path, monkeypatch, sasrec.NAME, sasrec)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["sasrec", *arguments])
    sasrec.main()


def test_seeds_are_added_to_those_that_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--orders", "file", "random", "--seeds", "15")
    page = (folder / "pages/sasrec.md").read_text()
    assert "Ties in the order: file" in page
    assert "Ties in the order: random" in page
    for module in (common, by_seed, sasrec):
        monkeypatch.setattr(module, "CELLS", folder / "another machine")
    with monkeypatch.context() as patch:
        patch.setattr(sequential._Steps, "epoch", lambda *_: pytest.fail("learned again"))
        run(patch, "--seeds", "15")
    assert (folder / "pages/sasrec.md").read_text() == page
    with monkeypatch.context() as patch:
        patch.setattr(sasrec, "chosen", lambda *_, **__: pytest.fail("tuned again"))
        patch.setattr(common, "decide", lambda *_: pytest.fail("blended again"))
        run(patch, "--orders", "random", "--seeds", "16")
    kept = rows.study_of(sasrec.NAME, "random").rows
    assert sorted(kept["seed"].unique()) == [15, 16]
    assert {*kept["model"].unique()} == {BLEND, OWN, KNN, POPULARITY}


def test_ties_keep_the_order_of_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pl.DataFrame({"user": [1, 1, 1, 1], "item": list("dbca"), "timestamp": [7, 5, 5, 5]})
    table.write_parquet(tmp_path / "ratings.parquet")
    monkeypatch.setattr(catalog, "get", lambda name: tmp_path)
    events = sasrec.in_file_order().domains["all"]
    assert events.time is not None
    assert [events.item_idx[place] for place in events.time.argsort()] == [1, 2, 0, 3]  # b, c, a, d


def test_a_fit_that_is_done_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = small("sasrec")
    one = by_seed.fit(method, uneven(), 3, tmp_path)
    monkeypatch.setattr(sequential._Steps, "epoch", lambda *_: pytest.fail("learned again"))
    assert by_seed.fit(method, uneven(), 3, tmp_path).log == one.log
