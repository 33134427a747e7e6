"""Lists under rules are those of a slow twin that reads as the equations, and obey every rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.types import Ragged
from landbridge.ranking import rerank as module
from landbridge.ranking.rerank import ItemVectors, Reranking, rerank

LEVELS = np.array([-np.inf, -1.5, 0.0, 0.25, 2.0, 2.5, 7.0], np.float32)


@dataclass
class World:
    scores_I: np.ndarray
    hidden: set[int]
    k: int
    how: Reranking
    values: list[set[int]]
    pins: list[tuple[int, int]]
    cosine_II: np.ndarray


@st.composite
def worlds(draw: st.DrawFn) -> World:
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    n_items, n_users = draw(st.integers(1, 60)), 12
    ties = draw(st.booleans())
    scores_I = rng.choice(LEVELS, n_items) if ties else rng.normal(size=n_items).astype(np.float32)
    hidden = set(rng.integers(0, n_items, rng.integers(0, n_items + 1)).tolist())
    n_values = draw(st.integers(1, 5))
    values = [
        set(rng.choice(n_values, rng.integers(0, min(3, n_values + 1)), replace=False).tolist())
        for _ in range(n_items)
    ]
    limit_V = rng.integers(0, 4, n_values)
    bonus = None if draw(st.booleans()) else rng.choice([-0.5, 0.0, 0.25, 3.0], n_items)
    n_pins = draw(st.integers(0, 3))
    pin_P = rng.choice(n_items, min(n_pins, n_items), replace=False)
    place_P = np.sort(rng.choice(8, len(pin_P), replace=False))
    has_factors = draw(st.booleans())
    users = [np.flatnonzero(rng.random(n_users) < 0.4) for _ in range(n_items)]
    rows_IF = rng.normal(size=(n_items, 3)) if has_factors else _dense(users, n_users)
    norm_I = np.linalg.norm(rows_IF, axis=1, keepdims=True)
    unit_IF = rows_IF / np.where(norm_I > 0, norm_I, 1)
    vectors = ItemVectors(
        unit_IF.astype(np.float32) if has_factors else np.zeros((n_items, 0), np.float32),
        Ragged.from_rows(users),
        n_users,
    )
    how = Reranking(
        draw(st.sampled_from([0.0, 0.0, 0.3, 0.9, 1.0])),
        bonus,
        Ragged.from_rows([sorted(own) for own in values]),
        limit_V,
        pin_P.astype(np.int32),
        place_P.astype(np.int32),
        vectors,
    )
    pins = list(zip(pin_P.tolist(), place_P.tolist(), strict=True))
    return World(scores_I, hidden, draw(st.integers(1, 12)), how, values, pins, unit_IF @ unit_IF.T)


def _dense(users: list[np.ndarray], n_users: int) -> np.ndarray:
    has_IU = np.zeros((len(users), n_users))
    for item, own in enumerate(users):
        has_IU[item, own] = 1
    return has_IU


def naive(world: World, pool: int, per_place: int, reference: int, found: list[int]) -> list[int]:
    """Eq. (1) to (3), item by item; of items that are equal but for rounding the one that was ``found``."""
    s, how = world.scores_I.astype(float), world.how
    free = [i for i in range(len(s)) if i not in world.hidden and s[i] > -math.inf]
    by_score = sorted(free, key=lambda i: (-s[i], i))
    if not by_score:
        return []
    best, low = s[by_score[0]], s[by_score[:reference][-1]]
    if best == low:
        low = s[by_score[-1]]
    unit = best - low if best > low else 1.0
    bonus = np.zeros(len(s)) if how.bonus_I is None else how.bonus_I
    a = {i: (s[i] - low) / unit + bonus[i] for i in free}
    order = by_score if how.bonus_I is None else sorted(free, key=lambda i: (-a[i], i))
    size = min(max(pool, per_place * world.k), len(s))
    while True:
        listed = _greedy(world, order[:size], a, free, found)
        if len(listed) == world.k or size >= len(order) or size == len(s):
            return listed
        size = min(4 * size, len(s))


def _greedy(
    world: World, candidates: list[int], a: dict[int, float], free: list[int], found: list[int]
) -> list[int]:
    how, counts, chosen, fixed = world.how, dict[int, int](), list[int](), dict[int, int]()

    def admits(i: int) -> bool:
        return all(counts.get(v, 0) < how.limit_V[v] for v in world.values[i])

    def take(i: int) -> None:
        chosen.append(i)
        for v in world.values[i]:
            counts[v] = counts.get(v, 0) + 1

    for item, place in world.pins:
        if place < world.k and item in free and admits(item):
            fixed[place] = item
            take(item)
    others: list[int] = []
    while len(others) + len(fixed) < world.k:
        left = [i for i in candidates if i not in chosen and admits(i)]
        if not left:
            break

        def gain(i: int) -> float:
            near = max([0.0, *(world.cosine_II[i, j] for j in chosen)])
            return (1 - how.diversity) * a[i] - how.diversity * near

        top = max(gain(i) for i in left)
        equal = [i for i in left if gain(i) >= top - 1e-6]
        item = min(equal, key=lambda i: (i not in found, found.index(i) if i in found else 0))
        item = item if how.diversity else left[0]
        others.append(item)
        take(item)
    places: list[int] = []
    for place in range(world.k):
        if place in fixed:
            places.append(fixed[place])
        elif others:
            places.append(others.pop(0))
    return places


def listed(world: World) -> list[int]:
    hidden = Ragged.from_rows([sorted(world.hidden)] * 2)
    items, scores = rerank(np.stack([world.scores_I] * 2), world.k, hidden, world.how)
    assert items[0].tolist() == items[1].tolist()
    found = [item for item in items[0].tolist() if item >= 0]
    assert items[0].tolist() == found + [-1] * (len(items[0]) - len(found))
    assert scores[0, : len(found)].tolist() == world.scores_I[found].tolist()
    return found


@given(worlds(), st.sampled_from([(1, 1), (5, 1), (100, 4)]))
def test_lists_are_those_of_the_equations(world: World, pool: tuple[int, int]) -> None:
    before = module.POOL, module.PER_PLACE
    module.POOL, module.PER_PLACE = pool
    try:
        found = listed(world)
    finally:
        module.POOL, module.PER_PLACE = before
    expected = naive(world, *pool, module.REFERENCE, found)
    assert found == expected


@given(worlds())
def test_lists_obey_every_rule_and_are_as_long_as_they_can_be(world: World) -> None:
    found = listed(world)
    how = world.how
    assert len(set(found)) == len(found)
    for item in found:
        assert item not in world.hidden
        assert world.scores_I[item] > -np.inf
    counts = [sum(v in world.values[i] for i in found) for v in range(len(how.limit_V))]
    assert all(count <= limit for count, limit in zip(counts, how.limit_V, strict=True))
    if len(found) < world.k:  # nothing that could have been listed is left
        for item in range(len(world.scores_I)):
            if item in found or item in world.hidden or world.scores_I[item] == -np.inf:
                continue
            assert any(counts[v] >= how.limit_V[v] for v in world.values[item])


@given(worlds())
def test_without_rules_a_list_is_the_plain_one(world: World) -> None:
    from landbridge.ranking.top_k import top_k

    hidden = Ragged.from_rows([sorted(world.hidden)])
    plain, _ = top_k(world.scores_I[None], world.k, hidden)
    items, _ = rerank(world.scores_I[None], world.k, hidden, Reranking())
    n = int((items[0] >= 0).sum())
    finite = [i for i in plain[0].tolist() if i >= 0 and world.scores_I[i] > -np.inf]
    assert items[0, :n].tolist() == finite
