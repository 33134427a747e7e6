"""UCLR as published beside tuned: what is compared, and seeds that are kept beside the page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from result_folder import kept_in
from worlds import uneven

from experiments import rows, uclr_published
from experiments.uclr_published import LITERAL, PRINTED, TUNED
from experiments.uclr_temperature import DATA, settled
from landbridge.data.splitting.splits import leave_latest_out, with_candidates
from landbridge.models.popularity import Popularity
from landbridge.models.uclr.method import PUBLISHED


@pytest.mark.parametrize("name", DATA)
def test_one_thing_is_changed_for_the_literal_score(name: str) -> None:
    methods = uclr_published._methods(settled(name))
    cold = methods[TUNED].flat()["popularity_weight"]
    assert methods[PRINTED] == PUBLISHED.with_settings({"popularity_weight": cold})
    assert methods[LITERAL] == methods[PRINTED].with_settings({"score_from": "pretrained"})
    assert methods[TUNED].flat()["stage"] == "full"


def test_seeds_are_added_to_those_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_in(tmp_path, monkeypatch, uclr_published.NAME)
    split = with_candidates(leave_latest_out(uneven(), seed=15), 5, seed=0)
    quick = dict.fromkeys(uclr_published._methods(settled("ciao")), Popularity())
    monkeypatch.setattr(uclr_published, "drawn_split", lambda spec: split)
    monkeypatch.setattr(uclr_published, "_methods", lambda spec: quick)
    for seed in (1, 2):
        monkeypatch.setattr(sys, "argv", ["uclr_published", "--data", "ciao", "--seeds", "1", str(seed)])
        uclr_published.main()
    assert sorted(rows.study_of(uclr_published.NAME, "ciao").rows["seed"].unique()) == [1, 2]
    assert "Seeds: 2." in (tmp_path / "pages/uclr-published.md").read_text()
