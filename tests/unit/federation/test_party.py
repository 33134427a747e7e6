"""Parties with a coordinator in one process and no network: what they learn, and what they refuse."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resuming import same_state
from worlds import uneven

import landbridge as lb
from landbridge.core.errors import DataError, SettingsError, StoreError
from landbridge.data.dataset import MultiDomain
from landbridge.data.seen import Seen
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import messages as msg
from landbridge.federation.party import Journal, agreed_method, fit
from landbridge.federation.session import Session
from landbridge.federation.terms import Limits, Plan
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.exchange import Residuals

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


@dataclass
class Direct:
    """A wire that leads to a session in this process; every message is encoded and decoded on its way."""

    session: Session
    name: str
    traffic: Counter[str] = field(default_factory=Counter)
    breaks_at: int = -1  # the round whose message is never sent

    @property
    def terms(self) -> msg.Terms:
        return self.session.terms()

    def request(self, wanted: Any, header: msg.Header, array: Any = None) -> Any:
        if isinstance(header, msg.Message) and header.round == self.breaks_at:
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


def with_dislikes(data: MultiDomain) -> MultiDomain:
    """A third of the events as dislikes instead."""
    rng = np.random.default_rng(1)
    events, seen = {}, {}
    for name, table in data.domains.items():
        against_N = rng.random(len(table)) < 0.3
        events[name] = table.take(~against_N)
        pairs = replace(table.take(against_N), weight=None)
        seen[name] = Seen(pairs, np.ones(len(pairs), bool))
    return replace(data, domains=events, seen=seen)


def train(
    session: Session, data: dict[str, MultiDomain], work: Path | None = None, **breaks_at: int
) -> dict[str, Any]:
    """All parties in threads, one at work at a time: their models, or what they ended with."""
    results: dict[str, Any] = {}

    def one(name: str) -> None:
        with TURN:
            wire: Any = Direct(session, name, breaks_at=breaks_at.get(name, -1))
            options = lb.FitOptions(threads=1, work_dir=None if work is None else work / name)
            try:
                results[name] = fit(
                    data[name], wire, name, Numbers(), options, two_party_leak_understood=True
                )
            except (ConnectionError, AssertionError) as error:
                results[name] = error
            TURN.notify_all()

    threads = [threading.Thread(target=one, args=(name,)) for name in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def session_of(folder: Path, method: CDIMF = METHOD, quorum: int | None = None, **limits: float) -> Session:
    return Session(Plan(method, NAMES, 3, quorum, Limits(**limits), quorum == 2), folder)


@pytest.mark.parametrize("change", [{}, {"consensus.every": 2, "consensus.reg": 0.1, "admm.rho_growth": 1.2}])
def test_parties_learn_what_one_process_learns_bit_for_bit(tmp_path: Path, change: dict[str, Any]) -> None:
    data = with_dislikes(uneven(weighted=True))
    method = METHOD.with_settings({"dislike_weight": 0.3, **change})
    models = train(session_of(tmp_path, method), parts(data))
    ordered = in_order(data)
    together = method.fit(ordered, lb.FitOptions(seed=3, threads=1))
    rank_U = np.argsort(order_of(data))
    for name in NAMES:
        active_U = data[name].user_counts > 0
        assert np.array_equal(models[name].item_IF[name], together.item_IF[name])
        assert np.array_equal(models[name].user_UF[name][active_U], together.user_UF[name][rank_U][active_U])
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
        fit(uneven(), wire, "a", Numbers(), lb.FitOptions())
    for change in ({"parties": ("a", "b"), "quorum": 2}, {"quorum": 2}):
        terms = wire.terms.model_copy(update=change)
        with pytest.raises(SettingsError, match="computes the other's rows"):
            agreed_method(terms, two_party_leak_understood=False)
        assert agreed_method(terms, two_party_leak_understood=True) == METHOD
    with pytest.raises(SettingsError):
        agreed_method(wire.terms.model_copy(update={"settings": {"admm.variant": "paper_code"}}), False)


def test_rounds_of_another_session_are_not_used(tmp_path: Path) -> None:
    rows_UF, sums = np.ones((2, 3), np.float32), Residuals(1.0, 2.0, 3.0, 4.0)
    Journal(tmp_path, "one", frozenset({0, 2})).write(1, rows_UF, sums)
    same = Journal(tmp_path, "one", frozenset({0, 2})).read(1)
    assert same is not None
    assert np.array_equal(same[0], rows_UF)
    assert same[1] == sums
    with pytest.raises(StoreError, match="another session"):
        Journal(tmp_path, "two", frozenset()).read(1)
    Journal(tmp_path, "one", frozenset({0, 2})).forget(1)  # within an epoch
    assert Journal(tmp_path, "one", frozenset()).read(1) is not None
    Journal(tmp_path, "one", frozenset({0, 2})).forget(2)
    assert Journal(tmp_path, "one", frozenset()).read(1) is None
