"""Candidates: uniform over what is allowed, never a positive, equal for equal seeds."""

import numpy as np
import pytest
from scipy.stats import chisquare

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_one_out, with_candidates
from landbridge.data.vocabulary import Vocabulary

USERS, ITEMS = 300, 40


def split_of(density: float = 0.2, unknown_items: int = 5) -> Split:
    rng = np.random.default_rng(3)
    tables = {}
    for name in "ab":
        mask = rng.random((USERS, ITEMS)) < density
        mask[:, ITEMS - unknown_items :] = False
        tables[name] = Interactions.from_events(*np.nonzero(mask), USERS, ITEMS)
    items = {name: Vocabulary.of(np.arange(ITEMS)) for name in tables}
    return leave_one_out(MultiDomain(Vocabulary.of(np.arange(USERS)), items, tables))


def draws(split: Split) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(domain, users, candidates) of validation and test."""
    out = []
    for holdout in (split.valid, split.test):
        for name, targets in holdout.targets.items():
            assert targets.candidates_TC is not None
            out.append((name, targets.user_idx, targets.candidates_TC))
    return out


def test_no_positive_no_repeat_no_unknown_item() -> None:
    split = with_candidates(split_of(), 12, seed=1)
    assert split.test.protocol == "1+12"
    for name, users, table in draws(split):
        flat = np.repeat(users, 12), table.ravel()
        assert not split.test.history[name].contains(*flat).any()
        held = split.test.targets[name]
        own = dict(zip(held.user_idx.tolist(), held.item_idx.tolist(), strict=True))
        assert all(own[u] not in row for u, row in zip(users.tolist(), table.tolist(), strict=True))
        assert (np.diff(np.sort(table, axis=1), axis=1) > 0).all()
        assert table.min() >= 0
        assert table.max() < ITEMS - 5


def test_every_allowed_item_is_equally_likely_in_every_place() -> None:
    split = split_of(density=0.3)
    targets, history = split.test.targets["a"], split.test.history["a"]
    user = int(targets.user_idx[7])
    allowed = ~history.contains(np.full(ITEMS, user), np.arange(ITEMS)) & (history.item_counts > 0)
    allowed[targets.item_idx[7]] = False
    counts = np.zeros((3, ITEMS))
    for seed in range(2000):
        table = with_candidates(split, 3, seed=seed).test.targets["a"].candidates_TC
        assert table is not None
        counts[np.arange(3), table[7]] += 1
    assert counts[:, ~allowed].sum() == 0
    for place in counts:
        assert chisquare(place[allowed]).pvalue > 0.001
    assert chisquare(counts.sum(axis=0)[allowed]).pvalue > 0.001


def test_the_draw_depends_on_its_seed_and_domain_alone() -> None:
    split = split_of()
    one, same, other = (with_candidates(split, 5, seed=seed) for seed in (1, 1, 2))
    for a, b, c in zip(draws(one), draws(same), draws(other), strict=True):
        assert np.array_equal(a[2], b[2])
        assert not np.array_equal(a[2], c[2])


def test_a_small_catalogue_allows_known_items_but_never_targets() -> None:
    split = with_candidates(split_of(density=0.6), 33, seed=0)  # 35 known items, about 21 of them a user's
    seen = 0
    for name, users, table in draws(split):
        seen += split.test.history[name].contains(np.repeat(users, 33), table.ravel()).sum()
        for holdout in (split.valid, split.test):
            held = holdout.targets[name]
            own = dict(zip(held.user_idx.tolist(), held.item_idx.tolist(), strict=True))
            assert all(
                own.get(u, -1) not in row for u, row in zip(users.tolist(), table.tolist(), strict=True)
            )
    assert seen > 0


def test_too_many_candidates_are_refused() -> None:
    with pytest.raises(DataError, match="'a' has 35 items with events, too few for 34"):
        with_candidates(split_of(), 34)
    with pytest.raises(SettingsError, match="1 or more"):
        with_candidates(split_of(), 0)
