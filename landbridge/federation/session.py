"""The coordinator's side of a session, without any network: what it knows and accepts, and when it goes on.

    joining    parties send the hashes of their users; all are there, or the quorum and the time is up: match
               (with psi, they join a ring in the same way, and then all of the ring send the codes from it)
    messages   m of round r comes from every present party, or from the quorum and the time is up: z, Eq. (2)
    reveals    with masks, before z: shares of what is left of them, of all whose messages came, or the quorum
    reports    the residuals of those whose messages are in z, in the same way: sums, and round r + 1

A party that does not send in time is absent: the others go on, and wait for it again as soon as it has sent
something valid. An absent or late party runs through the rounds that it missed against the newest z; what it
sends for a closed round is not counted. A party that joins after the match takes part with those of its users
that were matched without it; with masks it cannot join, because the others have agreed on their keys. A
round that was already sent cannot be sent again with another content.

A private set intersection (:mod:`landbridge.federation.intersection`) needs every party of its ring until the
users are matched; then who is late is left out as always. A party that was not in the ring cannot join later.

With masks (:mod:`landbridge.federation.masks`), only users of so many parties are matched that a sum is never
the row of one party: with N parties and a quorum of Q, of N - Q + 2.

Equations are those of :mod:`landbridge.models.als.exchange`. Everything is on disk before it is sent, so that
a killed coordinator goes on where it was: parties send what was not acknowledged once more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from landbridge.core.errors import DataError, FederationError, StoreError
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
from landbridge.federation.aggregation import FIXED, group_of
from landbridge.federation.intersection import POINT_BYTES
from landbridge.federation.masks import Group, Revealed, Unsigned, unmasked_sum
from landbridge.federation.relay import SEAL_BYTES, Relay
from landbridge.federation.terms import Plan
from landbridge.federation.transcript import Transcript
from landbridge.federation.user_codes import Codes, in_several, places, sorted_order
from landbridge.models.als.exchange import Residuals, change, consensus_of

SESSION, MATCH, STATE = "session.json", "match.safetensors", "state.safetensors"
MASKED = "masked.safetensors"  # the sum of a round whose masks are not removed yet


@dataclass
class Member:
    """A party that has joined."""

    codes: Codes  # sorted, (U, 4)
    sent_M: Int64  # rows of its codes that are matched
    place_M: Int64  # their rows in the joint list
    first: int  # the place of its first other user
    key: msg.SignedKey | None = None  # for masks
    last: int = -1  # the last round it sent a message of
    absent: bool = False
    finished: bool = False


@dataclass
class Step:
    """What came in for the current step of a round, by party, and until when it may come."""

    phase: Literal["messages", "reveals", "reports"] = "messages"
    messages: dict[str, AnyArray] = field(default_factory=dict)
    shares: dict[str, dict[str, str]] = field(default_factory=dict)  # sender -> for whom -> sealed
    reveals: dict[str, Revealed] = field(default_factory=dict)
    reports: dict[str, msg.Report] = field(default_factory=dict)
    senders: tuple[str, ...] = ()  # whose messages are in the sum
    awaited: tuple[str, ...] = ()  # whose reveals or reports
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
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        make_folder(folder)
        self.plan, self.folder, self.note = plan, folder, note
        self.transcript = transcript or Transcript()
        self.relay = Relay(folder) if plan.psi else None
        self.id = secrets.token_hex(16)
        self.codes: dict[str, Codes] = {}  # of those that have joined, before the match
        self.keys: dict[str, msg.SignedKey | None] = {}  # theirs
        self.members: dict[str, Member] = {}
        self.joint_M4: Codes | None = None
        self.places = 0
        self.round = 0
        self.step = Step()
        self.masked_MF: Unsigned = np.empty((0, plan.method.factors), FIXED.dtype)
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
            masks=plan.masks,
            psi=plan.psi,
            settings=plan.settings,
            seed=plan.seed,
        )

    def limit(self, party: str) -> int:
        """The longest frame that is read from a party, in bytes."""
        member = self.members.get(party)
        rows = 0 if member is None else self._bytes(member) * self.plan.method.factors
        users = self.plan.limits.max_users if member is None else len(member.codes)
        hashes = users * max(8 * msg.CODE_WORDS, POINT_BYTES) + SEAL_BYTES
        return msg.PREFIX.size + msg.MAX_HEADER + max(rows, hashes)

    def receive(self, party: str, frame: msg.Frame, now: float) -> None:
        """Take a party's message; FederationError where it is refused, and then nothing has changed."""
        header = frame.header
        match header:
            case msg.Entry() if self.relay is not None:
                self._enter(self.relay, party, header, now)
            case msg.Blinded() if self.relay is not None:
                self._check_not_matched()
                self.relay.take(party, header, frame.array)
            case msg.Users():
                self._join(party, header.key, frame.array, now)
            case msg.Message() if not self.plan.masks:
                self._check_plain(party, frame.array)
                self._message(party, header, frame.array, now)
            case msg.Masked() if self.plan.masks:
                self._check_masked(party, header)
                if self._message(party, header, frame.array, now):
                    self.step.shares[party] = header.shares
            case msg.Reveal() if self.plan.masks:
                self._reveal(party, header, now)
            case msg.Report():
                self._report(party, header, now)
            case msg.Finished():
                self._finish(party)
            case _:
                raise FederationError("A coordinator takes no message of this kind.")
        self._advance(now)

    def answer(self, party: str, request: msg.Header) -> msg.Answer | None:
        """The answer to a party's last message, or None while others are waited for."""
        match request:
            case msg.Entry() | msg.Blinded() if self.relay is not None:
                return self.relay.answer(party, request)
        member = self.members.get(party)
        if member is None:
            return None
        match request:
            case msg.Users():
                return self._match_of(member)
            case msg.Message(round=number) | msg.Masked(round=number) | msg.Reveal(round=number):
                if number == self.round and self.step.phase != "reports":
                    return self._survivors(party, request)
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

    def _enter(self, relay: Relay, party: str, entry: msg.Entry, now: float) -> None:
        self._check_not_matched()
        self._check_size(party, entry.count)
        if relay.enter(party, entry):
            self.join_until = self.join_until or now + self.plan.limits.join_seconds
            self.note(f"{party} joined with {entry.count} users.")

    def _check_not_matched(self) -> None:
        if self.joint_M4 is not None:
            raise FederationError(
                "The users are matched already; a party goes on with the --out that it had, or not at all."
            )

    def _check_size(self, party: str, count: int) -> None:
        if party not in self.plan.parties:
            raise FederationError("The certificate names no party of this session.")
        if count > self.plan.limits.max_users:
            raise FederationError("There are more users than the coordinator takes.")

    def _join(self, party: str, key: msg.SignedKey | None, codes: Codes, now: float) -> None:
        self._check_size(party, len(codes))
        msg.check_codes(codes)
        if (key is not None) != self.plan.masks:
            raise FederationError("A party sends a key where messages are masked, and only there.")
        known = self.members[party].codes if party in self.members else self.codes.get(party)
        if known is not None:
            kept = self.members[party].key if party in self.members else self.keys.get(party)
            if not np.array_equal(known, codes):
                raise FederationError("The users are not those with which this party joined.")
            # the signature of one key is another one each time
            if key is not None and (kept is None or kept.key != key.key):
                raise FederationError("The key is not that with which this party joined.")
            return
        if self.joint_M4 is not None:
            self._join_late(party, codes)
            return
        if self.relay is not None:
            made_U4 = self.relay.codes(party)
            if not np.array_equal(made_U4[sorted_order(made_U4)], codes):
                raise FederationError("The codes are not those of this party's list.")
        self.codes[party], self.keys[party] = np.array(codes), key
        self.join_until = self.join_until or now + self.plan.limits.join_seconds
        if self.relay is None:
            self.note(f"{party} joined with {len(codes)} users.")

    def _check_plain(self, party: str, rows_MF: Float32) -> None:
        if rows_MF.shape != (len(self._member(party).place_M), self.plan.method.factors):
            raise FederationError("A message needs one row for each matched user.")
        msg.check_rows(rows_MF, self.plan.limits.max_norm)

    def _check_masked(self, party: str, header: msg.Masked) -> None:
        self._member(party)
        if (header.rows, header.factors) != self.z_MF.shape:
            raise FederationError("A masked message needs one row for each user in the joint list.")
        if set(header.shares) != set(self.members) - {party}:
            raise FederationError("A masked message needs shares for every other party.")

    def _message(self, party: str, header: msg.Message | msg.Masked, rows_MF: AnyArray, now: float) -> bool:
        """Whether the message counts."""
        member = self._member(party)
        if not member.last <= header.round <= self.round:
            raise FederationError("The round is over for this party, or has not begun.")
        step, is_open = self.step, header.round == self.round and self.step.phase == "messages"
        if is_open and header.rho != self.plan.method.round_after(self.sums).rho:
            raise FederationError("The penalty is not that of the round.")
        member.last, member.absent = header.round, False
        # of two messages of one round the first is kept
        counts = is_open and party not in step.messages
        if counts:
            step.messages[party] = rows_MF
            step.until = step.until or now + self.plan.limits.round_seconds
        elif not is_open:
            # it is answered at once, and what follows must find it after a kill
            self._save_state()
        return counts

    def _reveal(self, party: str, header: msg.Reveal, now: float) -> None:
        member, step = self._member(party), self.step
        if header.round != member.last:
            raise FederationError("Shares must follow the message of their round.")
        if header.round != self.round or step.phase != "reveals" or party not in step.awaited:
            return
        lost = set(self.members) - set(step.senders)
        wanted = {sender: {sender, *lost} for sender in step.senders}
        if {sender: set(shares) for sender, shares in header.shares.items()} != wanted:
            raise FederationError("The shares are not those of the survivors that were reported.")
        member.absent = False
        step.reveals[party] = {
            sender: {about: int(share, 16) for about, share in shares.items()}
            for sender, shares in header.shares.items()
        }
        step.until = step.until or now + self.plan.limits.round_seconds

    def _report(self, party: str, header: msg.Report, now: float) -> None:
        member = self._member(party)
        if header.round != member.last:
            raise FederationError("A report must follow the message of its round.")
        step = self.step
        if header.round == self.round and party in step.awaited and party not in step.reports:
            if step.phase != "reports":
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
            match self.relay:
                case None if self._joined(self.codes, now):
                    self._match()
                case Relay(names=()) as relay if self._joined(relay.entries, now):
                    relay.close(self.plan.parties)
                case Relay(names=names) as relay if names and set(names) == set(self.codes):
                    self._match()
                    relay.discard()
            return
        match self.step.phase:
            case "messages":
                if self._ready(self.step.messages, self._present(), now):
                    self._collected()
            case "reveals":
                if self._ready(self.step.reveals, self.step.awaited, now):
                    self._unmask()
            case "reports":
                if self._ready(self.step.reports, self.step.awaited, now):
                    self._close_round()

    def _joined(self, there: Mapping[str, object], now: float) -> bool:
        """Whether all are there, or enough when the time is up."""
        late = self.join_until is not None and now >= self.join_until
        return len(there) == len(self.plan.parties) or (late and len(there) >= self.plan.needed)

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
        # with masks: of so many parties that a sum is never one row, even after a loss
        least = len(joined) - self.plan.needed + 2 if self.plan.masks else 2
        self.joint_M4 = in_several([self.codes[name] for name in joined], least)
        self.places = len(self.joint_M4)
        for name in joined:
            self._admit(name, self.codes[name], self.keys[name])
        self.codes, self.keys = {}, {}
        self.z_MF = self.before_MF = np.zeros((len(self.joint_M4), self.plan.method.factors), np.float32)
        self.note(f"{len(joined)} parties, {len(self.joint_M4)} users of {least} or more.{self._leak()}")
        self._save_match()

    def _leak(self) -> str:
        """How many matched users are of two parties only, whose rows these two learn from each other."""
        assert self.joint_M4 is not None
        count_M = np.zeros(len(self.joint_M4), np.int64)
        for member in self.members.values():
            count_M[member.place_M] += 1
        two = int((count_M == 2).sum())
        despite = ", despite the masks" if self.plan.masks else ""
        return f" The two parties of {two} of them learn each other's rows of these{despite}."

    def _admit(self, name: str, codes: Codes, key: msg.SignedKey | None = None) -> None:
        assert self.joint_M4 is not None
        place_U = places(codes, self.joint_M4)
        sent_M = np.flatnonzero(place_U >= 0)
        self.members[name] = Member(codes, sent_M, place_U[sent_M], self.places, key)
        self.places += len(codes) - len(sent_M)
        self.transcript.matched(name, place_U[sent_M])

    def _join_late(self, party: str, codes: Codes) -> None:
        if self.plan.masks:
            raise FederationError("The parties have agreed on the keys of their masks without this one.")
        if self.plan.psi:
            raise FederationError("The parties have matched their users without this one.")
        self._admit(party, np.array(codes))
        self.members[party].absent = True  # until its first message
        self.note(f"{party} joined late with {len(codes)} users.")
        self._save_match()

    def _collected(self) -> None:
        """Sum the messages that are there, in the order of the parties, as one process does."""
        step = self.step
        step.senders = tuple(name for name in self.plan.parties if name in step.messages)
        if self.plan.masks:
            self._sum_masked()
            return
        sum_MF = np.zeros_like(self.z_MF)
        for name in step.senders:
            sum_MF[self.members[name].place_M] += step.messages[name]  # a party has every place once
        z_MF = self._make_consensus(sum_MF, step.senders)
        current = self.plan.method.round_after(self.sums)
        for name in step.senders:
            place_M = self.members[name].place_M
            self.transcript.round(current, name, step.messages[name], z_MF[place_M])
        self._await_reports(z_MF, step.senders)

    def _sum_masked(self) -> None:
        """Keep the sum with its masks, and ask for what removes them."""
        step = self.step
        self.masked_MF = np.zeros(self.z_MF.shape, FIXED.dtype)
        for name in step.senders:
            self.masked_MF += step.messages[name]
        shares = {name: step.shares[name] for name in step.senders}
        self.step = Step("reveals", shares=shares, senders=step.senders, awaited=step.senders)
        self._save_masked()
        self._save_state()

    def _unmask(self) -> None:
        """Eq. (4) of :mod:`landbridge.federation.masks`."""
        step = self.step
        try:
            sum_MF = unmasked_sum(self._group(), self.masked_MF, step.senders, step.reveals)
        except DataError as error:
            raise FederationError(f"The masks of round {self.round} cannot be removed. {error}") from None
        z_MF = self._make_consensus(FIXED.decode(sum_MF).astype(np.float32), step.senders)
        self._await_reports(z_MF, tuple(step.reveals))

    def _group(self) -> Group:
        return group_of(self.members, self.id, self.round, self.plan.needed)

    def _make_consensus(self, sum_MF: Float32, senders: tuple[str, ...]) -> Float32:
        """Eqs. (1) and (2), and Eq. (4) of :mod:`landbridge.models.als.privacy`."""
        method = self.plan.method
        count_M = np.zeros(len(sum_MF), np.float32)
        for name in senders:
            count_M[self.members[name].place_M] += 1
        rho = method.round_after(self.sums).rho
        return method.privacy.shrunk(consensus_of(sum_MF, count_M, method.consensus.reg, rho), count_M)

    def _await_reports(self, z_MF: Float32, parties: tuple[str, ...]) -> None:
        self.before_MF, self.z_MF = self.z_MF, z_MF
        self.step = Step("reports", awaited=parties)
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

    def _match_of(self, member: Member) -> tuple[msg.Header, AnyArray]:
        assert self.joint_M4 is not None
        header = msg.Match(
            rows=len(member.place_M),
            joint=len(self.joint_M4),
            first=member.first,
            places=self.places,
            last=member.last,
            keys={name: each.key for name, each in self.members.items() if each.key is not None},
        )
        return header, np.stack([member.sent_M, member.place_M])

    def _survivors(self, party: str, request: msg.Header) -> tuple[msg.Header, None] | None:
        """Whose masked messages are in the sum, once that is settled, for a party whose message is."""
        step = self.step
        match request:
            case msg.Masked(round=number) if step.phase == "reveals" and party in step.senders:
                shares = {sender: sealed[party] for sender, sealed in step.shares.items() if sender != party}
                return msg.Survivors(round=number, names=step.senders, shares=shares), None
        return None

    def _bytes(self, member: Member) -> int:
        """Of a message, for each factor."""
        return len(self.z_MF) * FIXED.dtype.itemsize if self.plan.masks else len(member.place_M) * 4

    # on disk

    def _save_match(self) -> None:
        assert self.joint_M4 is not None
        arrays: Arrays = {"joint": self.joint_M4}
        arrays |= {f"codes:{name}": member.codes for name, member in self.members.items()}
        about = {
            "first": {name: member.first for name, member in self.members.items()},
            "keys": {name: each.key.model_dump() for name, each in self.members.items() if each.key},
            "places": self.places,
        }
        self._save_state()  # before the match: a match without a state would be a session without members
        with atomic_write(self.folder / MATCH) as temporary:
            write_arrays(temporary, arrays, about)

    def _save_state(self) -> None:
        about = {
            "round": self.round,
            "phase": self.step.phase,
            "awaited": self.step.awaited,
            "sums": [asdict(each) for each in self.sums],
            "members": {
                name: {"last": each.last, "absent": each.absent, "finished": each.finished}
                for name, each in self.members.items()
            },
        }
        with atomic_write(self.folder / STATE) as temporary:
            write_arrays(temporary, {"z": self.z_MF, "before": self.before_MF}, about)

    def _save_masked(self) -> None:
        """Before the state: without the sum, its masks could not be removed."""
        about = {"senders": self.step.senders, "shares": self.step.shares}
        with atomic_write(self.folder / MASKED) as temporary:
            write_arrays(temporary, {"sum": self.masked_MF}, about)

    def _resume_masked(self) -> None:
        arrays, about = read_arrays(self.folder / MASKED)
        self.masked_MF = arrays["sum"]
        self.step.senders, self.step.shares = tuple(about["senders"]), about["shares"]

    def _resume(self) -> None:
        self._resume_identity()
        if not (self.folder / MATCH).exists():
            return
        arrays, about = read_arrays(self.folder / MATCH)
        state, now = read_arrays(self.folder / STATE)
        self.joint_M4 = arrays["joint"]
        for name, first in about["first"].items():
            self.places = first
            key = about["keys"].get(name)
            self._admit(name, arrays[f"codes:{name}"], key and msg.SignedKey(**key))
        self.places = about["places"]
        for name, member in self.members.items():
            facts = now["members"][name]
            member.last, member.absent, member.finished = facts["last"], facts["absent"], facts["finished"]
        self.round, self.z_MF, self.before_MF = now["round"], state["z"], state["before"]
        self.sums = [Residuals(**each) for each in now["sums"]]
        self.step = Step(now["phase"], awaited=tuple(now["awaited"]))
        if self.step.phase == "reveals":
            self._resume_masked()
        self.note(f"The session goes on at round {self.round}.")

    def _resume_identity(self) -> None:
        """The id of the session in the folder, or a new one there."""
        plan, path = self.plan, self.folder / SESSION
        identity: Record = {
            "settings": plan.settings,
            "parties": list(plan.parties),
            "seed": plan.seed,
            "masks": plan.masks,
            "psi": plan.psi,
        }
        if not path.exists():
            write_json(path, {"session": self.id, **identity})
            return
        kept = read_json(path)
        self.id = kept.pop("session")
        if kept != identity:
            raise StoreError(
                f"{self.folder} holds a session of other parties, settings, seed, masks or matching; choose "
                "another folder."
            )
