"""Factors: fold-in, cold users and explanations, for every way in which domains are tied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import explained, far, own_events, uneven

from landbridge.core.errors import SettingsError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries
from landbridge.training.options import FitOptions

EXACT = ADMM(tolerance=1e-6)
TIES: dict[str, Method] = {
    "separate": IALS(factors=5, reg=0.1),
    "joined": IALS(factors=5, reg=0.1, sharing="joined"),
    "active": CDIMF(factors=5, reg=0.1, admm=EXACT, consensus=Consensus("active")),
    "all": CDIMF(factors=5, reg=0.1, admm=EXACT),
    "shrunk": CDIMF(factors=5, reg=0.1, admm=EXACT, consensus=Consensus("active", reg=0.2)),
    "untied": CDIMF(factors=5, reg=0.1, admm=ADMM(rho=0.0), consensus=Consensus(reg=0.2)),
}
ONE = FitOptions(threads=1)


@pytest.fixture(scope="module", params=TIES)
def fitted(request: pytest.FixtureRequest) -> ALSModel:
    found = TIES[request.param].fit(uneven(weighted=request.param != "active"), ONE)
    assert isinstance(found, ALSModel)
    return found


def trained(fitted: ALSModel, domain: str) -> np.ndarray:
    """Whose row comes from events; everyone with events anywhere, unless domains are separate."""
    history = fitted.history
    if fitted.rule.tie == "separate":
        return np.asarray(history[domain].user_counts > 0)
    return np.asarray(history.activity_UD.any(axis=1))


def test_fold_in_of_a_training_user_reproduces_their_row(fitted: ALSModel) -> None:
    """Oracle 7, with users known only in another domain among them."""
    for domain in fitted.history.domain_names:
        here_U = trained(fitted, domain)
        rows_UF = fitted.fold_in(domain, own_events(fitted.history), fitted.history.n_users)
        assert far(rows_UF[here_U], fitted.user_UF[domain][here_U]) < 1e-4
    assert (fitted.history["c"].user_counts == 0).any()


def test_fold_in_answers_a_query_with_events(fitted: ALSModel) -> None:
    history = fitted.history
    users = np.flatnonzero(history.shared_U & (history["a"].user_counts > 0))
    by_index = fitted.score("a", Queries.of_users(users))
    unknown = Queries(np.full(history.n_users, -1, np.int32), own_events(history))
    assert far(fitted.score("a", unknown)[users], by_index) < 1e-3


def test_contributions_sum_to_the_score(fitted: ALSModel) -> None:
    """Eq. (2), with nothing left over: every row is the optimum of its events."""
    for domain in fitted.history.domain_names:
        scores_UI = fitted.user_UF[domain] @ fitted.item_IF[domain].T
        for user in np.flatnonzero(trained(fitted, domain)):
            sums = [
                sum(
                    float(part_N.sum())
                    for part_N in explained(
                        fitted, domain, Queries.of_users([int(user)]), item
                    ).events.values()
                )
                for item in range(0, fitted.history[domain].n_items, 7)
            ]
            np.testing.assert_allclose(sums, scores_UI[user, ::7], atol=1e-4 * np.abs(scores_UI).max())


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("policy", ["blend", "mean", "popularity", "zero"])
def test_explanations_are_complete(tie: str, policy: str) -> None:
    """For users with events here, elsewhere and nowhere: the parts are the score, without a rest."""
    data = nobody(uneven())
    fitted = changed(TIES[tie], cold_policy=policy).fit(data, ONE)
    assert isinstance(fitted, ALSModel)
    rng = np.random.default_rng(7)
    for domain in data.domain_names:
        scores_UI = fitted.score(domain, Queries.of_users(np.arange(data.n_users)))
        for user in range(data.n_users):
            item = int(rng.integers(data[domain].n_items))
            found = explained(fitted, domain, Queries.of_users([user]), item)
            events = sum(float(part_N.sum()) for part_N in found.events.values())
            assert events + found.popularity == pytest.approx(scores_UI[user, item], abs=1e-4)
            assert abs(found.rest) < 1e-4
            assert {n: len(part_N) for n, part_N in found.events.items()} == {
                n: data[n].user_counts[user] for n in data.domain_names
            }


@pytest.mark.parametrize("tie", TIES)
def test_popularity_is_for_cold_users_and_events_only_where_they_count(tie: str) -> None:
    data = nobody(uneven())
    here_U, elsewhere_U = data["c"].user_counts > 0, data["a"].user_counts > 0
    usual, newcomer = (int(np.flatnonzero(u)[0]) for u in (here_U, elsewhere_U & ~here_U))
    share = data["c"].item_counts[2] / here_U.sum()
    for policy, popularity in (("blend", 3 * share), ("popularity", share), ("zero", 0.0)):
        fitted = changed(TIES[tie], cold_policy=policy).fit(data, ONE)
        assert isinstance(fitted, ALSModel)
        assert explained(fitted, "c", Queries.of_users([usual]), 2).popularity == 0
        found = explained(fitted, "c", Queries.of_users([newcomer]), 2)
        assert found.popularity == pytest.approx(popularity, rel=1e-5)
        assert found.events["a"].any() == (policy != "popularity" and fitted.rule.tie != "separate")


@pytest.mark.parametrize(
    "settings", [{"consensus.shared_fraction": 0.5}, {"admm.variant": "paper_code"}], ids=str
)
def test_what_no_event_explains_is_the_rest(settings: dict[str, Any]) -> None:
    data = uneven()
    fitted = CDIMF.from_settings({"factors": 5, "admm.on_divergence": "log", **settings}).fit(data, ONE)
    rests = []
    for user in range(data.n_users):
        found = explained(fitted, "a", Queries.of_users([user]), 3)
        events = sum(float(part_N.sum()) for part_N in found.events.values())
        score = fitted.score("a", Queries.of_users([user]))[0, 3]
        assert events + found.popularity + found.rest == pytest.approx(score, abs=1e-5)
        rests.append(abs(found.rest))
    assert max(rests) > 0.01


def test_contributions_stand_beside_the_users_events(fitted: ALSModel) -> None:
    history = fitted.history
    user = int(np.flatnonzero(history.activity_UD.all(axis=1))[0])
    parts = explained(fitted, "a", Queries.of_users([user]), 0).events
    assert {name: len(part) for name, part in parts.items()} == {
        name: int(history[name].user_counts[user]) for name in history.domain_names
    }
    if fitted.rule.tie == "separate":
        assert not parts["b"].any()
        assert not parts["c"].any()


def test_an_event_in_a_query_replaces_the_known_row_only_where_given(fitted: ALSModel) -> None:
    history = fitted.history
    user = int(np.flatnonzero(history.activity_UD.all(axis=1))[0])
    events = {"a": Ragged(np.array([0, 0, 2]), np.array([1, 4], np.int32), None)}
    rows_BF = fitted.query_vectors("a", Queries(np.array([user, user], np.int32), events))
    assert np.array_equal(rows_BF[0], fitted.user_UF["a"][user])
    assert not np.allclose(rows_BF[1], rows_BF[0])


def changed(method: Method, **settings: Any) -> Method:
    return type(method)(**{**vars(method), **settings})


def nobody(data: MultiDomain) -> MultiDomain:
    """The data without the first user's events."""
    return data.with_events({name: t.take(t.user_idx > 0) for name, t in data.domains.items()})


@pytest.mark.parametrize("kind", [IALS(factors=4), CDIMF(factors=4), IALS(factors=4, sharing="joined")])
@pytest.mark.parametrize("policy", ["blend", "mean", "popularity", "zero"])
def test_cold_policies(kind: Method, policy: str) -> None:
    data = nobody(uneven())
    fitted = changed(kind, cold_policy=policy).fit(data, ONE)
    assert isinstance(fitted, ALSModel)
    for domain in data.domain_names:
        scores_BI = fitted.score(domain, Queries.of_users([-1, 0]))
        wanted_I = np.zeros(data[domain].n_items)
        if policy in ("blend", "popularity"):
            share_I = data[domain].item_counts / (data[domain].user_counts > 0).sum()
            wanted_I = share_I * (fitted.popularity_weight if policy == "blend" else 1)
        if policy == "mean":
            mean_F = fitted.user_UF[domain][trained(fitted, domain)].mean(axis=0)
            wanted_I = fitted.item_IF[domain] @ mean_F
        np.testing.assert_allclose(scores_BI, np.stack([wanted_I, wanted_I]), atol=1e-5)


def test_known_only_elsewhere_is_cold_where_domains_are_separate() -> None:
    data = uneven()
    user = int(np.flatnonzero((data["c"].user_counts == 0) & (data["a"].user_counts > 0))[0])
    untied = CDIMF(4, admm=ADMM(rho=0))
    for method, cold in ((IALS(factors=4), True), (CDIMF(factors=4), False), (untied, True)):
        fitted = method.fit(data, ONE)
        one, other = fitted.score("c", Queries.of_users([user, -1]))
        assert np.allclose(one, other) == cold


def test_unknown_cold_policy() -> None:
    with pytest.raises(SettingsError, match="did you mean 'popularity'"):
        IALS(cold_policy="popular").fit(uneven(), ONE)
