"""That models of benchmarks are what the library evaluates: nothing else runs these in a test."""

from __future__ import annotations

import numpy as np

from benchmarks.evaluation import world
from landbridge.evaluation.evaluate import evaluate


def test_the_model_of_two_matrices_is_evaluated() -> None:
    model, holdout = world(n_users=40, n_items=60, factors=4)
    found = evaluate(model, holdout)
    scores_UI = model.user_UF @ model.item_IF.T
    item_T = holdout.targets["all"].item_idx
    seen_UI = np.zeros(scores_UI.shape, bool)
    seen_UI[holdout.history["all"].user_idx, holdout.history["all"].item_idx] = True
    better_UI = (scores_UI > scores_UI[np.arange(40), item_T][:, None]) & ~seen_UI
    assert found.rows["above"].to_list() == better_UI.sum(axis=1).tolist()
