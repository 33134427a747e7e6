"""The seeds of one sequence model over all domains: kept beside the page, and added on any machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from result_folder import kept_in
from worlds import uneven

from experiments import by_seed, rows, sequence_domains
from experiments.sequence_domains import APART, KNN, METHODS
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.mixture import POPULARITY, Mixture
from landbridge.models.popularity import Popularity

STUDY = "ciao"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random data and quick models in place of the real ones, and results in a temporary folder."""
    monkeypatch.setattr(sequence_domains, "STUDIES", {STUDY: lambda: leave_latest_out(uneven(), seed=15)})
    monkeypatch.setattr(sequence_domains, "_simple", lambda split: {KNN: ItemKNN()})
    monkeypatch.setattr(sequence_domains, "_fitted", quick)
    return kept_in(tmp_path, monkeypatch, sequence_domains.NAME, sequence_domains)


def quick(split: Split, holdout: Holdout, seed: int, work: Path) -> dict[str, Any]:
    labels = (POPULARITY, APART, *METHODS)
    return {label: Popularity().fit(holdout.history) for label in labels}


def run(monkeypatch: pytest.MonkeyPatch, *seeds: int) -> None:
    monkeypatch.setattr(sys, "argv", ["sequence_domains", "--seeds", *map(str, seeds)])
    sequence_domains.main()


def test_finished_seeds_are_not_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, 15, 16)
    page = (folder / "pages/sequence-domains.md").read_text()
    assert "2 seeds; item-kNN" in page
    monkeypatch.setattr(by_seed, "CELLS", folder / "another machine")
    with monkeypatch.context() as patch:
        patch.setattr(sequence_domains, "_fitted", lambda *_: pytest.fail("fitted again"))
        run(patch, 15, 16)
    assert (folder / "pages/sequence-domains.md").read_text() == page
    with monkeypatch.context() as patch:
        patch.setattr(sequence_domains, "_simple", lambda split: pytest.fail("tuned again"))
        run(patch, 17)
    kept = rows.study_of(sequence_domains.NAME, STUDY).rows
    assert sorted(kept["seed"].unique()) == [15, 16, 17]
    assert kept.group_by("model").len()["len"].n_unique() == 1  # all models with all seeds


def test_rows_of_other_pairs_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, 15)
    other = leave_latest_out(uneven(seed=1), seed=15)
    assert sequence_domains._study(STUDY, other).left([15]) == [15]


def test_a_blend_is_decided_anew_for_other_pairs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, other = (leave_latest_out(uneven(seed=seed), seed=15) for seed in (0, 1))
    kept = guard(split, folder)
    with monkeypatch.context() as patch:
        patch.setattr(sequence_domains, "_fitted", lambda *_: pytest.fail("decided again"))
        assert guard(split, folder) == kept
        with pytest.raises(pytest.fail.Exception, match="decided again"):
            guard(other, folder)


def guard(split: Split, folder: Path) -> Mixture:
    return sequence_domains._guard(sequence_domains._study(STUDY, split), split, folder)
