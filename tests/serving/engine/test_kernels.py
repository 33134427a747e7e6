"""The k best of every query: exactly what sorting all scores gives, whoever else is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from landbridge.core.errors import DataError
from landbridge.core.types import Float32, Ragged
from landbridge.serving.engine.kernels import TILE
from landbridge.serving.engine.query_builder import RankingConstraints
from landbridge.serving.engine.rankers import TiledTopK

SMALL = st.integers(-3, 3).map(np.float32)


def wanted(
    n_items: int, k_B: list[int], hidden: list[list[int]] | None = None, masks: Any = None, mask_B: Any = None
) -> RankingConstraints:
    """Without filters where none are given."""
    rows: Ragged = Ragged.empty(len(k_B)).append(
        [np.array(row, np.int32) for row in hidden or [[] for _ in k_B]]
    )
    mask_MI = np.zeros((0, n_items), bool) if masks is None else masks
    return RankingConstraints(
        rows, mask_MI, np.array([-1] * len(k_B) if mask_B is None else mask_B), np.array(k_B)
    )


def by_sorting(scores_I: Float32, listed_I: Any, k: int) -> tuple[list[int], list[float]]:
    """All items by falling score, the lower of equal ones first."""
    order = [item for item in np.argsort(-scores_I, kind="stable").tolist() if listed_I[item]][:k]
    return order, scores_I[order].tolist()


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    n_items, n_factors, n_queries = (
        draw(st.integers(1, 140)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, 4)),
    )
    masks = draw(arrays(bool, (draw(st.integers(0, 2)), n_items)))
    item = st.integers(0, n_items - 1)
    return {
        "item_IF": draw(arrays(np.float32, (n_items, n_factors), elements=SMALL)),
        "query_BF": draw(arrays(np.float32, (n_queries, n_factors), elements=SMALL)),
        "share_I": draw(arrays(np.float32, n_items, elements=st.integers(0, 4).map(lambda n: n / 4))),
        "weight_B": draw(arrays(np.float32, n_queries, elements=st.sampled_from([0, 1, 4, -2]))),
        "hidden": [draw(st.lists(item, max_size=2 * n_items)) for _ in range(n_queries)],
        "masks": masks,
        "mask_B": [draw(st.integers(-1, len(masks) - 1)) for _ in range(n_queries)],
        "k_B": [draw(st.integers(1, n_items)) for _ in range(n_queries)],
    }


@given(case=cases())
def test_lists_are_those_of_sorting_everything(case: dict[str, Any]) -> None:
    """Small whole numbers: every score is exact, and ties are many."""
    item_IF, query_BF = case["item_IF"], case["query_BF"]
    asked = wanted(len(item_IF), case["k_B"], case["hidden"], case["masks"], case["mask_B"])
    item_BK, score_BK, _ = TiledTopK.of(item_IF, case["share_I"]).best(query_BF, case["weight_B"], asked)
    for b, k in enumerate(case["k_B"]):
        listed_I = (
            np.ones(len(item_IF), bool) if case["mask_B"][b] < 0 else case["masks"][case["mask_B"][b]].copy()
        )
        listed_I[case["hidden"][b]] = False
        scores_I = item_IF @ query_BF[b] + case["weight_B"][b] * case["share_I"]
        items, scores = by_sorting(scores_I, listed_I, k)
        assert item_BK[b, : len(items)].tolist() == items
        assert score_BK[b, : len(items)].tolist() == scores
        assert (item_BK[b, len(items) :] == -1).all()


def test_zeros_of_both_signs_are_equal() -> None:
    item_IF = np.array([[0.0], [-0.0], [1.0], [0.0]], np.float32)
    query_BF = np.array([[-0.0], [1.0], [-1.0]], np.float32)
    tiles = TiledTopK.of(item_IF, np.zeros(4, np.float32))
    item_BK, _, _ = tiles.best(query_BF, np.zeros(3, np.float32), wanted(4, [4, 4, 4]))
    assert item_BK.tolist() == [[0, 1, 2, 3], [2, 0, 1, 3], [0, 1, 3, 2]]


def gaussian(n_items: int, n_factors: int, seed: int = 0) -> tuple[Float32, Float32]:
    """Items whose lengths differ as those of a factorisation do, and queries."""
    rng = np.random.default_rng(seed)
    item_IF = rng.standard_normal((n_items, n_factors)) * rng.lognormal(0, 1, (n_items, 1))
    return item_IF.astype(np.float32), rng.standard_normal((9, n_factors)).astype(np.float32)


def test_long_items_are_enough() -> None:
    """The bound ends the search early, and nothing is lost by it."""
    item_IF, query_BF = gaussian(5000, 20)
    tiles = TiledTopK.of(item_IF, np.zeros(5000, np.float32))
    item_BK, score_BK, gone = tiles.best(query_BF, np.zeros(9, np.float32), wanted(5000, [10] * 9))
    assert gone < 0.2 * 9 * len(tiles.norm_T)
    for b, query_F in enumerate(query_BF):
        items, scores = by_sorting(item_IF @ query_F, np.ones(5000, bool), 10)
        assert item_BK[b].tolist() == items
        np.testing.assert_allclose(score_BK[b], scores, rtol=1e-5)


def test_popularity_of_short_items_is_not_missed() -> None:
    """The shortest item is the most popular one."""
    item_IF, query_BF = gaussian(5000, 20)
    share_I = np.zeros(5000, np.float32)
    shortest = int(np.argmin(np.linalg.norm(item_IF, axis=1)))
    share_I[shortest] = 1000
    asked = wanted(5000, [3] * 9)
    item_BK, _, _ = TiledTopK.of(item_IF, share_I).best(query_BF, np.ones(9, np.float32), asked)
    assert (item_BK[:, 0] == shortest).all()


def test_a_list_does_not_depend_on_who_else_asks() -> None:
    """To the last bit."""
    item_IF, query_BF = gaussian(3000, 31)
    tiles = TiledTopK.of(item_IF, np.zeros(3000, np.float32))
    together = tiles.best(query_BF, np.zeros(9, np.float32), wanted(3000, [7] * 9))
    for b in range(9):
        alone = tiles.best(query_BF[b : b + 1], np.zeros(1, np.float32), wanted(3000, [7]))
        assert alone[0].tolist() == together[0][b : b + 1].tolist()
        assert alone[1].tobytes() == together[1][b : b + 1].tobytes()


def test_few_items_of_a_mask_are_gathered() -> None:
    """Tiles of these items alone, and the bits of all scores."""
    item_IF, query_BF = gaussian(6000, 31)
    share_I = np.linspace(0, 1, 6000, dtype=np.float32)
    weight_B = np.ones(9, np.float32)
    mask_MI = np.random.default_rng(1).random((2, 6000)) < np.array([[0.03], [0.5]])
    hidden = [np.flatnonzero(mask_MI[0])[:40].tolist()] * 9
    tiles = TiledTopK.of(item_IF, share_I)
    few = wanted(6000, [150] * 9, hidden, mask_MI, [0] * 9)
    item_BK, score_BK, gone = tiles.best(query_BF, weight_B, few)
    assert gone <= 9 * (1 + mask_MI[0].sum() // TILE)
    scores_BI = tiles.scores(query_BF, weight_B)
    listed_I = mask_MI[0].copy()
    listed_I[hidden[0]] = False
    for b in range(9):
        items, scores = by_sorting(scores_BI[b], listed_I, 150)
        assert item_BK[b, : len(items)].tolist() == items
        assert score_BK[b, : len(items)].tolist() == scores
    mixed = wanted(6000, [5] * 9, hidden, mask_MI, [-1, 0, 1] * 3)
    together = tiles.best(query_BF, weight_B, mixed)
    for b in range(9):
        alone = tiles.best(query_BF[[b]], weight_B[[b]], mixed.take(np.array([b])))
        assert alone[0].tolist() == together[0][[b]].tolist()
        assert alone[1].tobytes() == together[1][[b]].tobytes()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_rows_that_are_no_numbers_are_refused(odd: float) -> None:
    tiles = TiledTopK.of(np.ones((3, 2), np.float32), np.zeros(3, np.float32))
    with pytest.raises(DataError, match="not numbers"):
        tiles.best(np.array([[1, odd]], np.float32), np.zeros(1, np.float32), wanted(3, [1]))
