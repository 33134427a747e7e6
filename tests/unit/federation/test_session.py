"""The coordinator's rules: any order of messages, kills, late and lost parties end in the right consensus."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from parties import (
    JOINT,
    MATCHED,
    METHOD,
    NAMES,
    USERS,
    masked_of,
    mean_of,
    message_of,
    plan_of,
    report_of,
    reveal_of,
    rows_of,
    users_of,
)

from landbridge.core.errors import FederationError, SettingsError, StoreError
from landbridge.federation import messages as msg
from landbridge.federation.aggregation import FIXED
from landbridge.federation.session import Session
from landbridge.federation.terms import TWO_PARTIES, Plan


def joined(folder: Path, plan: Plan | None = None) -> Session:
    session = Session(plan or plan_of(), folder)
    for name in NAMES:
        session.receive(name, users_of(name, session.plan.masks), 0.0)
    return session


class Sessions(RuleBasedStateMachine):
    """Three parties that follow the protocol at any pace, and a coordinator that is killed at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.at: dict[str, int] = {}  # the next round of a party
        self.matched: dict[str, list[int]] = {}
        self.sent: dict[str, msg.Frame] = {}  # what it waits for the answer to
        self.counted: dict[int, set[str]] = {}  # round -> who sent while it was open
        self.z: dict[int, dict[int, Any]] = {}

    @initialize(quorum=st.sampled_from([2, 3]), masks=st.booleans())
    def begin(self, quorum: int, masks: bool) -> None:
        self.plan = plan_of(quorum, masks, round_seconds=10.0, join_seconds=10.0)
        self.session = Session(self.plan, Path(self.scratch.name))

    @rule(name=st.sampled_from(NAMES))
    def send(self, name: str) -> None:
        """The next message of a party, or, if it waits for an answer, the same once more."""
        if name not in self.at:
            self.sent[name] = users_of(name, self.plan.masks)
            if self.plan.masks and self.session.joint_M4 is not None and name not in self.session.members:
                with pytest.raises(FederationError, match="without this one"):
                    self.session.receive(name, self.sent.pop(name), self.now)
                return
        elif name not in self.sent:
            number = self.at[name]
            frame = message_of(name, number, METHOD.round_after(self.session.sums[:number]).rho)
            # who joined late has fewer matched users
            rows_MF = frame.array[np.isin(MATCHED[name], self.matched[name])]
            self.sent[name] = self.masked(name, msg.Frame(frame.header, rows_MF))
        number, was_open = self.session.round, self.session.step.phase == "messages"
        header = self.sent[name].header
        if isinstance(header, msg.Message | msg.Masked) and header.round == number and was_open:
            self.counted.setdefault(number, set()).add(name)
        self.session.receive(name, self.sent[name], self.now)
        self._note_consensus(number)

    @rule(name=st.sampled_from(NAMES))
    def fetch(self, name: str) -> None:
        """The answer, if it is there, and what follows from it."""
        if name not in self.sent:
            return
        answer = self.session.answer(name, self.sent[name].header)
        if answer is None:
            return
        header, array = answer
        match header:
            case msg.Match():
                assert array is not None
                self.matched[name] = [USERS[name][row] for row in array[0]]
                assert tuple(self.matched[name]) == MATCHED[name] or self.late(name)
                self.at[name] = 0
                del self.sent[name]
            case msg.Survivors():
                self.sent[name] = reveal_of(self.session, name, header)
            case msg.Consensus(round=number):
                self.sent[name] = report_of(name, number)
            case msg.Sums(round=number):
                assert header.apart <= 6.0
                self.at[name] = number + 1
                del self.sent[name]

    @rule()
    def step(self) -> None:
        """All parties send what they have, in turn, and all get what is there."""
        for name in NAMES:
            self.send(name)
        for name in NAMES:
            self.fetch(name)

    def masked(self, name: str, frame: msg.Frame) -> msg.Frame:
        return masked_of(self.session, name, frame) if self.plan.masks else frame

    def late(self, name: str) -> bool:
        """Whether a party joined after the match, or not all users of two are matched."""
        return len(self.session.members[name].place_M) < 3 or len(self.session.joint_M4 or ()) < 4

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and late parties may be left out."""
        self.now += seconds
        number = self.session.round
        self.session.expire(self.now)
        self._note_consensus(number)

    @rule()
    def kill(self) -> None:
        """The coordinator starts again from its folder; what was not acknowledged is sent once more."""
        if self.session.step.phase == "messages":
            self.counted.pop(self.session.round, None)
        started, identity = self.session.joint_M4 is not None, self.session.id
        self.session = Session(self.plan, Path(self.scratch.name))
        assert self.session.id == identity
        assert (self.session.joint_M4 is not None) == started

    @precondition(lambda self: self.at)
    @rule(name=st.sampled_from(NAMES), back=st.integers(1, 3), ahead=st.booleans())
    def cheat(self, name: str, back: int, ahead: bool) -> None:
        """A replayed round, or one that has not begun, is refused and changes nothing."""
        member = self.session.members.get(name)
        if member is None:
            return
        number = self.session.round + back if ahead else member.last - back
        if number < 0:
            return
        before = self._picture()
        frame = message_of(name, number)
        if self.plan.masks:
            shares = dict.fromkeys(set(self.session.members) - {name}, "00")
            rows_JF = np.zeros(self.session.z_MF.shape, np.uint64)
            about = {"round": number, "rho": 0.0, "rows": len(rows_JF), "factors": rows_JF.shape[1]}
            frame = msg.Frame(msg.Masked(**about, shares=shares), rows_JF)
        with pytest.raises(FederationError, match=r"round is over|one row"):
            self.session.receive(name, frame, self.now)
        assert self._picture() == before

    @invariant()
    def every_sum_has_its_quorum(self) -> None:
        if hasattr(self, "session"):
            assert self.session.round == len(self.session.sums)
            if self.session.step.phase != "messages":
                assert len(self.session.step.awaited) >= self.plan.needed

    def _note_consensus(self, number: int) -> None:
        """Compare z with the mean of those who sent in time, once it is made."""
        session = self.session
        if session.step.phase == "reports" and session.round == number and self.counted.get(number):
            assert session.joint_M4 is not None
            wanted = mean_of(self.counted[number], number)
            z_MF = np.array([wanted[user] for user in session.joint_M4[:, 0].tolist()]).reshape(-1, 2)
            assert np.allclose(session.z_MF, z_MF, rtol=1e-6)

    def _picture(self) -> Any:
        session = self.session
        members = {name: (each.last, each.absent) for name, each in session.members.items()}
        return session.round, session.step.phase, sorted(session.step.messages), members

    def teardown(self) -> None:
        """All parties come back, and the rounds go on."""
        with self.scratch:
            if hasattr(self, "session"):
                self._go_on()

    def _go_on(self) -> None:
        target = self.session.round + 2
        for _ in range(60):
            self.step()
            self.now += 11.0
            self.session.expire(self.now)
            if self.session.round >= target:
                return
        raise AssertionError("the rounds do not go on")


EXAMPLES = 2000 if settings.get_current_profile_name() == "thorough" else 40
Sessions.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase


def test_a_round_by_hand(tmp_path: Path) -> None:
    session = joined(tmp_path)
    header, array = session.answer("movies", users_of("movies").header) or (None, None)
    assert isinstance(header, msg.Match)
    assert array is not None
    assert array.tolist() == [[0, 1, 2], [0, 1, 2]]
    # four matched users, then the others of each party in turn
    assert [session.members[name].first for name in NAMES] == [4, 5, 5]
    assert header.places == 6
    for name in NAMES:
        assert session.answer(name, message_of(name, 0).header) is None
        session.receive(name, message_of(name, 0), 0.0)
    header, z_MF = session.answer("food", message_of("food", 0).header) or (None, None)
    wanted = mean_of(set(NAMES), 0)
    assert np.allclose(z_MF, [wanted[user] for user in MATCHED["food"]])
    for name in NAMES:
        session.receive(name, report_of(name, 0), 0.0)
    sums, _ = session.answer("food", report_of("food", 0).header) or (None, None)
    assert isinstance(sums, msg.Sums)
    assert (sums.apart, sums.tied) == (6.0, 24.0)
    assert sums.norm == pytest.approx(sum(float(row @ row) for row in wanted.values()))


@pytest.mark.parametrize("wrong", ["nan", "huge", "shape", "factors", "penalty", "ahead"])
def test_a_wrong_message_is_refused_and_the_others_go_on(tmp_path: Path, wrong: str) -> None:
    session = joined(tmp_path, plan_of(2, round_seconds=10.0))
    frame = message_of("food", 1 if wrong == "ahead" else 0, 0.25 if wrong == "penalty" else None)
    rows_MF = frame.array.copy()
    rows_MF[1, 1] = {"nan": np.nan, "huge": 1e30}.get(wrong, 4242.0)
    rows_MF = {"shape": rows_MF[:2], "factors": rows_MF[:, :1]}.get(wrong, rows_MF)
    with pytest.raises(FederationError) as refused:
        session.receive("food", msg.Frame(frame.header, rows_MF), 0.0)
    assert "4242" not in str(refused.value)
    for name in ("books", "movies"):
        session.receive(name, message_of(name, 0), 0.0)
    assert session.answer("books", message_of("books", 0).header) is None
    session.expire(11.0)
    _, z_MF = session.answer("books", message_of("books", 0).header) or (None, None)
    wanted = mean_of({"books", "movies"}, 0)
    assert np.allclose(z_MF, [wanted[user] for user in MATCHED["books"]])


@pytest.mark.parametrize("quorum", [2, 3])
def test_no_time_is_long_enough_for_less_than_the_quorum(tmp_path: Path, quorum: int) -> None:
    session = joined(tmp_path, plan_of(quorum, round_seconds=10.0))
    for name in NAMES[: quorum - 1]:
        session.receive(name, message_of(name, 0), 0.0)
    session.expire(1e9)
    assert session.answer("books", message_of("books", 0).header) is None
    session.receive(NAMES[quorum - 1], message_of(NAMES[quorum - 1], 0), 2e9)
    assert session.answer("books", message_of("books", 0).header) is not None


def test_of_two_messages_of_one_round_the_first_counts(tmp_path: Path) -> None:
    session = joined(tmp_path)
    session.receive("food", message_of("food", 0), 0.0)
    session.receive("food", msg.Frame(message_of("food", 0).header, 2 * rows_of("food", 0)), 0.0)
    for name in ("books", "movies"):
        session.receive(name, message_of(name, 0), 0.0)
    wanted = mean_of(set(NAMES), 0)
    assert np.allclose(session.z_MF, [wanted[user] for user in JOINT])


def test_a_report_before_its_message_other_users_and_an_unknown_party_are_refused(tmp_path: Path) -> None:
    session = joined(tmp_path)
    with pytest.raises(FederationError, match="must follow"):
        session.receive("food", report_of("food", 0), 0.0)
    with pytest.raises(FederationError, match="not those with which"):
        session.receive("food", users_of("movies"), 0.0)
    with pytest.raises(FederationError, match="names no party"):
        session.receive("mallory", users_of("food"), 0.0)
    with pytest.raises(FederationError, match="last round"):
        session.receive("food", msg.Frame(msg.Finished(), np.empty(0)), 0.0)


def test_a_late_party_is_matched_with_what_the_others_share(tmp_path: Path) -> None:
    session = Session(plan_of(2, join_seconds=5.0), tmp_path)
    for name in ("books", "movies"):
        session.receive(name, users_of(name), 0.0)
    assert session.joint_M4 is None
    session.expire(6.0)
    session.receive("food", users_of("food"), 7.0)
    member = session.members["food"]
    assert [USERS["food"][row] for row in member.sent_M] == [3]
    assert member.absent
    assert (member.first, session.places) == (2 + 2 + 1, 2 + 2 + 1 + 3)
    again = Session(session.plan, tmp_path)
    assert again.members["food"].first == member.first


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_who_was_late_may_report_to_a_coordinator_that_was_killed_since(
    tmp_path: Path, masks: bool, over: bool
) -> None:
    session = joined(tmp_path, plan_of(2, masks, round_seconds=10.0))

    def message(name: str) -> msg.Frame:
        frame = message_of(name, 0)
        if not masks:
            return frame
        # only who is in all three is matched
        return masked_of(session, name, msg.Frame(frame.header, frame.array[np.isin(MATCHED[name], 3)]))

    in_time = ("books", "movies")
    for name in in_time:
        session.receive(name, message(name), 0.0)
    session.expire(11.0)
    for name in in_time if masks else ():
        survivors, _ = session.answer(name, message(name).header) or (None, None)
        assert isinstance(survivors, msg.Survivors)
        session.receive(name, reveal_of(session, name, survivors), 11.0)
    for name in in_time if over else ():
        session.receive(name, report_of(name, 0), 11.0)
    assert session.round == int(over)
    session.receive("food", message("food"), 12.0)
    header, _ = session.answer("food", message("food").header) or (None, None)
    assert isinstance(header, msg.Consensus)
    session = Session(session.plan, tmp_path)
    session.receive("food", report_of("food", 0), 12.0)
    assert not session.members["food"].absent


def test_a_folder_of_another_session_is_not_touched(tmp_path: Path) -> None:
    joined(tmp_path)
    with pytest.raises(StoreError, match="other parties, settings, seed, masks or matching"):
        Session(Plan(METHOD, NAMES, 1), tmp_path)


def test_two_parties_are_refused_unless_that_is_understood() -> None:
    for names, quorum in ((("books", "movies"), None), (NAMES, 2)):
        with pytest.raises(SettingsError, match="computes the other's rows"):
            Plan(METHOD, names, quorum=quorum)
        assert Plan(METHOD, names, quorum=quorum, two_party_leak_understood=True).needed == 2
    assert "--two-party-leak-understood" in TWO_PARTIES


@pytest.mark.parametrize(
    "change", [{"admm.variant": "paper_code"}, {"admm.rho": 0.0}, {"consensus.shared_fraction": 0.5}]
)
def test_settings_that_need_all_data_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="Parties train with"):
        Plan(METHOD.with_settings(change), NAMES)


@pytest.mark.parametrize(
    "names", [("books",), ("books", "books"), ("books", "Movies", "x"), ("a", "b/c", "d")]
)
def test_wrong_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError):
        Plan(METHOD, names, two_party_leak_understood=True)


def collected(session: Session, names: tuple[str, ...], number: int = 0) -> dict[str, msg.Survivors]:
    """Masked messages of these parties, and the answer to each."""
    for name in names:
        session.receive(name, masked_of(session, name, message_of(name, number)), 0.0)
    session.expire(100.0)
    answers = {
        name: session.answer(name, masked_of(session, name, message_of(name, number)).header)
        for name in names
    }
    return {
        name: answer[0] for name, answer in answers.items() if answer and isinstance(answer[0], msg.Survivors)
    }


def test_a_masked_round_by_hand(tmp_path: Path) -> None:
    session = joined(tmp_path, plan_of(masks=True))
    match, _ = session.answer("food", users_of("food", True).header) or (None, None)
    assert isinstance(match, msg.Match)
    assert set(match.keys) == set(NAMES)
    assert session.answer("food", masked_of(session, "food", message_of("food", 0)).header) is None
    answers = collected(session, NAMES)
    assert {each.names for each in answers.values()} == {NAMES}
    # what the coordinator has is not the sum, nor near it
    wanted = mean_of(set(NAMES), 0)
    count = [sum(user in MATCHED[name] for name in NAMES) for user in JOINT]
    sums = np.array([wanted[user] for user in JOINT]) * np.array(count)[:, None]
    assert (np.abs(FIXED.decode(session.masked_MF) - sums) > 1e3).all()
    for name in NAMES:
        assert session.answer(name, masked_of(session, name, message_of(name, 0)).header) is not None
        session.receive(name, reveal_of(session, name, answers[name]), 100.0)
    _, z_MF = session.answer("food", msg.Reveal(round=0, shares={})) or (None, None)
    np.testing.assert_array_equal(z_MF, [wanted[user] for user in MATCHED["food"]])


def test_parties_lost_before_and_after_their_message_leave_the_mean_of_the_others(tmp_path: Path) -> None:
    session = joined(tmp_path, plan_of(2, masks=True, round_seconds=10.0))
    # of three parties and a quorum of two: only who is in all three, so that two are always left
    assert session.joint_M4 is not None
    assert session.joint_M4[:, 0].tolist() == [3]

    def message(name: str) -> msg.Frame:
        frame = message_of(name, 0)
        return masked_of(session, name, msg.Frame(frame.header, frame.array[np.isin(MATCHED[name], 3)]))

    for name in ("books", "movies"):
        session.receive(name, message(name), 0.0)
    session.expire(11.0)
    session = Session(session.plan, tmp_path)  # the coordinator is killed between the two steps
    for name in ("books", "movies"):
        survivors, _ = session.answer(name, message(name).header) or (None, None)
        assert isinstance(survivors, msg.Survivors)
        assert survivors.names == ("books", "movies")
        # who was late is in no sum, and does not learn who is
        session.receive("food", message("food"), 12.0)
        assert session.answer("food", message("food").header) is None
        session.receive(name, reveal_of(session, name, survivors), 12.0)
    np.testing.assert_array_equal(session.z_MF, [mean_of({"books", "movies"}, 0)[3]])
    assert session.answer("food", message("food").header) is not None


@pytest.mark.parametrize(
    "wrong", ["plain", "shares", "shape", "no key", "other key", "too early", "others", "forged"]
)
def test_what_does_not_fit_a_masked_session_is_refused(tmp_path: Path, wrong: str) -> None:
    session = joined(tmp_path, plan_of(masks=True))
    frame = masked_of(session, "food", message_of("food", 0))
    header = frame.header
    assert isinstance(header, msg.Masked)
    reveal = forged("4242")
    if wrong in ("others", "forged"):
        collected(session, NAMES)
    if wrong == "forged":
        session.receive("books", msg.Frame(forged("ee"), np.empty(0)), 0.0)
        session.receive("movies", msg.Frame(forged("dd"), np.empty(0)), 0.0)
    other = msg.SignedKey(key="00" * 32, certificate="", signature="")
    sent = {
        "plain": message_of("food", 0),
        "shares": msg.Frame(header.model_copy(update={"shares": {"books": "00"}}), frame.array),
        "shape": msg.Frame(header.model_copy(update={"rows": 3}), frame.array[:3]),
        "no key": users_of("food"),
        "other key": msg.Frame(msg.Users(count=4, key=other), users_of("food").array),
        "too early": msg.Frame(reveal, np.empty(0)),
        "others": msg.Frame(reveal.model_copy(update={"shares": {"food": {"food": "00"}}}), np.empty(0)),
        "forged": msg.Frame(forged("4242"), np.empty(0)),
    }
    with pytest.raises(FederationError) as refused:
        session.receive("food", sent[wrong], 0.0)
    assert "4242" not in str(refused.value)


def forged(digits: str) -> msg.Reveal:
    """Shares that no party dealt."""
    share = (digits * 65)[:130]
    return msg.Reveal(round=0, shares={name: {name: share} for name in NAMES})


def test_plans_with_masks_that_would_not_protect_are_refused() -> None:
    names = tuple("abcd")
    with pytest.raises(SettingsError, match="more than half"):
        Plan(METHOD, names, quorum=2, two_party_leak_understood=True, masks=True)
    assert Plan(METHOD, names, quorum=3, masks=True).needed == 3
    with pytest.raises(SettingsError, match="at most 20"):
        Plan(METHOD, tuple(f"p{number}" for number in range(21)), masks=True)
    with pytest.raises(SettingsError, match="computes the other's rows"):
        Plan(METHOD, names[:2], masks=True)


def test_with_masks_the_log_says_who_still_reads_whose_rows(tmp_path: Path) -> None:
    lines: list[str] = []
    session = Session(plan_of(masks=True), tmp_path, note=lines.append)
    for name in NAMES:
        session.receive(name, users_of(name, True), 0.0)
    assert "The two parties of 3 of them learn each other's rows of these, despite the masks." in lines[-1]
