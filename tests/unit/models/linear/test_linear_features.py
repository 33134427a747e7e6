"""EASE and item-kNN with item features: dense twins, and the limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import dense, far, featured, identity_features, random_features, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.models.base import Queries
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.fitted import ItemItemModel
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.linear.matrix import DenseMatrix, SparseMatrix
from landbridge.models.linear.method import LinearMethod
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
