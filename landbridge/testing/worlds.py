"""Small data sets for tests of methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.item_features import ItemFeatures
from landbridge.data.products import equal_ids, products_of
from landbridge.data.vocabulary import Vocabulary


def uneven(
    shape: dict[str, tuple[int, int]] | None = None, users: int = 60, seed: int = 0, weighted: bool = False
) -> MultiDomain:
    """Random events at random times; ``shape``: domain -> (items, users that may have events there)."""
    rng, clock = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    tables = {}
    for name, (items, active) in (shape or {"a": (40, 55), "b": (25, 40), "c": (60, 30)}).items():
        liked_UI = rng.random((users, items)) < 0.15
        liked_UI[rng.permutation(users)[active:]] = False
        user_idx, item_idx = np.nonzero(liked_UI)
        weight = rng.uniform(0.5, 2, len(user_idx)) if weighted else None
        time = clock.integers(1_000_000, size=len(user_idx))
        tables[name] = Interactions.from_events(user_idx, item_idx, users, items, weight, time)
    return of_tables(tables)


def untimed(data: MultiDomain) -> MultiDomain:
    """The same events without their times."""
    return of_tables({name: replace(events, time=None) for name, events in data.domains.items()})


def timed(data: MultiDomain, seed: int = 0) -> MultiDomain:
    """The same events at random times."""
    rng = np.random.default_rng(seed)
    tables = {
        name: replace(table, time=rng.integers(1_000_000, size=len(table)))
        for name, table in data.domains.items()
    }
    return data.with_events(tables)


def of_tables(tables: dict[str, Interactions]) -> MultiDomain:
    """Domains under one user vocabulary; item ids are 0, 1, … in every domain."""
    users = next(iter(tables.values())).n_users
    items = {name: Vocabulary.of(np.arange(table.n_items)) for name, table in tables.items()}
    return MultiDomain(Vocabulary.of(np.arange(users)), items, tables)


def countries(users: int = 40, items: int = 120, groups: int = 6, per: int = 3, seed: int = 0) -> MultiDomain:
    """Two countries of different users and the same items, all shared: user u likes items i with i = u mod
    ``groups``, and has ``per`` of them."""
    rng, names = np.random.default_rng(seed), ("de", "fr")
    tables = {}
    for number, name in enumerate(names):
        user_idx = np.arange(number * users, (number + 1) * users)
        rows = [rng.permutation(np.arange(user % groups, items, groups))[:per] for user in user_idx]
        tables[name] = Interactions.from_events(
            np.repeat(user_idx, per), np.concatenate(rows), len(names) * users, items
        )
    data = of_tables(tables)
    return replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))


def shelves(users: int = 60, items: int = 40, kinds: int = 4, new: int = 5, seed: int = 0) -> MultiDomain:
    """Two domains of the same users and the same kinds of items: user u likes kind u mod ``kinds``, item i is
    of kind i mod ``kinds``, and no user has the last ``new`` items of each kind."""
    rng, tables, rows = np.random.default_rng(seed), {}, {}
    known = items - new * kinds
    for name in ("food", "kitchen"):
        own = [rng.permutation(np.arange(user % kinds, known, kinds))[:3] for user in range(users)]
        noise = rng.integers(0, known, users)
        user_idx = np.concatenate([np.repeat(np.arange(users), 3), np.arange(users)])
        tables[name] = Interactions.from_events(user_idx, np.concatenate([*own, noise]), users, items)
        rows[name] = Ragged.from_rows(list(np.arange(items)[:, None] % kinds))
    names = texts(["kind"] * kinds), texts("abcdefgh"[:kinds])
    return replace(of_tables(tables), item_features=ItemFeatures(*names, rows))


def texts(values: Any) -> Any:
    return np.array([str(value) for value in values], np.dtypes.StringDType())
