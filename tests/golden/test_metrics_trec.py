"""Tie-free lists against trec_eval, an implementation we had no hand in."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval

from landbridge.core.types import Ragged
from landbridge.evaluation.metrics import Metric
from landbridge.ranking.top_k import count_above

MEASURES = {
    "hr@10": "success_10",
    "ndcg@10": "ndcg_cut_10",
    "ndcg@5": "ndcg_cut_5",
    "recall@20": "recall_20",
    "precision@5": "P_5",
    "map@10": "map_cut_10",
    "map@5": "map_cut_5",
    "mrr@200": "recip_rank",  # trec_eval's has no cutoff: the whole catalogue
}
N_USERS, N_ITEMS = 60, 200


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(7)
    scores = np.stack([rng.permutation(N_ITEMS) for _ in range(N_USERS)]).astype(np.float32)
    split = [rng.permutation(N_ITEMS) for _ in range(N_USERS)]
    targets = [order[: rng.integers(1, 16)] for order in split]
    seen = [np.sort(order[20 : 20 + rng.integers(0, 100)]) for order in split]
    users = np.repeat(np.arange(N_USERS), [len(items) for items in targets])
    return scores, users, np.concatenate(targets).astype(np.int32), seen


@pytest.fixture(scope="module")
def trec(world) -> dict[str, dict[str, float]]:  # type: ignore[no-untyped-def]
    scores, users, items, seen = world
    relevant: dict[str, dict[str, int]] = {str(user): {} for user in range(N_USERS)}
    for user, item in zip(users, items, strict=True):
        relevant[str(user)][str(item)] = 1
    run = {
        str(user): {
            str(item): float(scores[user, item]) for item in np.setdiff1d(np.arange(N_ITEMS), seen[user])
        }
        for user in range(N_USERS)
    }
    families = {"success", "ndcg_cut", "recall", "P", "map_cut", "recip_rank"}
    result: dict[str, dict[str, float]] = pytrec_eval.RelevanceEvaluator(relevant, families).evaluate(run)
    return result


@pytest.mark.parametrize("name", MEASURES)
def test_agrees_with_trec_eval(name: str, world, trec) -> None:  # type: ignore[no-untyped-def]
    scores, users, items, seen = world
    offsets = np.cumsum([0, *map(len, seen)]).astype(np.int64)
    rows = Ragged(offsets, np.concatenate(seen).astype(np.int32), None)
    above, ties = count_above(scores, items, rows, users)
    assert not ties.any()
    ours = Metric.parse(name).per_unit(users, above, ties)
    theirs = [trec[str(user)][MEASURES[name]] for user in range(N_USERS)]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
