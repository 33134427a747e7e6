"""What every method of the registry must do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import countries, own_group_share, uneven

from landbridge.data.interactions import Interactions
from landbridge.data.synthetic import planted_transfer
from landbridge.models import registry
from landbridge.models.base import Fitted, Queries
from landbridge.testing import MethodContract
from landbridge.testing.methods import ONE, hits, same, scores, small

LEARN = [name for name in registry.names() if registry.method(name).space]  # the others have nothing to tune


@pytest.mark.parametrize("name", registry.names())
class TestEveryMethod(MethodContract):
    """Of the registry."""


def test_what_is_planted_in_dense_domains_reaches_the_sparse_one() -> None:
    """CDIMF and whatever is joined carry a taste over; separate ALS and popularity see nothing of it."""
    world = planted_transfer(users=240, items=120, groups=6)
    figures = {}
    for label, method in {
        "cdimf": small("cdimf", factors=8, epochs=8),
        "joined": small("ials", factors=8, epochs=8, sharing="joined"),
        "pairs": small("bprmf", factors=8, epochs=30, sharing="joined", batch_size=256),
        "graph": small("lightgcn", factors=8, epochs=30, sharing="joined", batch_size=256),
        "separate": small("ials", factors=8, epochs=8),
        "pairs alone": small("bprmf", factors=8, epochs=30, batch_size=256),
        "popularity": small("popularity"),
    }.items():
        fitted = method.fit(world.split.test.history, ONE)
        figures[label] = share_of_own_group(fitted, world)
    assert min(figures[label] for label in ("cdimf", "joined", "pairs", "graph")) > 0.9
    assert max(figures[label] for label in ("separate", "popularity", "pairs alone")) < 0.4


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ease", {"sharing": "joined", "reg": 5}),
        ("ease", {"sharing": "cross", "reg": 5, "form": "exact"}),
        ("ease", {"sharing": "joined", "reg": 5, "form": "dual"}),
        ("itemknn", {}),
        ("ials", {"sharing": "joined", "factors": 8, "epochs": 8}),
    ],
)
def test_users_of_one_country_teach_another(name: str, settings: dict[str, Any]) -> None:
    """Different users, the same items: nothing but the shared items connects the countries."""
    data = countries()
    method = registry.method(name).from_settings(settings)
    alone, joined = (
        own_group_share(method.fit(world, ONE)) for world in (replace(data, products=None), data)
    )
    assert joined > alone + 0.1


def share_of_own_group(fitted: Fitted, world: Any) -> float:
    """How many of the ten best unseen items of the sparse domain a user truly likes."""
    users = np.arange(world.data.n_users)
    history = world.split.test.history["sparse"]
    scores_UI = fitted.score("sparse", Queries.of_users(users)).copy()
    scores_UI[history.user_idx, history.item_idx] = -np.inf
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    return float(np.take_along_axis(world.likes["sparse"], best_U10, axis=1).mean())


def test_separate_als_still_learns_the_dense_domains() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    fitted = small("ials", factors=8, epochs=8).fit(world.split.test.history, ONE)
    assert hits(fitted, world.split.test, "dense_0", 10) > 0.9


def some_weights(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.uniform(0.5, 2, size).astype(np.float32)


def test_one_class_per_event_table_is_enough_for_weights() -> None:
    """A table of counts and a table of ones fit alike in shape; weights change the model."""
    plain, rng = uneven(), np.random.default_rng(0)
    tables = plain.domains.items()
    weighted = plain.with_events({n: replace(t, weight=some_weights(rng, len(t))) for n, t in tables})
    for name in LEARN:
        one, other = (small(name).fit(data, ONE) for data in (plain, weighted))
        unweighted = one.method.uses_order or not one.personal  # counts and orders of events have no weights
        assert same(scores(one, plain), scores(other, weighted)) == unweighted
        assert isinstance(weighted["a"], Interactions)
