"""``auto`` that searches slow methods in a process of their own finds what it finds in turn."""

from __future__ import annotations

import numpy as np
import pytest

from landbridge.data.queries import Queries
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.data.synthetic import planted_walks
from landbridge.models.popularity import Popularity
from landbridge.models.sequential.sasrec import SASRec
from landbridge.selection.auto import Tuning, tuned_candidates
from landbridge.training.options import FitOptions

pytest.importorskip("torch")

SMALL = SASRec.from_settings({"encoder.factors": 8, "encoder.blocks": 1, "epochs": 3})
TWO = FitOptions(seed=3, threads=2)


def test_the_slow_method_beside_the_quick_one_ends_as_in_turn() -> None:
    split = leave_latest_out(planted_walks(users=60, fans=20), seed=1)
    # the slow one first: the order of the candidates is kept, whichever is found first
    proposed = {"sasrec": SMALL, "popularity": Popularity()}
    in_turn, at_once = (tuned_candidates(proposed, split, TWO, Tuning(trials=2), jobs) for jobs in (1, 2))
    assert at_once[0] == in_turn[0]
    assert list(at_once[0]) == ["sasrec", "popularity"]
    queries = Queries.of_users(np.arange(5))
    for label, model in in_turn[1].items():
        other = at_once[1][label]
        np.testing.assert_array_equal(other.score("dense", queries), model.score("dense", queries))


@pytest.mark.parametrize("proposed", [{"sasrec": SMALL}, {"popularity": Popularity()}])
def test_one_part_alone_needs_no_process(proposed: dict[str, SASRec | Popularity]) -> None:
    split = leave_latest_out(planted_walks(users=30, fans=10), seed=1)
    found, _ = tuned_candidates(proposed, split, TWO, Tuning(trials=1), 2)
    assert list(found) == list(proposed)
