"""The last solve of CDIMF: the optimum to which the rounds of parties lead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import by_rounds, described, far, uneven, with_dislikes

from landbridge.data.dataset import MultiDomain
from landbridge.models.als import closing
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
SMALL = CDIMF(5, 0.1, 0.2, epochs=5, admm=ADMM(0.5, tolerance=1e-7), consensus=Consensus("active"))


def with_features(data: MultiDomain) -> MultiDomain:
    return described(data, np.random.default_rng(1).random((data.n_users, 4)))


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"consensus.domains": "all"},
        {"consensus.reg": 0.7},
        {"consensus.shared_fraction": 0.5},
        {"consensus.shared_fraction": 0.5, "consensus.domains": "all"},
        {"dislike_weight": 0.5},
        {"admm.rho": 0.0},
        {"privacy.clip": 1.0, "privacy.noise": 0.1},
    ],
    ids=str,
)
def test_it_is_what_the_rounds_lead_to(
    settings: dict[str, Any], features: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all users, tied or not, in blocks of any size."""
    data = with_dislikes(uneven(weighted=True))
    data = with_features(data) if features else data
    method = SMALL.with_settings(settings)
    slowly, fitted = by_rounds(method, data, ONE), method.fit(data, ONE)
    monkeypatch.setattr("landbridge.core.row_blocks.AT_ONCE", 50)
    in_blocks = method.fit(data, ONE)
    for name in data.domain_names:
        assert np.array_equal(fitted.item_IF[name], slowly.item_IF[name])
        assert np.array_equal(fitted.user_UF[name], in_blocks.user_UF[name])
        assert far(fitted.user_UF[name], slowly.user_UF[name]) < 1e-4


def test_a_user_of_a_pair_reads_no_item_of_the_third() -> None:
    """What a set of domains costs is what its users touch."""
    data = uneven()
    method = SMALL
    domains = method._domain_states(data, method.members(data, 0).tied_U)
    ties = dict(closing._ties(domains, data.n_users))
    assert set(ties) <= {("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")}
    for names, user_P in ties.items():
        active_PD = data.activity_UD[user_P] > 0
        assert (active_PD == [name in names for name in data.domain_names]).all()
    assert sum(map(len, ties.values())) == data.shared_U.sum()


def test_the_rounds_after_a_warm_start_go_on_with_the_last_penalty() -> None:
    """Which has grown since the first epoch, as there is no warm-up."""
    data = uneven()
    growing = {"admm.rho_growth": 1.5, "admm.rho_warmup": 2, "admm.tolerance": 1e9}
    method = SMALL.with_settings(growing)
    again = by_rounds(method, data, replace(ONE, initial=method.fit(data, ONE)))
    *_, last, closing = again.log
    assert closing["closing_rounds"] == 1
    assert closing["rho"] == last["rho"] > method.admm.grown_rho(method.epochs - 1)
