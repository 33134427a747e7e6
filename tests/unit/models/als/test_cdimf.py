"""CDIMF: the identities of consensus ADMM; the numbers are those of the oracles in the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import by_rounds, dense, far, fit_error, of_tables, twin_parts, twin_ridge, uneven

from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.threads import thread_limit
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.models.als import solver as als
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.exchange import LocalChannel, Round
from landbridge.models.als.ials import IALS
from landbridge.models.base import Queries
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
LOCAL = LocalChannel(0.0)
SMALL = CDIMF(5, 0.1, 0.2, epochs=5, admm=ADMM(rho=0.5), consensus=Consensus("active"))


def changed(method: CDIMF, settings: dict[str, Any]) -> CDIMF:
    return method.with_settings(settings)


def begin(data: MultiDomain, method: CDIMF) -> Any:
    members = method.members(data, 0)
    domains = method._domain_states(data, members.tied_U)
    with thread_limit(1):
        return domains, method._start(domains, members, 0, 1)


def rounds(data: MultiDomain, method: CDIMF, count: int) -> Any:
    """``count`` rounds at the first items; gives domains, the last state and all transcripts."""
    domains, state = begin(data, method)
    transcript = []
    with thread_limit(1):
        bases = {name: als.basis(state[f"y:{name}"], 1) for name in domains}
        for number in range(count):
            state = own(state)
            method._users(domains, bases, state, method.admm.rho, 1)
            sent = {name: state[f"x:{name}"] + state[f"t:{name}"] for name in domains}
            channel, current = LocalChannel(method.consensus.reg), Round(number, method.admm.rho)
            facts = method._exchange(domains, channel, state, current)
            transcript.append((sent, state, facts))
    return domains, state, transcript


def own(state: Any) -> Any:
    """A copy, to be changed."""
    return {name: array.copy() for name, array in state.items()}


def optimum(data: MultiDomain, method: CDIMF, domains: Any, state: Any) -> np.ndarray:
    """(Σ A_d)⁻¹ Σ b_d over the domains in which a user takes part, in float64."""
    total: Any = 0.0
    right: Any = 0.0
    for name, domain in domains.items():
        weight_UI = dense(data[name])
        system, toward = twin_parts(weight_UI, state[f"y:{name}"].astype(float), method.alpha0)
        system = system + twin_ridge(weight_UI, method)[:, None, None] * np.eye(method.factors)
        here_U = np.zeros(data.n_users, bool)
        here_U[domain.users] = True
        total = total + np.where(here_U[:, None, None], system, 0)
        right = right + np.where(here_U[:, None], toward, 0)
    total = total + np.where(total.any(axis=(1, 2), keepdims=True), method.consensus.reg, 1) * np.eye(
        method.factors
    )
    return np.linalg.solve(total, right[..., None])[..., 0]


def plain(data: MultiDomain) -> Any:
    """Separate ALS from the items with which CDIMF starts."""
    method = IALS(factors=5, reg=0.2, alpha0=0.1, epochs=5)
    _, state = begin(data, changed(SMALL, {"admm.rho": 0}))
    first = {f"item:{name}": state[f"y:{name}"] for name in data.domain_names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IALS, "_start", lambda *_: first)
        return method.fit(data, ONE)


@pytest.mark.parametrize("change", [{"admm.rho": 0}, {"consensus.shared_fraction": 0}], ids=str)
def test_1_without_ties_each_party_is_separate_als(change: dict[str, Any]) -> None:
    """To float precision: CDIMF turns its factors back to the common basis, plain ALS need not."""
    data = uneven()
    domains = changed(SMALL, change).fit(data, ONE)
    alone = plain(data)
    queries = Queries.of_users(np.arange(-1, data.n_users))
    for name in data.domain_names:
        assert far(domains.score(name, queries), alone.score(name, queries)) < 1e-5


def test_2_one_domain_is_plain_als() -> None:
    data = uneven().select(["a"])
    fitted = SMALL.fit(data, ONE)
    alone = plain(data)
    everybody = Queries.of_users(np.arange(data.n_users))
    assert far(fitted.score("a", everybody), alone.score("a", everybody)) < 1e-5


def test_2_one_party_agrees_with_itself() -> None:
    """x = z + 0: with consensus_domains="all" even one domain's users are tied, and the dual stays 0."""
    data = uneven().select(["a"])
    _, state, _ = rounds(data, changed(SMALL, {"consensus.domains": "all"}), 4)
    assert np.array_equal(state["t:a"], np.zeros_like(state["t:a"]))


@pytest.mark.parametrize("settings", [{}, {"consensus.domains": "all"}, {"consensus.reg": 0.7}], ids=str)
def test_3_fixed_items_lead_to_the_joint_optimum(settings: dict[str, Any]) -> None:
    data = uneven(weighted=True)
    method = changed(SMALL, settings)
    domains, state, transcript = rounds(data, method, 200)
    best_UF = optimum(data, method, domains, state)
    tied_U = data.shared_U
    assert far(state["z"][tied_U], best_UF[tied_U]) < 1e-4
    assert transcript[-1][2]["gap"] < 1e-5
    assert transcript[-1][2]["dual"] < 1e-4 * transcript[0][2]["dual"]


@pytest.mark.parametrize("rho", [0.01, 0.1, 1.0, 10.0, 100.0])
def test_3_a_fit_ends_at_the_optimum_for_every_rho(rho: float) -> None:
    data = uneven()
    method = changed(SMALL, {"admm.rho": rho})
    for fitted, apart in ((method.fit(data, ONE), 1e-5), (by_rounds(method, data, ONE), 3e-4)):
        state = {f"y:{name}": fitted.item_IF[name] for name in data.domain_names}
        best_UF = optimum(data, SMALL, SMALL._domain_states(data, SMALL.members(data, 0).tied_U), state)
        assert far(fitted.user_UF["a"][data.shared_U], best_UF[data.shared_U]) < apart
        assert fitted.log[-1]["closing_rounds"] < 300


def test_4_duals_sum_to_zero() -> None:
    """Hence z is the mean of x from the second round on."""
    data = uneven()
    domains, state, _ = rounds(data, SMALL, 6)
    sum_UF, mean_UF = np.zeros_like(state["z"]), np.zeros_like(state["z"])
    count_U = np.zeros(data.n_users)
    for name, domain in domains.items():
        assert np.abs(state[f"t:{name}"][domain.tied]).max() > 1e-4
        sum_UF[domain.users] += state[f"t:{name}"]
        mean_UF[domain.users[domain.tied]] += state[f"x:{name}"][domain.tied]
        count_U[domain.users[domain.tied]] += 1
    assert np.abs(sum_UF).max() < 1e-6
    tied_U = count_U > 0
    np.testing.assert_allclose(mean_UF[tied_U] / count_U[tied_U, None], state["z"][tied_U], atol=1e-6)


def test_5_shrinking_goes_from_identity_to_nothing() -> None:
    data = uneven()
    free, strong = (
        rounds(data, changed(SMALL, {"consensus.reg": shrink}), 1)[1]["z"] for shrink in (0.0, 1e7)
    )
    domains, state, _ = rounds(data, SMALL, 1)
    tied = {name: domain.users[domain.tied] for name, domain in domains.items()}
    user = int(np.flatnonzero(data.activity_UD.all(axis=1))[0])
    rows = [state[f"x:{name}"][np.searchsorted(domains[name].users, user)] for name in tied]
    np.testing.assert_allclose(free[user], np.mean(rows, axis=0), rtol=1e-5, atol=1e-7)
    assert np.abs(strong).max() < 1e-5 * np.abs(free).max()


def test_5_shrinking_in_between_follows_the_formula() -> None:
    """First round, t = 0: z = Dρ / (Dρ + λ_z) · mean."""
    data = uneven()
    free, half = (rounds(data, changed(SMALL, {"consensus.reg": s}), 1)[1]["z"] for s in (0.0, 0.8))
    d_U = (data.activity_UD > 0).sum(axis=1)[:, None]
    np.testing.assert_allclose(half, free * d_U * 0.5 / (d_U * 0.5 + 0.8), rtol=1e-5, atol=1e-7)


def test_6_no_half_step_increases_its_objective() -> None:
    data = uneven(weighted=True)
    domains, state, _ = rounds(data, SMALL, 3)
    with thread_limit(1):
        bases = {name: als.basis(state[f"y:{name}"], 1) for name in domains}
        users = own(state)
        SMALL._users(domains, bases, users, SMALL.admm.rho, 1)
        items = own(users)
        SMALL._items(domains, items, 1)
    for name, domain in domains.items():
        weight_UI = dense(data[name])[domain.users]
        over_U, over_I = twin_ridge(weight_UI, SMALL), twin_ridge(weight_UI.T, SMALL)

        def of_users(
            now: Any, name: str = name, domain: Any = domain, weight_UI: Any = weight_UI, over_U: Any = over_U
        ) -> Any:
            away_UF = now[f"x:{name}"] - state["z"][domain.users] + state[f"t:{name}"]
            return (
                fit_error(weight_UI, now[f"x:{name}"], now[f"y:{name}"], SMALL.alpha0)
                + over_U @ (now[f"x:{name}"] ** 2).sum(axis=1)
                + SMALL.admm.rho * float((away_UF[domain.tied] ** 2).sum())
            )

        def of_items(
            now: Any, name: str = name, domain: Any = domain, weight_UI: Any = weight_UI, over_I: Any = over_I
        ) -> Any:
            rows_UF = np.where(domain.tied[:, None], users["z"][domain.users], users[f"x:{name}"])
            return fit_error(weight_UI, rows_UF, now[f"y:{name}"], SMALL.alpha0) + over_I @ (
                now[f"y:{name}"] ** 2
            ).sum(axis=1)

        nudged = users | {f"x:{name}": users[f"x:{name}"] * np.float32(1.01)}
        assert of_users(users) < of_users(state)
        assert of_users(users) < of_users(nudged)
        assert of_items(items) < of_items(users)


def test_8_joined_als_and_consensus_reach_the_same_loss() -> None:
    """Without frequency scaling and with users everywhere, a consensus of D domains has the users'
    regularisation D times; only the product with the items' counts, so joined ALS has √D of both."""
    data = uneven({"a": (12, 40), "b": (16, 40)}, users=40)
    reg = 0.5
    common = {"factors": 3, "alpha0": 0.2, "frequency_exponent": 0.0, "epochs": 200}
    consensus = CDIMF(**common, reg=reg, admm=ADMM(rho=1.0)).fit(data, ONE)
    joined = IALS(**common, reg=reg * 2**0.5, sharing="joined").fit(data, ONE)

    def loss(fitted: Any, over_users: float, over_items: float) -> float:
        x_UF = fitted.user_UF["a"].astype(float)
        total = over_users * float((x_UF**2).sum())
        for name in data.domain_names:
            y_IF = fitted.item_IF[name].astype(float)
            total += fit_error(dense(data[name]), x_UF, y_IF, 0.2) + over_items * float((y_IF**2).sum())
        return total

    root = reg * 2**0.5
    assert loss(consensus, 2 * reg, reg) == pytest.approx(loss(joined, root, root), rel=1e-4)


def test_9_two_copies_of_a_domain_are_one_domain() -> None:
    table = uneven()["a"]
    data = of_tables({"one": table, "copy": table})
    domains, state = begin(data, SMALL)
    state["y:copy"] = state["y:one"].copy()
    with thread_limit(1):
        for epoch in range(4):
            state, _ = SMALL._epoch(domains, LOCAL, 1, state, epoch)
        SMALL._close(LOCAL, domains, state, 1)
    assert np.array_equal(state["y:one"], state["y:copy"])
    assert not state["t:one"].any()
    single = of_tables({"one": table})
    best_UF = optimum(single, SMALL, SMALL._domain_states(single, SMALL.members(single, 0).tied_U), state)
    assert far(state["z"], best_UF) < 1e-4


def test_10_the_first_epoch_is_unpenalised() -> None:
    data = uneven()
    states = {}
    for rho, warmup in ((0.1, 1), (10.0, 1), (10.0, 0)):
        method = changed(SMALL, {"admm.rho": rho, "admm.rho_warmup": warmup})
        domains, state = begin(data, method)
        with thread_limit(1):
            states[rho, warmup], facts = method._epoch(domains, LOCAL, 1, state, 0)
        assert facts["rho"] == (0 if warmup else rho)
    low, high, cold = states.values()
    assert all(np.array_equal(low[key], high[key]) for key in low)
    assert not low["t:a"].any()
    assert np.linalg.norm(cold["z"]) < 0.5 * np.linalg.norm(low["z"])


def test_the_exchange_sees_rows_of_tied_users_only() -> None:
    """Whatever a domain's items and untied users are, what the others hear is the same."""
    data = uneven()
    domains, state, _ = rounds(data, SMALL, 2)
    rng = np.random.default_rng(1)
    other = dict(state)
    for name, domain in domains.items():
        other[f"y:{name}"] = rng.standard_normal(state[f"y:{name}"].shape, np.float32)
        loose_UF = rng.standard_normal(state[f"x:{name}"].shape, np.float32)
        other[f"x:{name}"] = np.where(domain.tied[:, None], state[f"x:{name}"], loose_UF)
    one, two = own(state), own(other)
    for each in (one, two):
        SMALL._exchange(domains, LOCAL, each, Round(0, SMALL.admm.rho))
    assert np.array_equal(one["z"], two["z"])
    assert all(np.array_equal(one[f"t:{name}"], two[f"t:{name}"]) for name in domains)


def test_the_order_of_a_partys_items_is_its_own_affair() -> None:
    data = uneven()
    rng = np.random.default_rng(2)
    order = {name: rng.permutation(table.n_items) for name, table in data.domains.items()}
    shuffled = of_tables(
        {
            name: Interactions.from_events(t.user_idx, order[name][t.item_idx], t.n_users, t.n_items)
            for name, t in data.domains.items()
        }
    )
    one, two = SMALL.fit(data, ONE), SMALL.fit(shuffled, ONE)
    assert far(two.user_UF["a"], one.user_UF["a"]) < 1e-3
    assert far(two.item_IF["b"][order["b"]], one.item_IF["b"]) < 1e-3


def test_an_observer_of_all_messages_knows_every_partys_rows() -> None:
    """The exchange hides nothing: t starts at 0, so m and z give x round by round."""
    domains, _, transcript = rounds(uneven(), SMALL, 8)
    for name, domain in domains.items():
        t_UF = np.zeros((int(domain.tied.sum()), SMALL.factors), np.float32)
        for sent, state, _ in transcript:
            x_UF = sent[name][domain.tied] - t_UF
            np.testing.assert_allclose(x_UF, state[f"x:{name}"][domain.tied], atol=1e-5)
            t_UF = t_UF + x_UF - state["z"][domain.users[domain.tied]]


def test_a_growing_rho_keeps_the_multiplier() -> None:
    """ρ t is what the domains owe each other; it does not grow with ρ."""
    data = uneven()
    method = changed(SMALL, {"admm.rho_growth": 4.0, "admm.inner_sweeps": 1})
    domains, state = begin(data, method)
    with thread_limit(1):
        for epoch in range(2):
            state, _ = method._epoch(domains, LOCAL, 1, state, epoch)
        grown, facts = method._epoch(domains, LOCAL, 1, own(state), 2)
    domain, moved = domains["a"], grown["x:a"] - grown["z"][domains["a"].users]
    np.testing.assert_allclose(grown["t:a"][domain.tied], (state["t:a"] / 4 + moved)[domain.tied], atol=1e-6)
    assert facts["rho"] == pytest.approx(2.0)


def test_aggregate_every_keeps_the_consensus_in_between() -> None:
    data = uneven()
    method = changed(SMALL, {"consensus.every": 2})
    domains, state = begin(data, method)
    with thread_limit(1):
        first, _ = method._epoch(domains, LOCAL, 1, state, 0)
        second, _ = method._epoch(domains, LOCAL, 1, own(first), 1)
        third, _ = method._epoch(domains, LOCAL, 1, own(second), 2)
    assert np.array_equal(first["z"], second["z"])
    assert not np.array_equal(first["x:a"], second["x:a"])
    assert not np.array_equal(second["z"], third["z"])


def test_half_of_the_overlap_is_half_tied() -> None:
    data = uneven(users=400, shape={"a": (20, 400), "b": (20, 400)})
    half = changed(SMALL, {"consensus.shared_fraction": 0.5})
    domains = half._domain_states(data, half.members(data, 0).tied_U)
    assert 0.4 < domains["a"].tied.mean() < 0.6
    fitted = changed(SMALL, {"consensus.shared_fraction": 0.5}).fit(data, ONE)
    tied_U = np.zeros(data.n_users, bool)
    tied_U[domains["a"].users[domains["a"].tied]] = True
    same_U = (fitted.user_UF["a"] == fitted.user_UF["b"]).all(axis=1)
    assert same_U[tied_U].all()
    assert not same_U[data.shared_U & ~tied_U].any()


def test_the_published_program_diverges_and_says_so() -> None:
    method = CDIMF(factors=6, epochs=60, admm=ADMM(100.0, variant="paper_code"))
    with pytest.raises(DivergenceError, match=r"lower admm\.rho"):
        method.fit(uneven(), ONE)


def test_divergence_may_be_only_logged_until_numbers_end() -> None:
    admm = ADMM(30.0, variant="paper_code", on_divergence="log")
    assert CDIMF(factors=6, epochs=4, admm=admm).fit(uneven(), ONE).log
    with pytest.raises(DivergenceError):
        CDIMF(factors=6, epochs=60, admm=admm).fit(uneven(), ONE)


@pytest.mark.parametrize("rho", [1e-4, 0.1, 1e4])
def test_exact_admm_bears_any_rho(rho: float) -> None:
    """Nor is it stopped when the gap between domains that all but agree happens to rise."""
    fitted = changed(SMALL, {"admm.rho": rho, "epochs": 15}).fit(uneven(), ONE)
    assert all(np.isfinite(array).all() for array in fitted.state()[0].values())


def test_no_number_is_never_passed_on() -> None:
    data = uneven()
    domains, state = begin(data, SMALL)
    state["z"][:] = np.nan
    with thread_limit(1), pytest.raises(DivergenceError):
        SMALL._epoch(domains, LOCAL, 1, state, 1)


def test_a_problem_without_a_penalty_is_refused() -> None:
    """Users without events have no other: their systems would be singular."""
    for key in ("alpha0", "reg"):
        with pytest.raises(SettingsError, match=f"{key} must be a number, above 0"):
            CDIMF.from_settings({key: 0})
