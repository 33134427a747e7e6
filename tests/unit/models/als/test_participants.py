"""Parties: who takes part where, who is tied, and which rows a domain ends with."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import dense, twin_ridge, uneven

from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.participants import DomainState, consensus_users, user_embeddings_by_domain

SETTINGS = CDIMF(reg=0.2, alpha0=0.1, frequency_exponent=0.7)
SCALE = (SETTINGS.alpha0, SETTINGS.reg, SETTINGS.frequency_exponent)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_party_holds_its_own_users_events(everywhere: bool) -> None:
    data = uneven(weighted=True)
    tied_U = consensus_users(data, everywhere, 1.0, 0)
    party = DomainState.of(data["c"], tied_U, everywhere, *SCALE)
    here_U = data["c"].user_counts > 0
    weight_UI = dense(data["c"])[party.users]
    assert np.array_equal(party.users, np.flatnonzero(here_U | (tied_U & everywhere)))
    assert np.array_equal(party.tied, tied_U[party.users])
    assert party.catalogue == (weight_UI > 0).any(axis=0).sum()
    assert party.n_items == 60
    for rows, counts in ((party.by_user, weight_UI), (party.by_item, weight_UI.T)):
        assert rows.weight is not None
        assert np.array_equal(np.diff(rows.offsets), (counts > 0).sum(axis=1))
        assert np.array_equal(rows.columns, np.nonzero(counts)[1])
        np.testing.assert_allclose(rows.weight, counts[counts > 0])
    np.testing.assert_allclose(party.ridge_U, twin_ridge(weight_UI, SETTINGS), rtol=1e-6)
    np.testing.assert_allclose(party.half_U**2, party.ridge_U * SETTINGS.reg, rtol=1e-5)


def test_whom_a_consensus_binds() -> None:
    data = uneven(users=400, shape={"a": (20, 300), "b": (20, 300)})
    assert np.array_equal(consensus_users(data, False, 1.0, 0), data.shared_U)
    assert np.array_equal(consensus_users(data, True, 1.0, 0), data.activity_UD.any(axis=1))
    half_U = consensus_users(data, False, 0.5, 0)
    assert 0.4 < half_U.sum() / data.shared_U.sum() < 0.6
    assert not (half_U & ~data.shared_U).any()
    assert not consensus_users(data, True, 0.0, 0).any()


@pytest.mark.parametrize("own", [True, False])
def test_a_row_is_the_consensus_where_tied_and_ones_own_elsewhere(own: bool) -> None:
    """Rows are told apart by one number: 0 for the consensus, 1 and 2 for the parties."""
    data = uneven().select(["a", "b"])
    tied_U = consensus_users(data, False, 0.5, 0)
    parties = {name: DomainState.of(events, tied_U, False, *SCALE) for name, events in data.domains.items()}
    state = {"z": np.zeros((data.n_users, 1), np.float32)}
    for number, (name, party) in enumerate(parties.items(), 1):
        state[f"x:{name}"] = np.full((len(party.users), 1), number, np.float32)
    rows = user_embeddings_by_domain(parties, state, own)
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
    parties = {name: DomainState.of(events, tied_U, False, *SCALE) for name, events in data.domains.items()}
    state = {"z": np.zeros((data.n_users, 2), np.float32)}
    state |= {f"x:{name}": np.ones((len(party.users), 2), np.float32) for name, party in parties.items()}
    rows = user_embeddings_by_domain(parties, state, own=False)
    assert rows["a"] is rows["b"] is rows["c"]
    assert np.array_equal(rows["a"][:, 0], data.activity_UD.any(axis=1) & ~data.shared_U)
