"""iALS with shared items: a domain's own items beside their products, and users that fold-in finds again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import countries, dense, own_events

from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.seen import Seen
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.ials import IALS
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
WEIGHED = 0.3


def fit(data: MultiDomain, **settings: Any) -> ALSModel:
    return IALS(factors=4, epochs=3, sharing="joined", dislike_weight=WEIGHED, **settings).fit(data, ONE)


def with_dislikes() -> MultiDomain:
    data = countries()
    seen, domains = {}, {}
    for name, events in data.domains.items():
        disliked_N = np.arange(len(events)) % 7 == 0
        seen[name], domains[name] = (
            Seen(events.take(disliked_N), np.ones(int(disliked_N.sum()), bool)),
            events.take(~disliked_N),
        )
    return replace(data, domains=domains, seen=seen)


def test_a_large_penalty_leaves_every_domain_the_products_embedding() -> None:
    fitted = fit(countries(), deviation_reg=1e6)
    assert np.allclose(fitted.item_IF["de"], fitted.item_IF["fr"], atol=1e-4)


def test_a_small_penalty_leaves_every_domain_its_own() -> None:
    fitted = fit(countries(), deviation_reg=0.1)
    assert np.abs(fitted.item_IF["de"] - fitted.item_IF["fr"]).max() > 0.1


def test_deviations_are_the_optimum_of_equation_3() -> None:
    """In float64, from the users and products that a fit with a penalty beyond all measure has."""
    data, reg = with_dislikes(), 2.0
    fitted = fit(data, deviation_reg=reg)
    products = fit(data, deviation_reg=1e9)
    # the users before the last half step: the optimum at the products
    for name in data.domain_names:
        user_UF = products.user_UF[name].astype(np.float64)
        product_IF = products.item_IF[name].astype(np.float64)
        active = data[name].user_counts > 0
        weight_UI = dense(data[name])
        disliked_UI = dense(data.excluded(name, seen=True))
        score_UI = np.empty_like(weight_UI)
        for item in range(data[name].n_items):
            system = 0.03 * user_UF[active].T @ user_UF[active] + reg * np.eye(4)
            system += (user_UF.T * (weight_UI[:, item] + WEIGHED * disliked_UI[:, item])) @ user_UF
            right = user_UF.T @ weight_UI[:, item] + reg * product_IF[item]
            score_UI[:, item] = user_UF @ np.linalg.solve(system, right)
        # both fits end in the basis of the products, which deviations do not enter
        own_UI = user_UF @ fitted.item_IF[name].astype(np.float64).T
        assert np.allclose(own_UI, score_UI, atol=2e-3)


@pytest.mark.parametrize("reg", [0.5, 30.0])
def test_the_users_own_events_fold_in_to_their_embedding(reg: float) -> None:
    data = with_dislikes()
    fitted = fit(data, deviation_reg=reg)
    marks = own_events(data.only_disliked())
    new = Queries(np.full(data.n_users, -1, np.int32), own_events(data), None, marks)
    for name in data.domain_names:
        own_UI = fitted.score(name, Queries.of_users(np.arange(data.n_users)))
        assert np.allclose(fitted.score(name, new), own_UI, atol=2e-3)


def test_explanations_add_up_to_the_score() -> None:
    data = countries()
    fitted = fit(data, deviation_reg=5.0)
    (explained,) = fitted.explain("de", Queries.of_users([0]), np.array([7], np.int32))
    assert abs(explained.rest) < 1e-3
