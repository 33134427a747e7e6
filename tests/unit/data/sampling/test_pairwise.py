"""Pairs of an epoch: every event once, negatives that are none, and how they are spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from landbridge.core import row_blocks
from landbridge.core.errors import SettingsError
from landbridge.core.rng import generator
from landbridge.core.threads import thread_limit
from landbridge.data.interactions import Interactions
from landbridge.data.sampling.pairwise import NEGATIVES, Pairwise


def table(liked_UI: np.ndarray, weighted: bool = False) -> Interactions:
    user_idx, item_idx = np.nonzero(liked_UI)
    weight = np.arange(1, len(user_idx) + 1, dtype=np.float32) if weighted else None
    return Interactions.from_events(user_idx, item_idx, *liked_UI.shape, weight)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, slice]]:
    """A few users and two domains, from empty to full."""
    users, first, second = (draw(st.integers(1, 6)) for _ in range(3))
    density, seed = draw(st.sampled_from([0.0, 0.2, 0.6, 0.95, 1.0])), draw(st.integers(0, 99))
    liked_UI = np.random.default_rng(seed).random((users, first + second)) < density
    return liked_UI, {"a": slice(0, first), "b": slice(first, first + second)}


@given(worlds(), st.sampled_from(NEGATIVES), st.integers(0, 3))
def test_every_event_with_a_negative_occurs_once_and_no_negative_is_a_positive(
    world: tuple[np.ndarray, dict[str, slice]], negatives: str, epoch: int
) -> None:
    liked_UI, slices = world
    events = table(liked_UI)
    user_N, positive_N, negative_N, _ = Pairwise(events, slices, negatives).epoch(epoch)
    assert not liked_UI[user_N, negative_N].any()
    part_N = np.searchsorted([slices["b"].start], positive_N, side="right")
    if negatives != "all":
        assert np.array_equal(part_N, np.searchsorted([slices["b"].start], negative_N, side="right"))
    ranges = [slice(None)] * 2 if negatives == "all" else list(slices.values())
    wanted = [
        (u, i)
        for u, i in zip(events.user_idx, events.item_idx, strict=True)
        if not liked_UI[u, ranges[int(i >= slices["b"].start)]].all()
    ]
    assert sorted(zip(user_N, positive_N, strict=True)) == wanted


def drawn(negatives: str, epochs: int = 400) -> tuple[Interactions, np.ndarray]:
    """How often each of 12 items was the negative of a user who has items 2, 3 and 7; two domains of 6."""
    liked_UI = np.zeros((9, 12), bool)
    liked_UI[0, [2, 3, 7]] = True
    for user in range(1, 9):  # the higher the item, the more popular
        liked_UI[user, 12 - user :] = True
    events = table(liked_UI)
    pairs = Pairwise(events, {"a": slice(0, 6), "b": slice(6, 12)}, negatives)
    count_I = np.zeros(12, int)
    for epoch in range(epochs):
        user_N, _, negative_N, _ = pairs.epoch(epoch)
        count_I += np.bincount(negative_N[user_N == 0], minlength=12)
    return events, count_I


FREE = np.array([0, 1, 4, 5, 6, 8, 9, 10, 11])


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_negatives_are_spread_as_documented(negatives: str) -> None:
    events, count_I = drawn(negatives)
    expected_I = np.zeros(12)
    if negatives == "all":
        expected_I[FREE] = 1
        expected_I *= count_I.sum() / 9
    else:
        weight_I = np.ones(12) if negatives == "domain" else events.item_counts.astype(float)
        weight_I[[2, 3, 7]] = 0
        for part, positives in ((slice(0, 6), 2), (slice(6, 12), 1)):
            expected_I[part] = 400 * positives * weight_I[part] / weight_I[part].sum()
    assert np.array_equal(count_I > 0, expected_I > 0)
    possible = expected_I > 0
    assert chisquare(count_I[possible], expected_I[possible]).pvalue > 0.01


def test_who_has_all_that_is_popular_gets_something_else() -> None:
    liked_UI = np.zeros((3, 5), bool)
    liked_UI[:, :3] = True
    user_N, _, negative_N, _ = Pairwise(table(liked_UI), {"a": slice(0, 5)}, "popularity").epoch(0)
    assert len(user_N) == 9
    assert set(negative_N) <= {3, 4}


def test_threads_seeds_and_epochs() -> None:
    events = table(np.random.default_rng(0).random((80, 90)) < 0.3)
    slices = {"a": slice(0, 90)}
    runs = []
    for threads in (1, 2):
        with thread_limit(threads):
            runs.append(Pairwise(events, slices, seed=3).epoch(5))
    assert all(np.array_equal(one, other) for one, other in zip(*(run[:3] for run in runs), strict=True))
    for other in (Pairwise(events, slices, seed=4).epoch(5), Pairwise(events, slices, seed=3).epoch(6)):
        assert not np.array_equal(runs[0].positive_N, other.positive_N)
        order, again = (np.lexsort((run.positive_N, run.user_N)) for run in (runs[0], other))
        assert np.mean(runs[0].negative_N[order] == other.negative_N[again]) < 0.1


def test_weights_stay_with_their_events() -> None:
    events = table(np.random.default_rng(0).random((9, 20)) < 0.3, weighted=True)
    pairs = Pairwise(events, {"a": slice(0, 20)}).epoch(0)
    order = np.lexsort((pairs.positive_N, pairs.user_N))
    assert pairs.weight_N is not None
    assert np.array_equal(pairs.weight_N[order], events.weight)


def test_batches_are_the_epoch_in_pieces() -> None:
    pairs = Pairwise(table(np.random.default_rng(0).random((9, 20)) < 0.3), {"a": slice(0, 20)})
    pieces = list(pairs.batches(2, 7))
    assert {len(piece.user_N) for piece in pieces[:-1]} == {7}
    assert np.array_equal(np.concatenate([piece.negative_N for piece in pieces]), pairs.epoch(2).negative_N)


@given(worlds(), st.sampled_from(NEGATIVES), st.integers(1, 9), st.integers(1, 40))
def test_parts_of_any_size_are_the_epoch(
    world: tuple[np.ndarray, dict[str, slice]], negatives: str, size: int, at_once: int
) -> None:
    """And that of a plain shuffle of the events that have a negative."""
    events = table(world[0], weighted=True)
    whole = Pairwise(events, world[1], negatives, 3, "x").epoch(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "AT_ONCE", at_once)
        pairs = Pairwise(events, world[1], negatives, 3, "x")
        parts = list(pairs.parts(2, size))
        assert np.array_equal(pairs.ranges[1], np.sort(events.item_idx)) or negatives != "popularity"
    assert len(parts) == pairs.n_parts(size)
    for column, of_parts in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(column, np.concatenate(of_parts))
    width_N = (
        [world[0].shape[1]] * 2
        if negatives == "all"
        else [part.stop - part.start for part in world[1].values()]
    )
    domain_N = (events.item_idx >= world[1]["b"].start).astype(int)
    own = [
        int(world[0][u].sum() if negatives == "all" else world[0][u, list(world[1].values())[d]].sum())
        for u, d in zip(events.user_idx, domain_N, strict=True)
    ]
    usable_N = np.flatnonzero(np.array(own, int) < np.array(width_N)[domain_N])
    order_N = generator(3, "order", "x", "2").permutation(usable_N)
    assert np.array_equal(whole.positive_N, events.item_idx[order_N])


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'popularity'"):
        Pairwise(table(np.ones((1, 2), bool)), {"a": slice(0, 2)}, "popular")
