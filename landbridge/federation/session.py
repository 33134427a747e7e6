"""The coordinator's side of a session, without any network: what it knows and accepts, and when it goes on.

    joining    parties send the hashes of their users; all are there, or the quorum and the time is up: match
    messages   m of round r comes from every present party, or from the quorum and the time is up: z, Eq. (2)
    reports    the residuals of those whose messages are in z, in the same way: sums, and round r + 1

A party that does not send in time is absent: the others go on, and wait for it again as soon as it has sent
something valid. An absent or late party runs through the rounds that it missed against the newest z; what it
sends for a closed round is not counted. A party that joins after the match takes part with those of its users
that were matched without it. A round that was already sent cannot be sent again with another content.

Equations are those of :mod:`landbridge.models.als.exchange`. Everything is on disk before it is sent, so that
a killed coordinator goes on where it was: parties send what was not acknowledged once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from landbridge.core.errors import FederationError, StoreError
from landbridge.core.files import (
    atomic_write,
    make_folder,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from landbridge.core.types import AnyArray, Arrays, Float32, Int64, Record
from landbridge.federation import messages as msg
from landbridge.federation.aggregation import Aggregation, Contribution, PlainSum
from landbridge.federation.terms import Plan
from landbridge.federation.transcript import Transcript
from landbridge.federation.user_codes import Codes, in_several, places
from landbridge.models.als.exchange import Residuals, change, consensus_of

SESSION, MATCH, STATE = "session.json", "match.safetensors", "state.safetensors"


@dataclass
class Member:
    """A party that has joined."""

    codes: Codes  # sorted, (U, 4)
    sent_M: Int64  # rows of its codes that are matched
    place_M: Int64  # their rows in the joint list
    first: int  # the place of its first other user
    last: int = -1  # the last round it sent a message of
    absent: bool = False
    finished: bool = False


@dataclass
class Step:
    """What came in for the current step of a round, by party, and until when it may come."""

    reporting: bool = False  # else messages are collected
    messages: dict[str, Float32] = field(default_factory=dict)
    reports: dict[str, msg.Report] = field(default_factory=dict)
    awaited: tuple[str, ...] = ()  # whose reports: those that sent a message
    until: float | None = None


class Session:
    """The state of one session in ``folder``; it continues what a killed one left there.

    Times are seconds of any clock. ``note`` gets one line for what an operator should know; never a value
    that a party sent.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        transcript: Transcript | None = None,
        aggregation: Aggregation | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        make_folder(folder)
        self.plan, self.folder, self.note = plan, folder, note
        self.transcript, self.aggregation = transcript or Transcript(), aggregation or PlainSum()
        self.id = secrets.token_hex(16)
        self.codes: dict[str, Codes] = {}  # of those that have joined, before the match
        self.members: dict[str, Member] = {}
        self.joint_M4: Codes | None = None
        self.places = 0
        self.round = 0
        self.step = Step()
        self.sums: list[Residuals] = []
        self.z_MF = self.before_MF = np.empty((0, plan.method.factors), np.float32)
        self.join_until: float | None = None
        self._resume()

    # what the network asks

    def terms(self) -> msg.Terms:
        """What every party gets first."""
        plan = self.plan
        return msg.Terms(
            session=self.id,
            parties=plan.parties,
            quorum=plan.needed,
            max_norm=plan.limits.max_norm,
            settings=plan.settings,
            seed=plan.seed,
        )

    def limit(self, party: str) -> int:
        """The longest frame that is read from a party, in bytes."""
        member = self.members.get(party)
        rows = 0 if member is None else len(member.place_M) * self.plan.method.factors * 4
        hashes = (self.plan.limits.max_users if member is None else len(member.codes)) * 8 * msg.CODE_WORDS
        return msg.PREFIX.size + msg.MAX_HEADER + max(rows, hashes)

    def receive(self, party: str, frame: msg.Frame, now: float) -> None:
        """Take a party's message; FederationError where it is refused, and then nothing has changed."""
        header = frame.header
        match header:
            case msg.Users():
                self._join(party, frame.array, now)
            case msg.Message():
                self._message(party, header, frame.array, now)
            case msg.Report():
                self._report(party, header, now)
            case msg.Finished():
                self._finish(party)
            case _:
                raise FederationError("A coordinator takes no message of this kind.")
        self._advance(now)

    def answer(self, party: str, request: msg.Header) -> tuple[msg.Header, AnyArray | None] | None:
        """The answer to a party's last message, or None while others are waited for."""
        member = self.members.get(party)
        if member is None:
            return None
        match request:
            case msg.Users():
                rows = len(member.place_M)
                header = msg.Match(rows=rows, first=member.first, places=self.places)
                return header, np.stack([member.sent_M, member.place_M])
            case msg.Message(round=number):
                if number == self.round and not self.step.reporting:
                    return None
                return self._consensus(member, number)
            case msg.Report(round=number):
                if number >= len(self.sums):
                    return None
                return msg.Sums(round=number, **asdict(self.sums[number])), None
        return msg.Finished(), None

    def expire(self, now: float) -> None:
        """Go on without those that are late, where the time is up and the quorum is there."""
        self._advance(now)

    @property
    def complete(self) -> bool:
        """Whether no party that is present has anything to do."""
        present = [each for each in self.members.values() if not each.absent]
        return bool(present) and all(each.finished for each in present)

    @property
    def missing(self) -> list[str]:
        """The parties that have not finished."""
        return [
            name for name in self.plan.parties if name not in self.members or not self.members[name].finished
        ]

    # what a party sends

    def _join(self, party: str, codes: Codes, now: float) -> None:
        if party not in self.plan.parties:
            raise FederationError("The certificate names no party of this session.")
        if len(codes) > self.plan.limits.max_users:
            raise FederationError("There are more users than the coordinator takes.")
        msg.check_codes(codes)
        known = self.members[party].codes if party in self.members else self.codes.get(party)
        if known is not None:
            if not np.array_equal(known, codes):
                raise FederationError("The users are not those with which this party joined.")
            return
        if self.joint_M4 is not None:
            self._join_late(party, codes)
            return
        self.codes[party] = np.array(codes)
        self.join_until = self.join_until or now + self.plan.limits.join_seconds
        self.note(f"{party} joined with {len(codes)} users.")

    def _message(self, party: str, header: msg.Message, rows_MF: Float32, now: float) -> None:
        member = self._member(party)
        if rows_MF.shape != (len(member.place_M), self.plan.method.factors):
            raise FederationError("A message needs one row for each matched user.")
        msg.check_rows(rows_MF, self.plan.limits.max_norm)
        if not member.last <= header.round <= self.round:
            raise FederationError("The round is over for this party, or has not begun.")
        step, is_open = self.step, header.round == self.round and not self.step.reporting
        if is_open and header.rho != self.plan.method.round_after(self.sums).rho:
            raise FederationError("The penalty is not that of the round.")
        member.last, member.absent = header.round, False
        # of two messages of one round the first is kept
        if is_open and party not in step.messages:
            step.messages[party] = rows_MF
            step.until = step.until or now + self.plan.limits.round_seconds

    def _report(self, party: str, header: msg.Report, now: float) -> None:
        member = self._member(party)
        if header.round != member.last:
            raise FederationError("A report must follow the message of its round.")
        step = self.step
        if header.round == self.round and party in step.awaited and party not in step.reports:
            if not step.reporting:
                raise FederationError("A report must follow the consensus of its round.")
            step.reports[party] = header
            step.until = step.until or now + self.plan.limits.round_seconds

    def _finish(self, party: str) -> None:
        member = self._member(party)
        if not self.sums or member.last < len(self.sums) - 1:
            raise FederationError("The party has not taken part in the last round.")
        if not member.finished:
            self.note(f"{party} has its model.")
        member.finished = True
        self._save_state()

    def _member(self, party: str) -> Member:
        if party not in self.members:
            raise FederationError("The party has not joined, or the parties are not matched yet.")
        return self.members[party]

    # when it goes on

    def _advance(self, now: float) -> None:
        if self.joint_M4 is None:
            late = self.join_until is not None and now >= self.join_until
            enough = len(self.codes) >= self.plan.needed
            if len(self.codes) == len(self.plan.parties) or (late and enough):
                self._match()
        elif self.step.reporting:
            if self._ready(self.step.reports, self.step.awaited, now):
                self._close_round()
        elif self._ready(self.step.messages, self._present(), now):
            self._make_consensus()

    def _present(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self.plan.parties
            if name in self.members and not (self.members[name].absent or self.members[name].finished)
        )

    def _ready(self, there: Mapping[str, object], awaited: tuple[str, ...], now: float) -> bool:
        """Whether a step is over; who is late is absent from now on."""
        late = [name for name in awaited if name not in there]
        if not there or len(there) < self.plan.needed:
            return False
        if late and (self.step.until is None or now < self.step.until):
            return False
        for name in late:
            self.members[name].absent = True
            self.note(f"{name} is late in round {self.round}; the others go on.")
        return True

    def _match(self) -> None:
        joined = [name for name in self.plan.parties if name in self.codes]
        self.joint_M4 = in_several([self.codes[name] for name in joined])
        self.places = len(self.joint_M4)
        for name in joined:
            self._admit(name, self.codes[name])
        self.codes = {}
        self.z_MF = self.before_MF = np.zeros((len(self.joint_M4), self.plan.method.factors), np.float32)
        self.note(f"{len(joined)} parties, {len(self.joint_M4)} users of two or more.{self._leak()}")
        self._save_match()

    def _leak(self) -> str:
        """How many matched users are of two parties only, whose rows these two learn from each other."""
        assert self.joint_M4 is not None
        count_M = np.zeros(len(self.joint_M4), np.int64)
        for member in self.members.values():
            count_M[member.place_M] += 1
        return f" The two parties of {int((count_M == 2).sum())} of them learn each other's rows of these."

    def _admit(self, name: str, codes: Codes) -> None:
        assert self.joint_M4 is not None
        place_U = places(codes, self.joint_M4)
        sent_M = np.flatnonzero(place_U >= 0)
        self.members[name] = Member(codes, sent_M, place_U[sent_M], self.places)
        self.places += len(codes) - len(sent_M)
        self.transcript.matched(name, place_U[sent_M])

    def _join_late(self, party: str, codes: Codes) -> None:
        self._admit(party, np.array(codes))
        self.members[party].absent = True  # until its first message
        self.note(f"{party} joined late with {len(codes)} users.")
        self._save_match()

    def _make_consensus(self) -> None:
        """Eqs. (1) and (2) over the messages that are there."""
        step, shape = self.step, self.z_MF.shape
        current = self.plan.method.round_after(self.sums)
        senders = [name for name in self.plan.parties if name in step.messages]
        count_M = np.zeros(shape[0], np.float32)
        for name in senders:
            count_M[self.members[name].place_M] += 1
        sum_MF = self.aggregation.summed(
            [Contribution(self.members[name].place_M, step.messages[name]) for name in senders],
            (shape[0], shape[1]),
        )
        z_MF = consensus_of(sum_MF, count_M, self.plan.method.consensus.reg, current.rho)
        for name in senders:
            place_M = self.members[name].place_M
            self.transcript.round(current, name, step.messages[name], z_MF[place_M])
        self.before_MF, self.z_MF = self.z_MF, z_MF
        self.step = Step(reporting=True, awaited=tuple(senders))
        self._save_state()

    def _close_round(self) -> None:
        reports = [self.step.reports[name] for name in self.plan.parties if name in self.step.reports]
        apart = tied = 0.0
        for each in reports:
            apart, tied = apart + each.apart, tied + each.tied
        self.sums.append(Residuals(apart, tied, *change(self.before_MF, self.z_MF)))
        self.round += 1
        self.step = Step()
        self._save_state()

    def _consensus(self, member: Member, number: int) -> tuple[msg.Header, AnyArray]:
        rows_MF = self.z_MF[member.place_M]
        return msg.Consensus(round=number, rows=len(rows_MF), factors=rows_MF.shape[1]), rows_MF

    # on disk

    def _save_match(self) -> None:
        assert self.joint_M4 is not None
        arrays: Arrays = {"joint": self.joint_M4}
        arrays |= {f"codes:{name}": member.codes for name, member in self.members.items()}
        about = {
            "first": {name: member.first for name, member in self.members.items()},
            "places": self.places,
        }
        self._save_state()  # before the match: a match without a state would be a session without members
        with atomic_write(self.folder / MATCH) as temporary:
            write_arrays(temporary, arrays, about)

    def _save_state(self) -> None:
        about = {
            "round": self.round,
            "reporting": self.step.reporting,
            "awaited": self.step.awaited,
            "sums": [asdict(each) for each in self.sums],
            "members": {
                name: {"last": each.last, "absent": each.absent, "finished": each.finished}
                for name, each in self.members.items()
            },
        }
        with atomic_write(self.folder / STATE) as temporary:
            write_arrays(temporary, {"z": self.z_MF, "before": self.before_MF}, about)

    def _resume(self) -> None:
        self._resume_identity()
        if not (self.folder / MATCH).exists():
            return
        arrays, about = read_arrays(self.folder / MATCH)
        state, now = read_arrays(self.folder / STATE)
        self.joint_M4 = arrays["joint"]
        for name, first in about["first"].items():
            self.places = first
            self._admit(name, arrays[f"codes:{name}"])
        self.places = about["places"]
        for name, member in self.members.items():
            facts = now["members"][name]
            member.last, member.absent, member.finished = facts["last"], facts["absent"], facts["finished"]
        self.round, self.z_MF, self.before_MF = now["round"], state["z"], state["before"]
        self.sums = [Residuals(**each) for each in now["sums"]]
        self.step = Step(now["reporting"], awaited=tuple(now["awaited"]))
        self.note(f"The session goes on at round {self.round}.")

    def _resume_identity(self) -> None:
        """The id of the session in the folder, or a new one there."""
        plan, path = self.plan, self.folder / SESSION
        identity: Record = {"settings": plan.settings, "parties": list(plan.parties), "seed": plan.seed}
        if not path.exists():
            write_json(path, {"session": self.id, **identity})
            return
        kept = read_json(path)
        self.id = kept.pop("session")
        if kept != identity:
            raise StoreError(
                f"{self.folder} holds a session of other parties, settings or seed; choose another folder."
            )
