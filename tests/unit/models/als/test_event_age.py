"""A half-life of events in ALS: the oracle is the method on data whose weights were aged by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import explained, far, own_events, uneven

import landbridge as lb
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.event_cache import open_mapped, write_mapped
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries
from landbridge.testing.worlds import timed
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
DAYS = 2.0  # times of the world are within 11 days
METHODS: dict[str, Method] = {
    "alone": IALS(factors=5, reg=0.1),
    "joined": IALS(factors=5, reg=0.1, sharing="joined"),
    "cdimf": CDIMF(factors=5, reg=0.1, admm=ADMM(tolerance=1e-6)),
}


def by_hand(data: MultiDomain, days: float) -> MultiDomain:
    """Each event counts half for every ``days`` that it is older than its domain's latest one."""
    tables = {}
    for name, table in data.domains.items():
        assert table.time is not None
        age_N = (table.time.max() - table.time) / 86_400
        weight_N = np.ones(len(table)) if table.weight is None else table.weight
        tables[name] = replace(table, weight=(weight_N * 0.5 ** (age_N / days)).astype(np.float32))
    return data.with_events(tables)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_method_on_aged_weights(method: Method, weighted: bool) -> None:
    data = timed(uneven(weighted=weighted))
    fitted = method.with_settings({"half_life_days": DAYS}).fit(data, ONE)
    twin = method.fit(by_hand(data, DAYS), ONE)
    everyone = Queries.of_users(np.arange(-1, data.n_users))
    for name in data.domain_names:
        assert far(fitted.score(name, everyone), twin.score(name, everyone)) < 1e-4
        assert far(fitted.score(name, everyone), method.fit(data, ONE).score(name, everyone)) > 0.01
    assert fitted.history.fingerprint == data.fingerprint


def test_fold_in_and_explanations_know_the_age(method: Method) -> None:
    data = timed(uneven())
    fitted = method.with_settings({"half_life_days": DAYS}).fit(data, ONE)
    users = np.flatnonzero(data.activity_UD.all(axis=1))
    times = {name: table.time for name, table in data.domains.items() if table.time is not None}
    unknown_U = np.full(data.n_users, -1, np.int32)
    given, undated = (Queries(unknown_U, own_events(data), dated) for dated in (times, None))
    known_UI = fitted.score("a", Queries.of_users(users))
    assert far(fitted.score("a", given)[users], known_UI) < 1e-3
    assert far(fitted.score("a", undated)[users], known_UI) > 0.01
    user = int(users[0])
    for query in (Queries.of_users([user]), given.take(np.array([user]))):
        found = explained(fitted, "a", query, 3)
        events = sum(float(part_E.sum()) for part_E in found.events.values())
        assert events + found.popularity == pytest.approx(float(known_UI[0, 3]), abs=1e-4)
        assert abs(found.rest) < 1e-4


def test_it_is_stored_and_events_on_disk_change_nothing(method: Method, tmp_path: Path) -> None:
    data = timed(uneven())
    aged = method.with_settings({"half_life_days": DAYS})
    (tmp_path / "events").mkdir()
    write_mapped(data, tmp_path / "events")
    fitted = aged.fit(open_mapped(tmp_path / "events"), ONE)
    lb.save(fitted, tmp_path / "run")
    again = lb.load(tmp_path / "run")
    assert isinstance(again, ALSModel)
    times = {name: table.time for name, table in data.domains.items() if table.time is not None}
    given = Queries(np.full(data.n_users, -1, np.int32), own_events(data), times)
    for name in data.domain_names:
        scores_UI = aged.fit(data, ONE).score(name, given)
        assert np.array_equal(fitted.score(name, given), scores_UI)
        assert np.array_equal(again.score(name, given), scores_UI)


def test_without_times_it_says_nothing(method: Method) -> None:
    data = uneven()
    data = data.with_events({name: replace(table, time=None) for name, table in data.domains.items()})
    everyone = Queries.of_users(np.arange(data.n_users))
    fitted = method.with_settings({"half_life_days": DAYS}).fit(data, ONE)
    assert np.array_equal(fitted.score("a", everyone), method.fit(data, ONE).score("a", everyone))
