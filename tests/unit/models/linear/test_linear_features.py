"""EASE and item-kNN with item features: dense twins, the limits, and what each feature adds to a score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import dense, far, featured, identity_features, random_features, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.products import equal_ids, products_of
from landbridge.models import registry
from landbridge.models.base import Queries
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.fitted import ItemItemModel
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.linear.matrix import DenseMatrix, SparseMatrix
from landbridge.models.linear.method import LinearMethod
from landbridge.models.mixture import BlendModel
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
REG, RATIO, WEIGHT = 7.0, 4.0, 2.5
METHODS = [EASE("cross"), EASE("separate", form="exact"), ItemKNN()]


def weights(fitted: ItemItemModel, target: str) -> np.ndarray:
    """The matrix towards a target domain, (J, I)."""
    parts: list[np.ndarray] = []
    for name, events in fitted.history.domains.items():
        matrix = fitted.matrices[name][target]
        assert isinstance(matrix, DenseMatrix | SparseMatrix)
        parts.append(np.stack([matrix.row(item) for item in range(events.n_items)]))
    return np.concatenate(parts)


def stacked(data: MultiDomain) -> tuple[np.ndarray, np.ndarray, dict[str, slice]]:
    """Events (U, J) and features (J, V) of all domains side by side."""
    assert data.item_features is not None
    x_UJ = np.concatenate([dense(events) for events in data.domains.values()], axis=1)
    f_JV = np.concatenate([data.item_features.matrix(name).toarray() for name in data.domain_names])
    return x_UJ, f_JV, data.joined()[1]


def hidden(data: MultiDomain, item: int = 3) -> MultiDomain:
    return data.with_events({name: t.take(t.item_idx != item) for name, t in data.domains.items()})


@pytest.mark.parametrize("form", ["exact", "dual"])
def test_ease_is_the_regression_on_users_and_features(form: Any) -> None:
    data = hidden(random_features(uneven()))
    x_UJ, f_JV, slices = stacked(data)
    method = EASE("cross", reg=REG, cross_ratio=RATIO, form=form, neighbours=500, feature_weight=WEIGHT)
    fitted = method.fit(data, ONE)
    for target, part in slices.items():
        ridge_J = np.full(len(f_JV), REG * RATIO)
        ridge_J[part] = REG
        p_JJ = np.linalg.inv(x_UJ.T @ x_UJ + WEIGHT * f_JV @ f_JV.T + np.diag(ridge_J))
        b_JJ = -p_JJ / np.diag(p_JJ)
        np.fill_diagonal(b_JJ, 0)
        assert np.allclose(weights(fitted, target), b_JJ[:, part], atol=2e-5)


def test_the_local_form_regresses_on_items_of_common_users_or_features() -> None:
    data = hidden(random_features(uneven()))
    x_UJ, f_JV, slices = stacked(data)
    gram_JJ = x_UJ.T @ x_UJ + WEIGHT * f_JV @ f_JV.T
    method = EASE("joined", reg=REG, form="local", neighbours=500, feature_weight=WEIGHT)
    fitted = method.fit(data, ONE)
    for target, part in slices.items():
        for item in range(part.start, part.stop):
            near = np.flatnonzero((gram_JJ[item] > 0) & (np.arange(len(gram_JJ)) != item))
            system = gram_JJ[np.ix_(near, near)] + REG * np.eye(len(near))
            b_J = np.zeros(len(gram_JJ))
            b_J[near] = np.linalg.solve(system, gram_JJ[near, item])
            assert np.allclose(weights(fitted, target)[:, item - part.start], b_J, atol=1e-4)


def test_a_feature_for_every_item_is_a_larger_ridge() -> None:
    data = uneven()
    own = EASE("joined", reg=REG, form="exact", feature_weight=WEIGHT).fit(identity_features(data), ONE)
    plain = EASE("joined", reg=REG + WEIGHT, form="exact").fit(data, ONE)
    for name in data.domain_names:
        assert np.allclose(weights(own, name), weights(plain, name), atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_without_a_weight_or_features_nothing_changes(method: LinearMethod) -> None:
    data, all_users = uneven(), Queries.of_users(np.arange(-1, 60))
    plain = method.fit(data, ONE)
    others = [
        method.with_settings({"feature_weight": 5.0}).fit(data, ONE),
        method.with_settings({"feature_weight": 0.0}).fit(random_features(data), ONE),
    ]
    for other in others:
        for name in data.domain_names:
            assert np.array_equal(plain.score(name, all_users), other.score(name, all_users))


def test_knn_compares_new_items_by_their_features() -> None:
    data = hidden(random_features(uneven()))
    method = ItemKNN("cross", neighbours=500, shrinkage=0.5, cross_weight=0.3, feature_weight=WEIGHT)
    x_UJ, f_JV, slices = stacked(data)
    x_UJ = x_UJ * np.maximum((x_UJ > 0).sum(axis=1, keepdims=True), 1) ** -0.5
    x_UJ = np.concatenate([x_UJ, WEIGHT**0.5 * f_JV.T])
    norm_J = np.sqrt((x_UJ**2).sum(axis=0))
    norm_J[norm_J == 0] = 1
    for target, part in slices.items():
        like_J = x_UJ.T @ x_UJ[:, part.start + 3] / (norm_J * norm_J[part.start + 3] + 0.5)
        like_J *= np.where(
            (np.arange(len(norm_J)) >= part.start) & (np.arange(len(norm_J)) < part.stop), 1, 0.3
        )
        like_J[part.start + 3] = 0
        assert far(weights(method.fit(data, ONE), target)[:, 3], like_J) < 1e-5


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_order_of_features_changes_nothing(method: LinearMethod) -> None:
    data, all_users = random_features(uneven()), Queries.of_users(np.arange(60))
    assert data.item_features is not None
    rows = {name: data.item_features.matrix(name).toarray()[:, ::-1] for name in data.domain_names}
    one, other = method.fit(data, ONE), method.fit(featured(data, rows), ONE)
    for name in data.domain_names:
        assert far(one.score(name, all_users), other.score(name, all_users)) < 1e-4


def own_parts(fitted: ItemItemModel, domain: str, user: int, item: int) -> np.ndarray:
    """What each feature adds to a score, (V,)."""
    features = fitted.history.item_features
    assert features is not None
    part_V = np.zeros(features.n_features)
    for feature, part in fitted.explain_features(domain, Queries.of_users([user]), item).items():
        part_V[feature] = part
    return part_V


@pytest.mark.parametrize("form", ["exact", "dual", "local"])
def test_users_and_features_make_up_the_scores_of_ease(form: Any) -> None:
    """Each row of the regression has its part in a weight; those of the item's features are explained."""
    data, user, item = hidden(random_features(uneven())), 5, 7
    x_UJ, f_JV, slices = stacked(data)
    method = EASE("cross", reg=REG, cross_ratio=RATIO, form=form, neighbours=500, feature_weight=WEIGHT)
    fitted = method.fit(data, ONE)
    f_JV = WEIGHT**0.5 * f_JV
    for target, part in slices.items():
        place, b_J = part.start + item, weights(fitted, target)[:, item].astype(float)
        ridge_J = np.full(len(f_JV), REG * RATIO)
        ridge_J[part] = REG
        near_J = x_UJ[user] * (b_J != 0) / ridge_J
        of_users_U = (x_UJ @ near_J) * (x_UJ[:, place] - x_UJ @ b_J)
        of_features_V = (f_JV.T @ near_J) * (f_JV[place] - f_JV.T @ b_J)
        assert abs(of_users_U.sum() + of_features_V.sum() - x_UJ[user] @ b_J) < 1e-4
        expected_V = np.where(f_JV[place] > 0, of_features_V, 0)
        assert expected_V.any()
        assert far(own_parts(fitted, target, user, item), expected_V) < 1e-4


@pytest.mark.parametrize("power", [1.0, 0.7])
def test_features_have_their_part_of_a_likeness(power: float) -> None:
    data, user, item = hidden(random_features(uneven())), 5, 7
    method = ItemKNN(
        "cross", neighbours=500, shrinkage=0.5, cross_weight=0.3, power=power, feature_weight=WEIGHT
    )
    fitted = method.fit(data, ONE)
    x_UJ, f_JV, slices = stacked(data)
    weighted_UJ = x_UJ * np.maximum((x_UJ > 0).sum(axis=1, keepdims=True), 1) ** -0.5
    gram_JJ = weighted_UJ.T @ weighted_UJ + WEIGHT * f_JV @ f_JV.T
    for target, part in slices.items():
        place, like_J = part.start + item, weights(fitted, target)[:, item]
        share_JV = WEIGHT * f_JV * f_JV[place] / np.maximum(gram_JJ[:, [place]], 1e-12)
        expected_V = (x_UJ[user] * like_J) @ share_JV
        assert far(own_parts(fitted, target, user, item), expected_V) < 1e-4


def test_features_are_all_that_makes_a_new_item_alike() -> None:
    data = hidden(random_features(uneven()))
    fitted = ItemKNN().fit(data, ONE)
    for name in data.domain_names:
        score = fitted.score(name, Queries.of_users([5]))[0, 3]
        assert abs(own_parts(fitted, name, 5, 3).sum() - score) < 1e-4 * score


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_what_no_feature_entered_has_no_parts(method: LinearMethod) -> None:
    off = method.with_settings({"feature_weight": 0.0}).fit(random_features(uneven()), ONE)
    assert off.explain_features("a", Queries.of_users([5]), 3) == {}
    assert method.fit(uneven(), ONE).explain_features("a", Queries.of_users([5]), 3) == {}
    popular = method.with_settings({"cold_policy": "popularity"}).fit(random_features(uneven()), ONE)
    assert popular.explain_features("a", Queries.of_users([-1]), 3) == {}


def test_parts_of_shared_products_are_those_of_their_events() -> None:
    data = random_features(uneven({"a": (40, 55), "b": (40, 40)}))
    data = replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))
    data = data.with_events({name: t.take(t.item_idx != 3) for name, t in data.domains.items()})
    fitted = ItemKNN().fit(data, ONE)
    for name in data.domain_names:
        score = fitted.score(name, Queries.of_users([5]))[0, 3]
        assert score > 0
        assert abs(own_parts(fitted, name, 5, 3).sum() - score) < 1e-4 * score


def test_a_mixture_adds_up_those_of_its_members() -> None:
    data, query = random_features(uneven()), Queries.of_users([5])
    kind = registry.method("mixture")
    members = {"a": {"method": "ease"}, "b": {"method": "ials"}, "c": {"method": "popularity"}}
    fitted = kind.from_settings({"members": members}).fit(data, ONE)
    assert isinstance(fitted, BlendModel)
    total: dict[int, float] = {}
    for label in ("a", "b"):
        member = fitted.members[label]
        scale = 1 / 3 / member.score("a", query)[0].std()
        for feature, part in member.explain_features("a", query, 7).items():
            total[feature] = total.get(feature, 0) + scale * part
    assert fitted.explain_features("a", query, 7) == pytest.approx(total, rel=1e-5)
