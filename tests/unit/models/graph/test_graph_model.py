"""``GraphModel``: own and shared parts in the fold-in of new users, in similar items and in storage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import ONE
from worlds import uneven

from landbridge.core.types import Ragged
from landbridge.data.queries import Queries
from landbridge.data.synthetic import planted_transfer
from landbridge.models import registry

METHODS = {
    "bitgcf": {"factors": 8, "lr": 0.03, "epochs": 15, "batch_size": 512, "own_share": 0.5},
    "herograph": {"factors": 8, "lr": 0.03, "epochs": 20, "batch_size": 512},
}


@pytest.mark.parametrize("name", METHODS)
def test_new_users_get_what_their_events_elsewhere_say(name: str) -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    history = world.split.test.history
    known = history.with_events({n: t.take(t.user_idx < 180) for n, t in history.domains.items()})
    fitted = registry.method(name).from_settings(METHODS[name]).fit(known, ONE)
    new = np.arange(180, 240)
    events = {n: history[n].by_user.take(new) for n in history.domain_names if n != "sparse"}
    scores_BI = fitted.score("sparse", Queries(np.full(60, -1, np.int32), events))
    best_B10 = np.argsort(-scores_BI, axis=1, kind="stable")[:, :10]
    assert np.take_along_axis(world.likes["sparse"][new], best_B10, axis=1).mean() > 0.8


@pytest.mark.parametrize("name", METHODS)
def test_events_elsewhere_move_the_shared_part_alone(name: str) -> None:
    fitted: Any = registry.method(name).from_settings({"factors": 4, "epochs": 3}).fit(uneven(), ONE)
    rows = {"b": Ragged.from_rows([[1, 2, 3]])}
    elsewhere_BF, here_BF = (fitted.fold_in(domain, rows, 1) for domain in ("a", "b"))
    assert fitted.own == 4
    assert not elsewhere_BF[:, :4].any()
    assert elsewhere_BF[:, 4:].any()
    assert here_BF[:, :4].any()


@pytest.mark.parametrize("name", METHODS)
def test_items_of_two_domains_compare_by_the_shared_part(name: str) -> None:
    fitted: Any = registry.method(name).from_settings({"factors": 4, "epochs": 3}).fit(uneven(), ONE)
    one_IF, other_IF = fitted.item_embeddings("a", "b")
    assert np.array_equal(one_IF, fitted.item_IF["a"][:, 4:])
    assert np.array_equal(other_IF, fitted.item_IF["b"][:, 4:])
    assert np.array_equal(fitted.item_embeddings("a", "a")[0], fitted.item_IF["a"])
    assert fitted.comparable
