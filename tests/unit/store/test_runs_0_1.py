"""Run folders that version 0.1 wrote load without a warning and recommend the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import landbridge as lb

FOLDER = Path(__file__).parents[2] / "fixtures" / "runs_0_1"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_run_of_0_1_recommends_as_it_did(name: str) -> None:
    """Its settings may have other names today; its lists, and those of a new user, are the same."""
    run = lb.load(FOLDER / name)
    if run.method.uses_order:
        pytest.importorskip("torch")  # a sequence is scored by its network
    for domain, expected in EXPECTED[name]["lists"].items():
        lists = lb.recommend(run, domain, k=3)
        assert {column: lists[column].to_list() for column in expected} == expected
    for domain, items in EXPECTED[name]["new user"].items():
        assert lb.fold_in(run, {"books": ["b1", "b5"]}, domain, k=3)["item"].to_list() == items
