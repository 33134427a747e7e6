"""Parties with a coordinator in one process and no network: what they learn, and what they refuse."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties import side_by_side
from resuming import same_state
from worlds import by_rounds, uneven, with_dislikes

import landbridge as lb
from landbridge.core.errors import DataError, FederationError, SettingsError, StoreError
from landbridge.core.files import read_arrays
from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.data.seen import Seen
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import messages as msg
from landbridge.federation.aggregation import FIXED
from landbridge.federation.journal import Journal
from landbridge.federation.party import agreed_method, fit
from landbridge.federation.session import Session
from landbridge.federation.terms import NO_DEMANDS, Demands, Limits, Plan
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.exchange import LocalChannel, Residuals, consensus_of

METHOD = CDIMF(
    4, 0.1, 0.2, epochs=3, admm=ADMM(rho=0.5, tolerance=1e-3), consensus=Consensus("active"), feature_reg=1e9
)
NAMES = ("a", "b", "c")
TURN = threading.Condition()  # one party computes at a time; others wait in a request


class Numbers:
    """The id itself as its code: places are then the order of the ids."""

    def of(self, ids: Any) -> Any:
        code_U4 = np.zeros((len(ids), msg.CODE_WORDS), np.uint64)
        code_U4[:, -1] = ids
        return code_U4


@dataclass(frozen=True)
class Named:
    """An identity without certificates; :mod:`tests.unit.federation.test_identity` has real ones."""

    name: str

    def signed(self, session: str, public: bytes) -> msg.SignedKey:
        return msg.SignedKey(key=public.hex(), certificate=session, signature="")

    def verified(self, session: str, name: str, signed: msg.SignedKey) -> bytes:
        assert signed.certificate == session
        return bytes.fromhex(signed.key)


@dataclass
class Repeatable:
    """The noise of a fit in one process, and how often it was drawn."""

    name: str
    draws: int = 0

    def standard_normal(self, size: Any, dtype: Any, /) -> Any:
        self.draws += 1
        return generator(3, "privacy", self.name, str(self.draws - 1)).standard_normal(size, dtype)


class InFixedPoint(LocalChannel):
    """One process that sums in fixed point, without any mask."""

    def received(self, domains: Any, state: Any, current: Any) -> Any:
        sum_UF = np.zeros(state["z"].shape, FIXED.dtype)
        count_U = np.zeros(len(sum_UF), np.float32)
        for name, domain in domains.items():
            tied = domain.users[domain.tied]
            sum_UF[tied] += FIXED.encode(self.message(name, domain, state, current))
            count_U[tied] += 1
        return consensus_of(FIXED.decode(sum_UF).astype(np.float32), count_U, self.reg, current.rho), count_U


@dataclass(frozen=True)
class Given:
    """Codes that are known before."""

    codes: dict[int, Any]

    def of(self, ids: Any) -> Any:
        return np.array([self.codes[each] for each in ids.tolist()], np.uint64).reshape(-1, msg.CODE_WORDS)


@dataclass
class Direct:
    """A wire that leads to a session in this process; every message is encoded and decoded on its way."""

    session: Session
    name: str
    traffic: Counter[str] = field(default_factory=Counter)
    breaks_at: int = -1  # the round in which this is never sent
    breaks_before: type[msg.Header] = msg.Message

    @property
    def terms(self) -> msg.Terms:
        return self.session.terms()

    def request(self, wanted: Any, header: msg.Header, array: Any = None) -> Any:
        if isinstance(header, self.breaks_before) and getattr(header, "round", -1) == self.breaks_at:
            raise ConnectionError
        self.session.receive(self.name, msg.decode(msg.encode(header, array), msg.FROM_PARTY), 0.0)
        TURN.notify_all()
        while (answer := self.session.answer(self.name, header)) is None:
            assert TURN.wait(100), "nothing comes any more"
        frame = msg.decode(msg.encode(*answer), msg.FROM_COORDINATOR)
        assert isinstance(frame.header, wanted)
        return frame.header, frame.array


def parts(data: MultiDomain) -> dict[str, MultiDomain]:
    """Each domain alone."""
    return {name: data.select([name]) for name in data.domain_names}


def order_of(data: MultiDomain) -> Any:
    """The users as a session orders them: shared ones, then the others of each domain."""
    counts_UD = data.activity_UD
    alone = [np.flatnonzero((counts_UD[:, d] > 0) & ~data.shared_U) for d in range(counts_UD.shape[1])]
    return np.concatenate([np.flatnonzero(data.shared_U), *alone, np.flatnonzero(~counts_UD.any(axis=1))])


def in_order(data: MultiDomain) -> MultiDomain:
    """The data with the users in that order."""
    rank_U = np.argsort(order_of(data))

    def moved(events: Any) -> Any:
        return lb.Interactions.from_events(
            rank_U[events.user_idx], events.item_idx, events.n_users, events.n_items, events.weight
        )

    seen = {
        name: Seen(moved(each.disliked), np.ones(len(each.disliked), bool))
        for name, each in data.seen.items()
    }
    tables = {name: moved(events) for name, events in data.domains.items()}
    return MultiDomain(Vocabulary(np.arange(data.n_users)), data.items, tables, seen=seen)


def train(
    session: Session,
    data: dict[str, MultiDomain],
    work: Path | None = None,
    before: type[msg.Header] = msg.Message,
    noise: dict[str, Repeatable] | None = None,
    user_codes: Any = None,
    **breaks_at: int,
) -> dict[str, Any]:
    """All parties in threads, one at work at a time: their models, or what they ended with."""
    results: dict[str, Any] = {}

    def one(name: str) -> None:
        with TURN:
            wire: Any = Direct(session, name, breaks_at=breaks_at.get(name, -1), breaks_before=before)
            options = lb.FitOptions(threads=1, work_dir=None if work is None else work / name)
            try:
                results[name] = fit(
                    data[name],
                    wire,
                    Named(name),
                    None if session.plan.psi else user_codes or Numbers(),
                    options,
                    demands=Demands(two_party_leak_understood=True, masks=session.plan.masks),
                    noise=noise[name] if noise else None,
                )
            except (ConnectionError, AssertionError, StoreError) as error:
                results[name] = error
            TURN.notify_all()

    side_by_side(one, data)
    return results


def session_of(
    folder: Path,
    method: CDIMF = METHOD,
    quorum: int | None = None,
    masks: bool = False,
    psi: bool = False,
    **limits: float,
) -> Session:
    return Session(Plan(method, NAMES, 3, quorum, Limits(**limits), quorum == 2, masks, psi), folder)


def assert_same(data: MultiDomain, models: dict[str, Any], together: Any, atol: float = 0.0) -> None:
    """Whether parties have what one process, with its users in order, has."""
    rank_U = np.argsort(order_of(data))
    for name in NAMES:
        active_U = data[name].user_counts > 0
        np.testing.assert_allclose(models[name].item_IF[name], together.item_IF[name], rtol=0, atol=atol)
        np.testing.assert_allclose(
            models[name].user_UF[name][active_U], together.user_UF[name][rank_U][active_U], rtol=0, atol=atol
        )


@pytest.mark.parametrize("change", [{}, {"consensus.every": 2, "consensus.reg": 0.1, "admm.rho_growth": 1.2}])
def test_parties_learn_what_one_process_learns_bit_for_bit(tmp_path: Path, change: dict[str, Any]) -> None:
    data = with_dislikes(uneven(weighted=True))
    method = METHOD.with_settings({"dislike_weight": 0.3, **change})
    models = train(session_of(tmp_path, method), parts(data))
    ordered, options = in_order(data), lb.FitOptions(seed=3, threads=1)
    together = by_rounds(method, ordered, options)
    assert_same(data, models, together)
    # a fit that has all domains ends with the solve to which the rounds lead
    precise = method.with_settings({"admm.tolerance": 1e-7})
    assert_same(
        data,
        train(session_of(tmp_path / "precise", precise), parts(data)),
        method.fit(ordered, options),
        atol=1e-4,
    )
    for name in NAMES:
        assert models[name].log[-1]["parties"] == 3
        assert [each.get("gap", 0.0) for each in models[name].log[:-1]] == pytest.approx(
            [each.get("gap", 0.0) for each in together.log], rel=1e-12
        )


def test_a_party_that_was_killed_computes_what_it_had_and_sends_nothing_twice(tmp_path: Path) -> None:
    data = parts(uneven())
    undisturbed = train(session_of(tmp_path / "one"), data)
    session = session_of(tmp_path / "two")
    for stop in (4, 9, 13):
        # all break off in one round, so that no one waits; each goes on from its folder
        broken = train(session, data, tmp_path / "work", **dict.fromkeys(NAMES, stop))
        assert {type(each) for each in broken.values()} == {ConnectionError}
        assert session.round == stop
    models = train(session, data, tmp_path / "work")
    for name in NAMES:
        assert same_state(models[name], undisturbed[name])


def test_a_party_that_comes_late_has_a_model_too(tmp_path: Path) -> None:
    data = parts(uneven())
    session = session_of(tmp_path, quorum=2, join_seconds=0.0)
    first = train(session, {name: data[name] for name in ("a", "b")})
    late = train(session, {"c": data["c"]})["c"]
    assert np.isfinite(late.item_IF["c"]).all()
    # its users that a and b share have the consensus of these two
    shared_U = (data["a"]["a"].user_counts > 0) & (data["b"]["b"].user_counts > 0)
    own_U = shared_U & (data["c"]["c"].user_counts > 0)
    assert own_U.any()
    assert np.array_equal(late.user_UF["c"][own_U], first["a"].user_UF["a"][own_U])
    assert session.missing == []


def test_several_domains_and_two_parties_are_refused_by_the_party(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    wire: Any = Direct(session, "a")
    with pytest.raises(DataError, match="one domain"):
        fit(uneven(), wire, Named("a"), Numbers(), lb.FitOptions())
    for change in ({"parties": ("a", "b"), "quorum": 2}, {"quorum": 2}):
        terms = wire.terms.model_copy(update=change)
        with pytest.raises(SettingsError, match="computes the other's rows"):
            agreed_method(terms, NO_DEMANDS)
        assert agreed_method(terms, Demands(two_party_leak_understood=True)) == METHOD
    with pytest.raises(SettingsError):
        agreed_method(wire.terms.model_copy(update={"settings": {"admm.variant": "paper_code"}}), NO_DEMANDS)


def test_rounds_of_another_session_are_not_used(tmp_path: Path) -> None:
    rows_UF, sums = np.ones((2, 3), np.float32), Residuals(1.0, 2.0, 3.0, 4.0)
    Journal(tmp_path, "one", frozenset({0, 2})).complete(1, rows_UF, sums)
    same = Journal(tmp_path, "one", frozenset({0, 2})).received(1)
    assert same is not None
    assert np.array_equal(same[0], rows_UF)
    assert same[1] == sums
    with pytest.raises(StoreError, match="another session"):
        Journal(tmp_path, "two", frozenset()).received(1)
    Journal(tmp_path, "one", frozenset({0, 2, 3})).forget(1)  # within an epoch
    assert Journal(tmp_path, "one", frozenset()).received(1) is not None
    Journal(tmp_path, "one", frozenset({0, 2, 3})).forget(2)  # the proof of the last round stays
    assert Journal(tmp_path, "one", frozenset()).received(1) is not None
    Journal(tmp_path, "one", frozenset({0, 2, 3})).forget(3)
    assert Journal(tmp_path, "one", frozenset()).received(1) is None


def test_a_message_is_made_once_and_survivors_are_reported_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one", frozenset())
    rows_UF = np.ones((2, 3), np.float32)
    assert np.array_equal(journal.sent(4, lambda: rows_UF), rows_UF)
    assert np.array_equal(Journal(tmp_path, "one", frozenset()).sent(4, lambda: 2 * rows_UF), rows_UF)
    assert journal.received(4) is None
    key = journal.key()
    assert Journal(tmp_path, "one", frozenset()).key() == key
    assert (tmp_path / "session.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="another session"):
        Journal(tmp_path, "two", frozenset()).key()
    journal.survived(4, ("a", "b", "c"))
    Journal(tmp_path, "one", frozenset()).survived(4, ("a", "b", "c"))
    with pytest.raises(FederationError, match="reveals nothing"):
        Journal(tmp_path, "one", frozenset()).survived(4, ("a", "b"))


@pytest.mark.parametrize("change", [{}, {"consensus.every": 2, "privacy.clip": 0.5, "privacy.noise": 0.1}])
def test_masked_parties_learn_what_one_process_learns_in_fixed_point(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    data = uneven()
    method = METHOD.with_settings(change)
    noise = {name: Repeatable(name) for name in NAMES}
    models = train(session_of(tmp_path, method, masks=True), parts(data), noise=noise)
    ordered, options = in_order(data), lb.FitOptions(seed=3, threads=1)
    channel = InFixedPoint(method.consensus.reg, method.privacy, 3)
    exact = method.fit_in(ordered, method.members(ordered, 3), channel, options)
    assert_same(data, models, exact)
    # and it is CDIMF
    assert_same(data, models, by_rounds(method, ordered, options), atol=1e-5)
    assert models["a"].log[-1]["masks"]


def test_masked_parties_and_their_coordinator_are_killed_in_the_midst_of_a_round(tmp_path: Path) -> None:
    data = parts(uneven())
    undisturbed = train(session_of(tmp_path / "one", masks=True), data)
    work = tmp_path / "work"
    for stop, before in ((4, msg.Masked), (9, msg.Reveal), (9, msg.Reveal), (11, msg.Report)):
        # the coordinator, too, has only what is on disk
        session = session_of(tmp_path / "two", masks=True)
        broken = train(session, data, work, before, **dict.fromkeys(NAMES, stop))
        assert {type(each) for each in broken.values()} == {ConnectionError}
        assert session.round == stop
    models = train(session_of(tmp_path / "two", masks=True), data, work)
    for name in NAMES:
        assert same_state(models[name], undisturbed[name])


def test_noise_is_drawn_once_for_each_round_of_killed_parties(tmp_path: Path) -> None:
    method = METHOD.with_settings({"privacy.clip": 0.5, "privacy.noise": 2.0, "privacy.delta": 1e-5})
    data = uneven()
    noise = {name: Repeatable(name) for name in NAMES}
    session, work = session_of(tmp_path / "session", method), tmp_path / "work"
    for stop, before in ((4, msg.Report), (4, msg.Report), (8, msg.Message)):
        broken = train(session, parts(data), work, before, noise, **dict.fromkeys(NAMES, stop))
        assert {type(each) for each in broken.values()} == {ConnectionError}
    # without its folder a party would draw noise for the same rows again
    lost = train(session, {"a": parts(data)["a"]}, tmp_path / "elsewhere", noise=noise)
    assert isinstance(lost["a"], StoreError)
    assert "already sent round" in str(lost["a"])
    models = train(session, parts(data), work, noise=noise)
    assert {each.draws for each in noise.values()} == {method.rounds} == {11}
    assert_same(data, models, method.fit(in_order(data), lb.FitOptions(seed=3, threads=1)), atol=1e-6)
    facts = models["a"].privacy_facts
    assert facts["rounds"] == 11
    assert facts["epsilon"] == method.privacy.guarantee(11).epsilon
    assert not any("known seed" in each for each in facts["not_protected"])


def test_what_a_party_demands(tmp_path: Path) -> None:
    terms = session_of(tmp_path).terms()
    with pytest.raises(SettingsError, match="--require-masks"):
        agreed_method(terms, Demands(masks=True))
    masked = session_of(tmp_path / "masked", masks=True).terms()
    assert agreed_method(masked, Demands(masks=True)) == METHOD
    halves = masked.model_copy(update={"parties": tuple("abcdef"), "quorum": 3})
    with pytest.raises(SettingsError, match="more than half"):
        agreed_method(halves, NO_DEMANDS)
    with pytest.raises(SettingsError, match="ε of inf"):
        agreed_method(terms, Demands(max_epsilon=5.0))
    private = METHOD.with_settings({"privacy.clip": 1.0, "privacy.noise": 20.0})
    epsilon = private.privacy.guarantee(private.rounds).epsilon
    noisy = session_of(tmp_path / "noisy", private).terms()
    assert agreed_method(noisy, Demands(max_epsilon=epsilon)) == private
    with pytest.raises(SettingsError, match="--max-epsilon"):
        agreed_method(noisy, Demands(max_epsilon=0.99 * epsilon))


@pytest.mark.parametrize("masks", [False, True])
def test_after_an_intersection_they_learn_the_bits_that_they_learn_after_hashing(
    tmp_path: Path, masks: bool
) -> None:
    pytest.importorskip("private_set_intersection.python", reason="openmined-psi is not installed")
    data = parts(uneven())
    session = session_of(tmp_path / "psi", masks=masks, psi=True)
    models = train(session, data, tmp_path / "work")
    codes: dict[int, Any] = {}
    for name in NAMES:
        own = np.flatnonzero(data[name][name].user_counts > 0)
        made_U4 = read_arrays(tmp_path / "work" / name / "codes.safetensors")[0]["codes"]
        for user, code in zip(data[name].users.ids[own].tolist(), made_U4.tolist(), strict=True):
            assert codes.setdefault(user, code) == code
    # codes that give the users the same order
    hashed = train(session_of(tmp_path / "hash", masks=masks), data, user_codes=Given(codes))
    for name in NAMES:
        assert models[name].log[-1]["psi"]
        assert same_state(models[name], hashed[name])
