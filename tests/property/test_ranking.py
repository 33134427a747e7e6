from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.types import Ragged
from landbridge.ranking.top_k import count_above, count_above_candidates, top_k


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, list[set[int]], np.random.Generator]:
    """Few distinct scores, so that ties abound; any item may be seen."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_rows, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    levels = np.array([-np.inf, -1.5, 0.0, 0.25, 2.0, np.inf], np.float32)
    scores = rng.choice(levels[: draw(st.integers(1, 6))], (n_rows, n_items))
    seen = [set(rng.integers(0, n_items, rng.integers(0, n_items + 1)).tolist()) for _ in range(n_rows)]
    return scores, seen, rng


def as_rows(seen: list[set[int]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, seen)]).astype(np.int64)
    return Ragged(offsets, np.array([item for row in seen for item in sorted(row)], np.int32), None)


@given(worlds(), st.integers(1, 35))
def test_top_k_is_the_stable_sort_of_the_unseen(world, k: int) -> None:  # type: ignore[no-untyped-def]
    scores, seen, _ = world
    items, values = top_k(scores, k, as_rows(seen))
    for row, barred in enumerate(seen):
        left = [item for item in range(scores.shape[1]) if item not in barred]
        best = sorted(left, key=lambda item: (-scores[row, item], item))[:k]
        assert items[row].tolist() == best + [-1] * (k - len(best))
        assert values[row, : len(best)].tolist() == scores[row, best].tolist()


@given(worlds())
def test_counts_are_the_naive_counts(world) -> None:  # type: ignore[no-untyped-def]
    scores, seen, rng = world
    n_rows, n_items = scores.shape
    target = rng.integers(0, n_items, n_rows).astype(np.int32)
    candidates = rng.integers(-1, n_items, (n_rows, 8)).astype(np.int32)
    full = count_above(scores, target, as_rows(seen))
    sampled = count_above_candidates(scores, target, candidates, as_rows(seen))
    for row, item in enumerate(target):
        for (above, ties), pool in ((full, range(n_items)), (sampled, candidates[row])):
            rivals = [j for j in pool if j >= 0 and j != item and j not in seen[row]]
            assert above[row] == sum(scores[row, j] > scores[row, item] for j in rivals)
            assert ties[row] == sum(scores[row, j] == scores[row, item] for j in rivals)


@given(worlds(), st.integers(1, 10))
def test_a_target_without_ties_stands_where_the_list_shows_it(world, k: int) -> None:  # type: ignore[no-untyped-def]
    scores, seen, rng = world
    target = rng.integers(0, scores.shape[1], len(scores)).astype(np.int32)
    above, ties = count_above(scores, target, as_rows(seen))
    items, _ = top_k(scores, k, as_rows(seen))
    for row, item in enumerate(target):
        if item not in seen[row] and ties[row] == 0:
            place = items[row].tolist().index(item) if item in items[row] else k
            assert place == min(above[row], k)
