"""Participants of a consensus: a domain's users, the tied users, and the embeddings a domain ends with."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import dense, twin_ridge, uneven

from landbridge.models.als import solver as als
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.participants import DomainState, consensus_users, user_embeddings_by_domain

SETTINGS = CDIMF(reg=0.2, alpha0=0.1, frequency_exponent=0.7)
PENALTY = als.FrequencyRidge(SETTINGS.alpha0, SETTINGS.reg, SETTINGS.frequency_exponent)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_domain_holds_its_own_users_events(everywhere: bool) -> None:
    data = uneven(weighted=True)
    tied_U = consensus_users(data, everywhere, 1.0, 0)
    domain = DomainState.of(data["c"], tied_U, everywhere, PENALTY)
    here_U = data["c"].user_counts > 0
    weight_UI = dense(data["c"])[domain.users]
    assert np.array_equal(domain.users, np.flatnonzero(here_U | (tied_U & everywhere)))
    assert np.array_equal(domain.tied, tied_U[domain.users])
    assert domain.catalogue == (weight_UI > 0).any(axis=0).sum()
    assert domain.n_items == 60
    for rows, counts in ((domain.by_user, weight_UI), (domain.by_item, weight_UI.T)):
        assert rows.weight is not None
        assert np.array_equal(np.diff(rows.offsets), (counts > 0).sum(axis=1))
        assert np.array_equal(rows.columns, np.nonzero(counts)[1])
        np.testing.assert_allclose(rows.weight, counts[counts > 0])
    np.testing.assert_allclose(domain.ridge_U, twin_ridge(weight_UI, SETTINGS), rtol=1e-6)
    np.testing.assert_allclose(domain.half_U**2, domain.ridge_U * SETTINGS.reg, rtol=1e-5)


def test_whom_a_consensus_binds() -> None:
    data = uneven(users=400, shape={"a": (20, 300), "b": (20, 300)})
    assert np.array_equal(consensus_users(data, False, 1.0, 0), data.shared_U)
    assert np.array_equal(consensus_users(data, True, 1.0, 0), data.activity_UD.any(axis=1))
    half_U = consensus_users(data, False, 0.5, 0)
    assert 0.4 < half_U.sum() / data.shared_U.sum() < 0.6
    assert not (half_U & ~data.shared_U).any()
    assert not consensus_users(data, True, 0.0, 0).any()


@pytest.mark.parametrize("own", [True, False])
def test_a_row_is_the_consensus_where_tied_and_the_own_one_elsewhere(own: bool) -> None:
    """Rows are told apart by one number: 0 for the consensus, 1 and 2 for the domains."""
    data = uneven().select(["a", "b"])
    tied_U = consensus_users(data, False, 0.5, 0)
    domains = {name: DomainState.of(events, tied_U, False, PENALTY) for name, events in data.domains.items()}
    state = {"z": np.zeros((data.n_users, 1), np.float32)}
    for number, (name, domain) in enumerate(domains.items(), 1):
        state[f"x:{name}"] = np.full((len(domain.users), 1), number, np.float32)
    rows = user_embeddings_by_domain(domains, state, own)
    for number, (name, other) in enumerate((("a", "b"), ("b", "a")), 1):
        here_U, there_U = data[name].user_counts > 0, data[other].user_counts > 0
        wanted_U = np.where(here_U, number, np.where(there_U, 3 - number, 0))
        if not own:
            wanted_U = np.where(tied_U, 0, wanted_U)
        bound_elsewhere_U = tied_U & ~here_U
        assert np.array_equal(rows[name][~bound_elsewhere_U, 0], wanted_U[~bound_elsewhere_U])


def test_domains_share_one_array_where_all_shared_users_are_tied() -> None:
    data = uneven()
    tied_U = consensus_users(data, False, 1.0, 0)
    domains = {name: DomainState.of(events, tied_U, False, PENALTY) for name, events in data.domains.items()}
    state = {"z": np.zeros((data.n_users, 2), np.float32)}
    state |= {f"x:{name}": np.ones((len(domain.users), 2), np.float32) for name, domain in domains.items()}
    rows = user_embeddings_by_domain(domains, state, own=False)
    assert rows["a"] is rows["b"] is rows["c"]
    assert np.array_equal(rows["a"][:, 0], data.activity_UD.any(axis=1) & ~data.shared_U)
