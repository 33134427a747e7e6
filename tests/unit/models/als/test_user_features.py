"""iALS and CDIMF with user features: a dense twin, users without events, and users who bring events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from worlds import (
    dense,
    described,
    far,
    of_tables,
    own_events,
    random_features,
    twin_ridge,
    twin_step,
    uneven,
)

import landbridge as lb
from landbridge import store
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.products import equal_ids, products_of
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
METHODS = [IALS(4, "separate", epochs=4), IALS(4, "joined", epochs=4), CDIMF(4, epochs=4)]
OFF = {"user_feature_reg": 1e9}
GROUPS, NEW = 4, 40


def random_users(data: MultiDomain, kinds: int = 5) -> MultiDomain:
    """Random features of most users; user 7 has no event."""
    row_UV = np.random.default_rng(1).random((data.n_users, kinds))
    row_UV = np.where(row_UV < 0.4, row_UV, 0)
    row_UV[7, 0] = 1.0
    tables = {name: table.take(table.user_idx != 7) for name, table in data.domains.items()}
    return described(data.with_events(tables), row_UV)


def groups(seed: int = 0) -> MultiDomain:
    """Two domains: a user's group, of which the last ``NEW`` users have no event, decides what they like."""
    rng, users, items = np.random.default_rng(seed), 120, 40
    tables = {}
    for name in ("food", "kitchen"):
        known = users - NEW
        own = [rng.permutation(np.arange(user % GROUPS, items, GROUPS))[:5] for user in range(known)]
        user_idx = np.concatenate([np.repeat(np.arange(known), 5), np.arange(known)])
        # one thing that all like most
        item_idx = np.concatenate([*own, np.zeros(known, int)])
        tables[name] = Interactions.from_events(user_idx, item_idx, users, items)
    return described(of_tables(tables), np.eye(GROUPS)[np.arange(users) % GROUPS])


def own_group(scores_UI: np.ndarray) -> float:
    """How many of the new users' ten best items are of their group."""
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    return float((best_U10 % GROUPS == np.arange(120 - NEW, 120)[:, None] % GROUPS).mean())


@pytest.mark.parametrize("solver", ["exact", "auto"])
def test_a_fit_is_that_of_the_dense_twin(solver: str) -> None:
    """The map is the ridge regression of the users on their features, in every sweep."""
    data = random_users(uneven(weighted=True).select(["a"]))
    assert data.user_features is not None
    method = IALS(4, epochs=5, reg=0.5, alpha0=0.1, user_feature_reg=3.0, solver=solver)
    weight_UI, g_UV = dense(data["a"]), data.user_features.matrix().toarray()
    known_U = weight_UI.any(axis=1)
    ridge_U, ridge_I = twin_ridge(weight_UI, method), twin_ridge(weight_UI.T, method)
    known_UV, b_VF = g_UV * known_U[:, None], np.zeros((g_UV.shape[1], 4))
    system_VV = (known_UV.T * ridge_U) @ known_UV + 3.0 * ridge_U[known_U].mean() * np.eye(len(b_VF))
    none = {"a": SimpleNamespace(feature_map=None, user_map=None)}
    table = {"a": (data["a"], {"a": np.arange(40, dtype=np.int32)})}
    y_IF = method._start(data, table, none, ONE)["item:a"].astype(float)

    def users() -> np.ndarray:
        return twin_step(weight_UI, y_IF, method.alpha0, ridge_U, ridge_U[:, None] * (known_UV @ b_VF))

    for _ in range(method.epochs):
        x_UF = users()
        b_VF = np.linalg.solve(system_VV, (known_UV.T * ridge_U) @ x_UF)
        y_IF = twin_step(weight_UI.T, x_UF, method.alpha0, ridge_I)
    x_UF = np.where(known_U[:, None], users(), g_UV @ b_VF)
    fitted = method.fit(data, ONE)
    described_U = np.flatnonzero(known_U | g_UV.any(axis=1))
    assert far(fitted.warm_scores("a", Queries.of_users(described_U)), (x_UF @ y_IF.T)[described_U]) < 2e-3


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_user_without_events_has_the_embedding_of_the_features(method: Method) -> None:
    fitted = method.fit(random_users(uneven()), ONE)
    assert isinstance(fitted, ALSModel)
    features, new = fitted.history.user_features, Queries.of_users([7])
    assert features is not None
    for name in fitted.history.domain_names:
        expected_F = features.matrix()[[7]] @ fitted.user_map_VF[name]
        assert np.allclose(fitted.query_vectors(name, new), expected_F, atol=1e-6)
        assert fitted.knows(name, new)[0]
        assert not fitted.knows(name, Queries.of_users([-1]))[0]


@pytest.mark.parametrize("method", [*METHODS, IALS(4, "joined", epochs=4, dislike_weight=0.2)], ids=str)
def test_known_users_are_folded_in_with_their_features(method: Method) -> None:
    data = random_users(uneven())
    if isinstance(method, IALS) and method.dislike_weight:
        data = replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))
    fitted = method.with_settings({"epochs": 12}).fit(data, ONE)
    users = np.arange(data.n_users, dtype=np.int32)
    for name in data.domain_names:
        stored = fitted.score(name, Queries.of_users(users))
        brought = fitted.score(name, Queries(users, own_events(data)))
        assert far(brought, stored) < 2e-2
        # an unknown user with these events has no features
        unknown = fitted.score(name, Queries(np.full_like(users, -1), own_events(data)))
        assert far(unknown, stored) > 2e-2


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_without_features_or_a_map_nothing_changes(method: Method) -> None:
    data = uneven()
    plain = method.fit(data, ONE)
    off = method.with_settings(OFF)
    assert not off.uses_user_features
    for name in data.domain_names:
        users = Queries.of_users(np.arange(data.n_users))
        described_too = off.fit(replace(random_users(data), domains=data.domains), ONE)
        assert np.array_equal(plain.score(name, users), described_too.score(name, users))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_new_users_are_served_by_their_group(method: Method, tmp_path: Path) -> None:
    data = groups()
    assert data.new_users_U.tolist() == [False] * (120 - NEW) + [True] * NEW
    new = Queries.of_users(np.arange(120 - NEW, 120))
    popular = Popularity().fit(data, ONE)
    fitted = method.with_settings({"epochs": 8, "popularity_weight": 0.0}).fit(data, ONE)
    store.save(fitted, tmp_path / "run")
    loaded = store.load(tmp_path / "run")
    loaded.check_arrays()
    for name in data.domain_names:
        assert own_group(fitted.score(name, new)) > 0.9 > 2 * own_group(popular.score(name, new))
        assert np.array_equal(loaded.score(name, new), fitted.score(name, new))
        blind = method.with_settings({**OFF, "epochs": 8}).fit(data, ONE)
        assert own_group(blind.score(name, new)) < 0.5
    lists = lb.recommend(loaded, "food", users=[119], k=5)
    assert all(item % GROUPS == 119 % GROUPS or item == 0 for item in lists["item"])  # all like item 0


def test_there_is_no_map_without_a_common_space() -> None:
    for admm in (ADMM(rho=0.0), ADMM(variant="paper_code")):
        method = CDIMF(4, epochs=2, admm=admm)
        assert not method.uses_user_features
        assert not method.fit(random_users(uneven()), ONE).user_map_VF


def test_features_of_users_and_items_work_together() -> None:
    data = random_features(random_users(uneven()))
    fitted = CDIMF(4, epochs=4).fit(data, ONE)
    assert set(fitted.map_VF) == set(fitted.user_map_VF) == set(data.domain_names)
