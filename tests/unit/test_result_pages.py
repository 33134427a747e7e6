"""Pages that are made of published rows say what the rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from experiments import across, common, default_page, rows

PAGES = Path(common.__file__).parents[1] / common.PAGES


@pytest.mark.parametrize("page", [pytest.param(default_page, marks=pytest.mark.slow), across])
def test_a_page_is_made_of_its_rows(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").symlink_to(PAGES / "rows")
    monkeypatch.setattr(common, "PAGES", tmp_path)
    monkeypatch.setattr(rows, "PAGES", tmp_path)
    page.main()
    name = f"{page.NAME}.md"
    assert (tmp_path / name).read_text() == (PAGES / name).read_text()


def test_ranks_below_the_depth_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PAGES", tmp_path)
    pairs = {
        "domain": ["b", "a", "b"],
        "user": [1, 2, 3],
        "item": [4, 5, 6],
        "activity": [0, 1, 2],
        "other_domain_events": [3, 4, 5],
        "is_duplicate": [False, True, False],
        "candidates": [9, 9, 9],
    }
    ranks = {("x", 1): ([0, 99, 100], [300, 2, 3]), ("y|z", 1): ([5, 700, 7], [0, 9, 1])}
    frames = [
        pl.DataFrame({**pairs, "above": above, "ties": ties, "model": [model] * 3, "seed": [seed] * 3})
        for (model, seed), (above, ties) in ranks.items()
    ]
    rows.publish("page", "study", pl.concat(frames), {"place": 0, "name": "s"})
    (study,) = rows.studies("page")
    back = study.rows.partition_by("model", "seed", as_dict=True)
    assert back["x", 1]["above"].to_list() == [0, 99, 100]
    assert back["x", 1]["ties"].to_list() == [300, 2, 0]
    assert back["y|z", 1]["above"].to_list() == [5, 100, 7]
    assert back["y|z", 1]["ties"].to_list() == [0, 0, 1]
    assert study.rows["domain"].to_list() == ["b", "a", "b"] * 2
    assert study.facts["name"] == "s"
