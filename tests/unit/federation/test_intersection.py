"""Private set intersection: equal ids get equal codes, and no side learns anything of the others."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parties import METHOD, side_by_side

from landbridge.core.errors import FederationError, MissingExtraError, SettingsError, StoreError
from landbridge.core.files import read_arrays
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import messages as msg
from landbridge.federation.agreement import draw_key, public_key
from landbridge.federation.intersection import POINT_BYTES, Intersection, Multiplier
from landbridge.federation.journal import Journal
from landbridge.federation.party import agreed_method
from landbridge.federation.session import Session
from landbridge.federation.terms import NO_DEMANDS, Demands, Limits, Plan
from landbridge.federation.user_codes import KeyedHash, in_several, sorted_order

library = pytest.importorskip(
    "private_set_intersection.python", reason="openmined-psi is not installed", exc_type=ImportError
)
NAMES = ("a", "b", "c")
SETS = {"a": [1, 2, 3, 5], "b": [2, 3, 4], "c": [3, 4, 5, 9]}
TURN = threading.Condition()


@dataclass(frozen=True)
class Named:
    """An identity without certificates."""

    name: str

    def signed(self, session: str, public: bytes) -> msg.SignedKey:
        return msg.SignedKey(key=public.hex(), certificate=self.name, signature="")

    def verified(self, session: str, name: str, signed: msg.SignedKey) -> bytes:
        if signed.certificate != name:
            raise FederationError("not signed by its party")
        return bytes.fromhex(signed.key)


Change = Callable[[str, msg.Header, Any], tuple[msg.Header, Any]]


def unchanged(name: str, header: msg.Header, array: Any) -> tuple[msg.Header, Any]:
    return header, array


@dataclass
class Direct:
    """A wire to a session in this process. ``change``: what is done to an answer on its way."""

    session: Session
    name: str
    change: Change = unchanged
    breaks_at: int = -1  # the hop that is sent, and whose answer never comes
    seen: list[tuple[msg.Header, Any]] = field(default_factory=list)

    @property
    def terms(self) -> msg.Terms:
        return self.session.terms()

    def request(self, wanted: Any, header: msg.Header, array: Any = None) -> Any:
        self.session.receive(self.name, msg.decode(msg.encode(header, array), msg.FROM_PARTY), 0.0)
        TURN.notify_all()
        if getattr(header, "hop", None) == self.breaks_at:
            raise ConnectionError
        while (answer := self.session.answer(self.name, header)) is None:
            assert TURN.wait(100), "nothing comes any more"
        frame = msg.decode(msg.encode(*self.change(self.name, *answer)), msg.FROM_COORDINATOR)
        self.seen.append((frame.header, frame.array))
        assert isinstance(frame.header, wanted)
        return frame.header, frame.array


def session_of(folder: Path, names: tuple[str, ...] = NAMES, **more: Any) -> Session:
    return Session(Plan(METHOD, names, two_party_leak_understood=True, psi=True, **more), folder)


def made(
    wires: Mapping[str, Direct],
    sets: Mapping[str, list[int]],
    work: Path | None = None,
    most: int = 100,
) -> dict[str, Any]:
    """All parties in threads: their codes, or what they ended with; then they send them."""
    results: dict[str, Any] = {}

    def one(name: str) -> None:
        with TURN:
            wire: Any = wires[name]
            journal = Journal(None if work is None else work / name, wire.terms.session, frozenset())
            try:
                party = Intersection(wire, Named(name), journal.key(), journal, most)
                results[name] = party.of(Vocabulary.of(sets[name]).ids)
            except (FederationError, ConnectionError, AssertionError, StoreError) as error:
                results[name] = error
            TURN.notify_all()

    side_by_side(one, wires)
    return results


def all_made(session: Session, sets: Mapping[str, list[int]] = SETS, **more: Any) -> dict[str, Any]:
    return made({name: Direct(session, name) for name in sets}, sets, **more)


def send(session: Session, name: str, code_U4: Any) -> None:
    code_U4 = code_U4[sorted_order(code_U4)]
    session.receive(name, msg.Frame(msg.Users(count=len(code_U4)), code_U4), 0.0)


def matched(codes: Mapping[str, Any], sets: Mapping[str, list[int]], least: int) -> set[int]:
    """The ids whose codes are in ``least`` tables."""
    joint = {tuple(row) for row in in_several(list(codes.values()), least).tolist()}
    return {
        each
        for name, ids in sets.items()
        for each, code in zip(Vocabulary.of(ids).ids.tolist(), codes[name].tolist(), strict=True)
        if tuple(code) in joint
    }


subsets = st.lists(st.integers(0, 12), max_size=8, unique=True)


@settings(max_examples=15, deadline=None)
@given(sets=st.lists(subsets, min_size=2, max_size=4), least=st.integers(2, 3))
def test_it_matches_the_users_that_keyed_hashes_match(
    tmp_path_factory: pytest.TempPathFactory, sets: list[list[int]], least: int
) -> None:
    of_party = {f"p{number}": ids for number, ids in enumerate(sets)}
    session = session_of(tmp_path_factory.mktemp("psi"), tuple(of_party))
    codes = all_made(session, of_party)
    hashes = {name: KeyedHash(bytes(32)).of(Vocabulary.of(ids).ids) for name, ids in of_party.items()}
    wanted = {each for each in range(13) if sum(each in ids for ids in sets) >= least}
    assert matched(codes, of_party, least) == matched(hashes, of_party, least) == wanted


def test_two_parties_find_what_the_library_finds(tmp_path: Path) -> None:
    sets = {"a": [1, 2, 3, 5, 8, 13, 21], "b": [2, 3, 4, 8, 16]}
    codes = all_made(session_of(tmp_path, ("a", "b")), sets)
    server, client = library.server.CreateWithNewKey(True), library.client.CreateWithNewKey(True)
    own, others = ([str(each) for each in sets[name]] for name in ("a", "b"))
    setup = server.CreateSetupMessage(0.0, len(own), others, library.DataStructure.RAW)
    places = client.GetIntersection(setup, server.ProcessRequest(client.CreateRequest(own)))
    assert matched(codes, sets, 2) == {sets["a"][place] for place in places} == {2, 3, 8}


def test_the_session_goes_on_with_the_same_matched_users(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    codes = all_made(session)
    assert len(list(tmp_path.glob("list-*"))) == 9
    for name in NAMES:
        assert session.joint_M4 is None
        send(session, name, codes[name])
    assert session.joint_M4 is not None
    assert {name: len(session.members[name].place_M) for name in NAMES} == {"a": 3, "b": 3, "c": 3}
    # what the parties sent of their users is gone
    assert not list(tmp_path.glob("list-*"))
    with pytest.raises(FederationError, match="matched already"):
        session.receive("a", msg.Frame(msg.Blinded(hop=0, count=0, size=28), np.zeros(28, np.uint8)), 0.0)


def test_no_two_lists_that_one_sees_have_the_same_points(tmp_path: Path) -> None:
    """All parties have the same users: who could compare two lists would see it."""
    sets = {name: [1, 2, 3] for name in NAMES}
    session = session_of(tmp_path)
    wires = {name: Direct(session, name) for name in NAMES}
    keys = {name: draw_key() for name in NAMES}
    seen: dict[str, list[set[bytes]]] = {name: [] for name in NAMES}
    original = Multiplier.times

    def times(self: Multiplier, points: bytes) -> bytes:
        made_points = original(self, points)
        seen[names[self.number]] += [pieces(points), pieces(made_points)]
        return made_points

    names = {Multiplier.of_session(key, session.id).number: name for name, key in keys.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Multiplier, "times", times)
        codes = made_with(wires, sets, keys)
    assert matched(codes, sets, 3) == {1, 2, 3}
    for name in NAMES:
        own = pieces(Multiplier.of_session(keys[name], session.id).points(Vocabulary.of([1, 2, 3]).ids))
        lists = [own, *seen[name]]
        assert len(lists) == 5
        assert not any(one & other for one, other in combinations(lists, 2))
        # nor do the codes say which of the last points they are made of
        assert not {row.astype(">u8").tobytes() for row in codes[name]} & {
            point[1:] for points in lists for point in points
        }
    # what the coordinator has before the end is sealed: no point is in it, and no two are equal
    passed = [path.read_bytes() for path in sorted(tmp_path.glob("list-0[01]*"))]
    points = {point for lists in seen.values() for each in lists for point in each}
    assert len(passed) == 6
    assert not any(point in content for point in points for content in passed)


def pieces(points: bytes) -> set[bytes]:
    return {points[start : start + POINT_BYTES] for start in range(0, len(points), POINT_BYTES)}


def made_with(
    wires: Mapping[str, Any], sets: Mapping[str, list[int]], keys: Mapping[str, bytes]
) -> dict[str, Any]:
    """As :func:`made`, with given keys."""
    results: dict[str, Any] = {}

    def one(name: str) -> None:
        with TURN:
            journal = Journal(None, wires[name].terms.session, frozenset())
            party = Intersection(wires[name], Named(name), keys[name], journal, 100)
            results[name] = party.of(Vocabulary.of(sets[name]).ids)

    side_by_side(one, wires)
    return results


def test_kills_on_both_sides_change_nothing(tmp_path: Path) -> None:
    undisturbed = tmp_path / "one"
    work = tmp_path / "work"
    for hop in range(3):
        session = session_of(undisturbed)  # the coordinator, too, has only what is on disk
        wires = {name: Direct(session, name, breaks_at=hop) for name in NAMES}
        broken = made(wires, SETS, work)
        assert {type(each) for each in broken.values()} == {ConnectionError}
    codes = all_made(session_of(undisturbed), work=work)
    assert matched(codes, SETS, 2) == {2, 3, 4, 5}
    # a party that has its codes requests nothing any more
    again = {name: Direct(session_of(undisturbed), name) for name in NAMES}
    for name, same in made(again, SETS, work).items():
        assert np.array_equal(same, codes[name])
        assert again[name].seen == []
    lost = made(again, {**SETS, "a": [1, 2, 3, 7]}, work)
    assert isinstance(lost["a"], StoreError)
    assert "belongs to other users" in str(lost["a"])


def test_who_was_killed_multiplies_no_other_lists(tmp_path: Path) -> None:
    session = session_of(tmp_path / "session")
    made({name: Direct(session, name, breaks_at=1) for name in NAMES}, SETS, tmp_path / "work")

    def reversed_ring(name: str, header: msg.Header, array: Any) -> tuple[msg.Header, Any]:
        if isinstance(header, msg.Ring):
            header = header.model_copy(update={"names": header.names[::-1]})
        return header, array

    result = made({"b": Direct(session, "b", reversed_ring)}, SETS, tmp_path / "work")["b"]
    assert "another ring or other lists" in str(result)
    journal = Journal(tmp_path / "work/b", session.id, frozenset())
    journal.listed("1", "one")
    with pytest.raises(FederationError, match="multiplies nothing"):
        journal.listed("1", "another")


def flipped(name: str, header: msg.Header, array: Any) -> tuple[msg.Header, Any]:
    if name == "b" and isinstance(header, msg.Blinded) and header.hop == 1:
        array = array.copy()
        array[40] ^= 1
    return header, array


def other_key(name: str, header: msg.Header, array: Any) -> tuple[msg.Header, Any]:
    if name == "b" and isinstance(header, msg.Ring):
        own = msg.SignedKey(key=public_key(bytes(32)).hex(), certificate="coordinator", signature="")
        header = header.model_copy(update={"keys": {**header.keys, "a": own}})
    return header, array


def other_size(name: str, header: msg.Header, array: Any) -> tuple[msg.Header, Any]:
    if name == "b" and isinstance(header, msg.Ring):
        header = header.model_copy(update={"counts": {**header.counts, "a": 5}})
    return header, array


def one_twice(name: str, header: msg.Header, array: Any) -> tuple[msg.Header, Any]:
    if name == "b" and isinstance(header, msg.Ring):
        header = header.model_copy(update={"names": (*header.names, "a")})
    return header, array


@pytest.mark.parametrize(
    ("change", "why", "breaks_at"),
    [
        (flipped, "not as it was sent", 1),
        (other_key, "not signed", 0),
        (other_size, "not as it was sent", 0),
        (one_twice, "not one of parties", 0),
    ],
)
def test_a_coordinator_that_changes_something_is_found_out(
    tmp_path: Path, change: Change, why: str, breaks_at: int
) -> None:
    session = session_of(tmp_path)
    # the others do not wait for more than the coordinator changes
    wires = {name: Direct(session, name, breaks_at=breaks_at) for name in NAMES}
    wires["b"] = Direct(session, "b", change)
    result = made(wires, SETS)["b"]
    assert isinstance(result, FederationError)
    assert why in str(result)


def test_a_party_with_too_many_users_is_asked_nothing(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    results = made({name: Direct(session, name) for name in NAMES}, {**SETS, "c": list(range(20))}, most=19)
    assert all("--max-other-users" in str(each) for each in results.values())
    assert not list(tmp_path.glob("list-*"))
    small = session_of(tmp_path / "small", limits=Limits(max_users=3))
    with pytest.raises(FederationError, match="more users"):
        small.receive("a", entry("a", 4), 0.0)


def test_points_that_are_none_are_refused_by_who_gets_them(tmp_path: Path) -> None:
    multiplier = Multiplier.of_session(bytes(32), "session")
    for wrong in (b"\0" * POINT_BYTES, b"\2" + b"\xff" * 32, b"\4" + bytes(32), b"\2"):
        with pytest.raises(ValueError, match="curve"):
            multiplier.times(wrong)
    ids = Vocabulary.of([1, 2]).ids
    other = Multiplier.of_session(bytes(32), "another")
    assert multiplier.times(other.points(ids)) == other.times(multiplier.points(ids))
    assert "number" not in repr(multiplier)


def test_without_the_library_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "private_set_intersection.python", None)
    with pytest.raises(MissingExtraError, match=r"landbridge\[psi\]"):
        Multiplier.of_session(bytes(32), "session")


def entry(name: str, count: int = 4, key: str = "00" * 32) -> msg.Frame:
    signed = msg.SignedKey(key=key, certificate=name, signature="")
    return msg.Frame(msg.Entry(count=count, key=signed), np.empty(0))


def blinded(hop: int, count: int, size: int) -> msg.Frame:
    return msg.Frame(msg.Blinded(hop=hop, count=count, size=size), np.full(size, 42, np.uint8))


def test_what_does_not_fit_the_ring_is_refused(tmp_path: Path) -> None:
    session = session_of(tmp_path, quorum=2, limits=Limits(join_seconds=10.0))

    def refused(frame: msg.Frame, why: str, name: str = "a") -> None:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(FederationError, match=why):
            session.receive(name, frame, 20.0)
        assert sorted(tmp_path.iterdir()) == before

    refused(blinded(0, 4, 160), "ring is not closed")
    refused(entry("mallory"), "names no party", "mallory")
    session.receive("a", entry("a"), 0.0)
    session.receive("a", entry("a"), 0.0)  # once more
    refused(entry("a", 5), "with which this party joined")
    refused(entry("a", key="11" * 32), "with which this party joined")
    session.receive("b", entry("b", 3), 0.0)
    assert session.answer("a", entry("a").header) is None
    session.expire(11.0)
    ring, _ = session.answer("a", entry("a").header) or (None, None)
    assert isinstance(ring, msg.Ring)
    assert ring.names == ("a", "b")
    refused(entry("c"), "without this one", "c")
    refused(blinded(0, 4, 33 * 4), "another length")
    refused(blinded(0, 3, 33 * 3 + 28), "another length")
    refused(blinded(1, 3, 33 * 3), "next step")
    refused(blinded(2, 4, 33 * 4), "next step")
    code_U4 = np.arange(16, dtype=np.uint64).reshape(4, 4)
    refused(msg.Frame(msg.Users(count=4), code_U4), "not back yet")
    session.receive("a", blinded(0, 4, 33 * 4 + 28), 0.0)
    session.receive("b", blinded(0, 3, 33 * 3 + 28), 0.0)
    session.receive("b", blinded(1, 4, 33 * 4), 0.0)
    refused(msg.Frame(msg.Users(count=4), code_U4), "not those of this party's list")
    plain = Session(Plan(METHOD, NAMES), tmp_path / "plain")
    for frame in (entry("a"), blinded(0, 4, 160)):
        with pytest.raises(FederationError, match="no message of this kind"):
            plain.receive("a", frame, 0.0)


def test_the_session_is_one_of_intersections(tmp_path: Path) -> None:
    session_of(tmp_path)
    assert json.loads((tmp_path / "session.json").read_text())["psi"]
    with pytest.raises(StoreError, match="matching"):
        Session(Plan(METHOD, NAMES), tmp_path)
    with pytest.raises(SettingsError, match="at most 20"):
        Plan(METHOD, tuple(f"p{number}" for number in range(21)), psi=True)
    terms = Session(Plan(METHOD, NAMES), tmp_path / "plain").terms()
    assert agreed_method(terms, NO_DEMANDS)
    with pytest.raises(SettingsError, match="--require-psi"):
        agreed_method(terms, replace(NO_DEMANDS, psi=True))
    assert agreed_method(session_of(tmp_path / "own").terms(), Demands(psi=True))


def test_the_lists_on_disk_are_read_again(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    codes = all_made(session)
    again = session_of(tmp_path)
    for name in NAMES:
        assert np.array_equal(again.relay.codes(name) if again.relay else [], codes[name])
    arrays, _ = read_arrays(tmp_path / "list-02.a.safetensors")
    assert arrays["list"].dtype == np.uint8
