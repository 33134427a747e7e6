"""iALS and CDIMF with item features: the normal equations, the limits, and new items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from worlds import (
    dense,
    far,
    featured,
    identity_features,
    own_events,
    random_features,
    twin_ridge,
    twin_step,
    uneven,
)

import landbridge as lb
from landbridge.core.threads import thread_limit
from landbridge.data.dataset import MultiDomain
from landbridge.data.products import equal_ids, products_of
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import Consensus
from landbridge.models.als.feature_map import FeatureMap
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
ALL_USERS = Queries.of_users(np.arange(-1, 60))
METHODS = [IALS(4, "separate", epochs=4), IALS(4, "joined", epochs=4), CDIMF(4, epochs=4)]
FEW = [*METHODS, IALS(4, "joined", epochs=4, solver="auto")]


def hidden(data: MultiDomain, item: int = 3) -> MultiDomain:
    """Without the events of one item of every domain."""
    return data.with_events({name: t.take(t.item_idx != item) for name, t in data.domains.items()})


def scores(fitted: ALSModel) -> dict[str, np.ndarray]:
    return {name: fitted.score(name, ALL_USERS) for name in fitted.history.domain_names}


def equal(one: ALSModel, other: ALSModel) -> bool:
    return all(np.array_equal(mine, scores(other)[name]) for name, mine in scores(one).items())


def test_the_map_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    features_JV = np.where(rng.random((50, 12)) < 0.3, rng.random((50, 12)), 0)
    learned_J, ridge_J = rng.random(50) < 0.8, rng.uniform(0.1, 2, 50).astype(np.float32)
    item_JF, start_VF = rng.normal(size=(50, 3)).astype(np.float32), rng.normal(size=(12, 3))
    made = FeatureMap.of(csr_array(features_JV), learned_J, ridge_J, 2.0)
    system = (features_JV.T * (ridge_J * learned_J)) @ features_JV
    system += 2.0 * ridge_J[learned_J].mean() * np.eye(12)
    right = features_JV.T @ ((ridge_J * learned_J)[:, None] * item_JF)
    expected_VF = np.linalg.solve(system, right)
    assert far(made.fit(item_JF, start_VF.astype(np.float32), 50), expected_VF) < 2e-3
    assert far(made.pull(expected_VF), (ridge_J * learned_J)[:, None] * (features_JV @ expected_VF)) < 1e-6


@pytest.mark.parametrize("method", FEW, ids=str)
def test_a_large_penalty_is_the_model_without_features(method: Method) -> None:
    data = uneven()
    plain = method.fit(data, ONE)
    off = method.with_settings({"feature_reg": 1e9}).fit(random_features(data), ONE)
    assert equal(plain, off)
    assert not method.with_settings({"feature_reg": 1e9}).uses_features
    near = method.with_settings({"feature_reg": 1e8}).fit(random_features(data), ONE)
    assert all(far(mine, scores(plain)[name]) < 1e-3 for name, mine in scores(near).items())
    assert not equal(plain, method.fit(random_features(data), ONE))


@pytest.mark.parametrize("sharing", ["separate", "joined"])
@pytest.mark.parametrize("reg", [0.2, 1.0])
def test_a_feature_for_every_item_is_the_model_without_features(reg: float, sharing: str) -> None:
    """y = a + e with κ = rλ costs λ r/(1+r) ‖y‖² at the best division. Only the product of the users' and the
    items' penalty matters for scores, so the plain model has the penalty λ √(r/(1+r))."""
    data = uneven()
    settings = {"frequency_exponent": 0.0, "epochs": 300, "sharing": sharing, "factors": 1}
    own = IALS.from_settings({**settings, "reg": 1.5, "feature_reg": reg}).fit(identity_features(data), ONE)
    plain = IALS.from_settings({**settings, "reg": 1.5 * (reg / (1 + reg)) ** 0.5}).fit(data, ONE)
    for name in data.domain_names:
        assert far(own.warm_scores(name, ALL_USERS), plain.warm_scores(name, ALL_USERS)) < 1e-2


def twin(data: MultiDomain, method: IALS, start_IF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One domain in float64, dense: users, items at the map, map; then items of new ones."""
    (name,) = data.domain_names
    assert data.item_features is not None
    weight_UI, f_IV = dense(data[name]), data.item_features.matrix(name).toarray()
    learned_I = weight_UI.any(axis=0)
    ridge_U, ridge_I = twin_ridge(weight_UI, method), twin_ridge(weight_UI.T, method)
    y_IF, a_VF = start_IF.astype(float), np.zeros((f_IV.shape[1], method.factors))
    kappa, known_IV = method.feature_reg * ridge_I[learned_I].mean(), f_IV * learned_I[:, None]
    system_VV = (known_IV.T * ridge_I) @ known_IV + kappa * np.eye(len(a_VF))
    for _ in range(method.epochs):
        x_UF = twin_step(weight_UI, y_IF, method.alpha0, ridge_U)
        pull_IF = ridge_I[:, None] * (known_IV @ a_VF)
        y_IF = twin_step(weight_UI.T, x_UF, method.alpha0, ridge_I, pull_IF)
        a_VF = np.linalg.solve(system_VV, (known_IV.T * ridge_I) @ y_IF)
    x_UF = twin_step(weight_UI, y_IF, method.alpha0, ridge_U)
    return x_UF, np.where(learned_I[:, None], y_IF, f_IV @ a_VF)


@pytest.mark.parametrize("solver", ["exact", "auto"])
def test_a_fit_is_that_of_the_dense_twin(solver: str) -> None:
    data = hidden(random_features(uneven(weighted=True).select(["a"])))
    method = IALS(4, epochs=5, reg=0.5, alpha0=0.1, feature_reg=3.0, solver=solver)
    start = method._start(data, {"a": (data["a"], {"a": np.arange(40, dtype=np.int32)})}, _NO_MAP, ONE)
    x_UF, y_IF = twin(data, method, start["item:a"])
    fitted = method.fit(data, ONE)
    known = Queries.of_users(np.flatnonzero(data["a"].user_counts))
    assert far(fitted.score("a", known), (x_UF @ y_IF.T)[known.user_idx]) < 2e-3


class _Side:
    feature_map = user_map = None


_NO_MAP: Any = {"a": _Side()}


@pytest.mark.parametrize("method", FEW, ids=str)
def test_new_items_have_the_embedding_of_their_features(method: Method) -> None:
    data = hidden(random_features(uneven()))
    fitted = method.fit(data, ONE)
    assert isinstance(fitted, ALSModel)
    assert data.item_features is not None
    for name in data.domain_names:
        assert data.new_items(name)[3]
        expected_F = data.item_features.matrix(name)[[3]] @ fitted.map_VF[name]
        assert np.allclose(fitted.item_IF[name][3], expected_F, atol=1e-6)
        assert np.abs(expected_F).max() > 0


@pytest.mark.parametrize("method", FEW, ids=str)
def test_new_items_change_nothing_for_others(method: Method) -> None:
    """Their rows are no evidence: not of what their features say, nor of what users do not like."""
    data = hidden(random_features(uneven()))
    assert data.item_features is not None
    rows = {}
    for name, own in data.item_features.rows.items():
        row_IV = data.item_features.matrix(name).toarray()
        row_IV[3] = np.arange(own.columns.max() + 1)
        rows[name] = row_IV
    one, other = method.fit(data, ONE), method.fit(featured(data, rows), ONE)
    for name in data.domain_names:
        others_I = np.arange(data[name].n_items) != 3
        mine, same = scores(one)[name], scores(other)[name]
        assert np.array_equal(mine[:, others_I], same[:, others_I])
        assert not np.array_equal(mine[:, 3], same[:, 3])


@pytest.mark.parametrize("method", FEW, ids=str)
def test_users_fold_in_to_their_embedding_beside_new_items(method: Method) -> None:
    data = hidden(random_features(uneven()))
    fitted = method.fit(data, ONE)
    new = Queries(np.full(data.n_users, -1, np.int32), own_events(data))
    for name in data.domain_names:
        known = Queries.of_users(np.arange(data.n_users))
        assert far(fitted.score(name, new), fitted.score(name, known)) < 2e-3


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_order_of_features_changes_nothing(method: Method) -> None:
    data = random_features(uneven())
    assert data.item_features is not None
    order = np.random.default_rng(0).permutation(5)
    turned = {name: data.item_features.matrix(name).toarray()[:, order] for name in data.domain_names}
    one, other = method.fit(data, ONE), method.fit(featured(data, turned), ONE)
    for name in data.domain_names:
        assert far(scores(one)[name], scores(other)[name]) < 1e-3


def test_cdimf_has_one_map_for_all_domains() -> None:
    fitted = CDIMF(4, epochs=3).fit(random_features(uneven()), ONE)
    assert len({id(map_VF) for map_VF in fitted.map_VF.values()}) == 1


def test_a_shared_product_has_the_features_of_its_items() -> None:
    data = uneven({"a": (30, 50), "b": (30, 50)})
    data = replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))
    data = random_features(data)
    # unknown in one domain only: the other's events say what it is
    one = data.with_events({"a": data["a"].take(data["a"].item_idx != 3), "b": data["b"]})
    fitted = IALS(4, "joined", epochs=3).fit(one, ONE)
    assert data.item_features is not None
    mapped_F = (data.item_features.matrix("a")[[3]] @ fitted.map_VF["a"])[0]
    assert not np.allclose(fitted.item_IF["a"][3], mapped_F, atol=1e-4)
    neither = IALS(4, "joined", epochs=3).fit(hidden(data), ONE)
    mapped_F = (data.item_features.matrix("a")[[3]] @ neither.map_VF["a"])[0]
    assert np.allclose(neither.item_IF["a"][3], mapped_F, atol=1e-6)


@pytest.mark.parametrize("method", FEW, ids=str)
def test_a_warm_start_begins_with_a_map(method: Method) -> None:
    data = hidden(random_features(uneven()))
    long = method.with_settings({"epochs": 30}).fit(data, ONE)
    again = long.refit(data, ONE, epochs=1)
    for name in data.domain_names:
        assert far(scores(again)[name], scores(long)[name]) < 0.15


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_parts_of_features_are_the_score_of_a_new_item(method: Method) -> None:
    fitted = method.fit(hidden(random_features(uneven())), ONE)
    user, score = 4, fitted.score("a", Queries.of_users([4]))[0]
    own, known = (fitted.explain("a", Queries.of_users([user]), np.array([item]))[0] for item in (3, 5))
    new, old = (fitted.explain_features("a", Queries.of_users([user]), item) for item in (3, 5))
    assert new
    assert abs(sum(new.values()) - score[3]) < 1e-4
    # an item with events has more than its features
    assert old
    assert abs(sum(old.values()) - score[5]) > 1e-4
    # both views are of one score
    for item, each in ((3, own), (5, known)):
        events = sum(float(part.sum()) for part in each.events.values())
        assert abs(events + each.popularity + each.rest - score[item]) < 1e-4
    shown = lb.explain_features(fitted, "a", user, 3)
    assert shown["contribution"].is_sorted(descending=True)
    assert abs(shown["contribution"].sum() - score[3]) < 1e-4
    assert shown["feature"][0].startswith("kind = ")


def test_without_features_there_are_no_such_parts() -> None:
    assert lb.explain_features(IALS(4, epochs=2).fit(uneven(), ONE), "a", 4, 3).is_empty()


def test_cdimf_of_one_domain_is_ials_from_the_same_start() -> None:
    data = hidden(random_features(uneven().select(["a"])))
    method = CDIMF(4, 0.1, 0.5, epochs=5, consensus=Consensus("active"), feature_reg=3.0)
    members = method.members(data, 0)
    domains = method._domain_states(data, members.tied_U)
    feature_map = method._feature_map(data, domains)
    assert feature_map is not None
    with thread_limit(1):
        state = method._with_map(feature_map, lambda: method._start(domains, members, 0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IALS, "_start", lambda *_: {"item:a": state["y:a"], "map:a": state["map"]})
        alone = IALS(4, alpha0=0.1, reg=0.5, epochs=5, feature_reg=3.0).fit(data, ONE)
    assert far(method.fit(data, ONE).score("a", ALL_USERS), alone.score("a", ALL_USERS)) < 1e-3
