"""Lists without products that a user has in another domain: a slow twin, and the lists themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import uneven

from landbridge.core.errors import StoreError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.products import equal_ids, products_of
from landbridge.data.seen import Seen
from landbridge.inference import ListRules, recommend, recommend_all
from landbridge.models.popularity import Popularity

NONE = ListRules(seen_elsewhere=False)


def world(seed: int = 0, share: float = 0.5) -> MultiDomain:
    """Three domains of the same users, some equal ids linked, and pairs that are seen or disliked."""
    rng, data = np.random.default_rng(seed), uneven(users=20, seed=seed)
    pair_L2 = equal_ids(data.items)
    pair_L2 = pair_L2[rng.random(len(pair_L2)) < share]
    seen, tables = {}, {}
    for name, events in data.domains.items():
        rest_N = rng.random(len(events)) < 0.3
        seen[name] = Seen(events.take(rest_N), rng.random(int(rest_N.sum())) < 0.5)
        tables[name] = events.take(~rest_N)
    return replace(data, domains=tables, seen=seen, products=products_of(data.items, pair_L2, by_id=False))


def rows(ragged: Ragged) -> list[set[int]]:
    return [set(ragged.take([row]).columns.tolist()) for row in range(len(ragged))]


def twin(data: MultiDomain, domain: str, user: int) -> set[int]:
    """Item after item: whether any other domain has a pair of the user and its product."""
    assert data.products is not None
    had = {
        int(data.products.product_I[name][item])
        for name in data.domain_names
        if name != domain
        for table in (data[name], data.seen[name].pairs)
        for item in table.item_idx[table.user_idx == user].tolist()
    }
    return {item for item, product in enumerate(data.products.product_I[domain].tolist()) if product in had}


@given(seed=st.integers(0, 60), share=st.sampled_from([0.0, 0.3, 1.0]), seen=st.booleans())
def test_what_is_left_out_is_what_the_slow_twin_finds(seed: int, share: float, seen: bool) -> None:
    data = world(seed, share)
    user_B = np.array([3, 0, 3, 19], np.int32)
    for name in data.domain_names:
        own = rows(data.left_out(name, user_B, seen=seen))
        both = rows(data.left_out(name, user_B, seen=seen, seen_elsewhere=False))
        for user, before, after in zip(user_B.tolist(), own, both, strict=True):
            assert after == before | twin(data, name, user)


@pytest.mark.parametrize("seen", [False, True])
def test_lists_hold_all_but_what_is_left_out(seen: bool, tmp_path: Path) -> None:
    data = world()
    fitted = Popularity().fit(data)
    every = recommend(fitted, "a", k=40, seen=seen)
    lists = recommend(fitted, "a", k=40, seen=seen, rules=NONE)
    for user in range(data.n_users):
        usual, own = (set(frame.filter(user=user)["item"].to_list()) for frame in (every, lists))
        assert own == usual - twin(data, "a", user)
    assert len(lists) < len(every)
    recommend_all(fitted, "a", tmp_path / "lists", k=40, block=7, seen=seen, rules=NONE)
    assert pl.read_parquet(tmp_path / "lists" / "*.parquet").equals(lists)
    with pytest.raises(StoreError, match="other rules"):
        recommend_all(fitted, "a", tmp_path / "lists", k=40, block=7, seen=seen)


def test_without_shared_items_nothing_is_left_out_besides() -> None:
    fitted = Popularity().fit(replace(world(), products=None))
    assert recommend(fitted, "a", k=40, rules=NONE).equals(recommend(fitted, "a", k=40))
