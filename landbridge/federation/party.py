"""A party: trains its own domain with CDIMF, in the consensus of all parties.

The training is :meth:`landbridge.models.als.cdimf.CDIMF.fit_in` with a channel that leads to the coordinator.
Events, item embeddings, and users that no other party has stay here. What leaves is the keyed hash of each
user's id, once, and in every round m of the matched users and two sums of squares.

The order of the users is that of the joint list, matched ones first, so that every sum is over the same
numbers in the same order as where one process has all domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from landbridge.core.errors import DataError, SettingsError, StoreError
from landbridge.core.files import atomic_write, read_arrays, write_arrays
from landbridge.core.types import Float32, Int64, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.seen import Seen
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import messages as msg
from landbridge.federation.aggregation import Aggregation, PlainSum
from landbridge.federation.terms import check_leak, federated
from landbridge.federation.transcript import Transcript
from landbridge.federation.user_codes import UserCodes, sorted_order
from landbridge.federation.wire import Wire
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.exchange import Residuals, Round, message_of
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.participants import DomainState, Membership
from landbridge.training.epochs import State
from landbridge.training.options import FitOptions

JOURNAL = "round-{:05}.safetensors"


@dataclass
class Journal:
    """Answers of rounds that the last checkpoint does not hold yet, on disk: a killed party computes them
    again without sending anything. ``folder`` None: nothing is kept. ``starts``: first rounds of epochs."""

    folder: Path | None
    session: str
    starts: frozenset[int]

    def read(self, number: int) -> tuple[Float32, Residuals] | None:
        """What was received in a round, if it was completed."""
        if self.folder is None or not (path := self.folder / JOURNAL.format(number)).exists():
            return None
        arrays, about = read_arrays(path)
        if about["session"] != self.session:
            raise StoreError(
                f"{self.folder} holds rounds of another session; delete it or choose another --out."
            )
        return arrays["received"], Residuals(**about["sums"])

    def write(self, number: int, received_UF: Float32, sums: Residuals) -> None:
        """Keep the answers of a completed round."""
        if self.folder is not None:
            with atomic_write(self.folder / JOURNAL.format(number)) as temporary:
                write_arrays(
                    temporary, {"received": received_UF}, {"session": self.session, "sums": vars(sums)}
                )

    def forget(self, number: int) -> None:
        """Delete what is before a round with which an epoch begins: the checkpoint now holds it."""
        if self.folder is not None and number in self.starts:
            for path in self.folder.glob(JOURNAL.replace("{:05}", "*")):
                if path.name < JOURNAL.format(number):
                    path.unlink()


@dataclass
class RemoteChannel:
    """The channel of a party with one domain, see :class:`landbridge.models.als.exchange.Channel`."""

    wire: Wire
    name: str
    journal: Journal
    transcript: Transcript
    aggregation: Aggregation = field(default_factory=PlainSum)
    _received: tuple[Float32, Residuals | None] | None = None

    @property
    def identity(self) -> Values:
        """The session: a checkpoint of another one is of no use."""
        return {"session": self.wire.terms.session}

    def consensus(self, domains: Mapping[str, DomainState], state: State, current: Round) -> Float32:
        """As in :class:`Channel`."""
        ((name, domain),) = domains.items()
        self.journal.forget(current.number)
        self._received = self.journal.read(current.number) or (
            self._consensus(domain, state[f"x:{name}"], state[f"t:{name}"], current),
            None,
        )
        z_UF = np.zeros_like(state["z"])
        z_UF[domain.users[domain.tied]] = self._received[0]
        return z_UF

    def residuals(
        self, current: Round, apart: float, tied: float, before_UF: Float32, after_UF: Float32
    ) -> Residuals:
        """As in :class:`Channel`."""
        assert self._received is not None
        received_UF, sums = self._received
        if sums is None:
            report = msg.Report(round=current.number, apart=apart, tied=tied)
            answer, _ = self.wire.request(msg.Sums, report)
            sums = Residuals(answer.apart, answer.tied, answer.moved, answer.norm)
            self.journal.write(current.number, received_UF, sums)
        return sums

    def _consensus(self, domain: DomainState, x_UF: Float32, t_UF: Float32, current: Round) -> Float32:
        message_UF = self.aggregation.encoded(message_of(domain, x_UF, t_UF), current.number)
        rows, factors = message_UF.shape
        header = msg.Message(round=current.number, rho=current.rho, rows=rows, factors=factors)
        _, received_UF = self.wire.request(msg.Consensus, header, message_UF)
        if received_UF.shape != message_UF.shape:
            raise DataError("The coordinator's consensus has another shape than the message.")
        msg.check_rows(received_UF, self.wire.terms.max_norm)
        self.transcript.round(current, self.name, message_UF, received_UF)
        return received_UF


def agreed_method(terms: msg.Terms, two_party_leak_understood: bool) -> CDIMF:
    """The method of a session; SettingsError where a party should not take part in it."""
    if len(terms.parties) < 2 or terms.quorum > len(terms.parties):
        raise SettingsError("The coordinator's terms are invalid.")
    check_leak(terms.quorum, two_party_leak_understood)
    return federated(CDIMF.from_settings(terms.settings))


def fit(
    train: MultiDomain,
    wire: Wire,
    name: str,
    user_codes: UserCodes,
    options: FitOptions,
    *,
    two_party_leak_understood: bool = False,
    record: Path | None = None,
) -> ALSModel:
    """Train the one domain of ``train`` with the other parties; ``name`` is this party's.

    With ``options.work_dir`` a killed fit goes on where it was. Raises DataError for several domains,
    SettingsError for terms that this party does not accept, FederationError where the coordinator refuses or
    cannot be reached.
    """
    if len(train.domains) != 1:
        raise DataError(f"A party trains one domain, not {len(train.domains)}; give the events of one.")
    method = agreed_method(wire.terms, two_party_leak_understood)
    order_U, members = _joined(train, wire, user_codes)
    starts = frozenset(method.rounds_before(epoch) for epoch in range(method.epochs + 1))
    journal = Journal(options.work_dir, wire.terms.session, starts)
    channel = RemoteChannel(wire, name, journal, Transcript(record))
    channel.transcript.matched(name, members.place_U[members.tied_U])
    ordered = _in_order(train, order_U)
    model = method.fit_in(ordered, members, channel, replace(options, seed=wire.terms.seed, initial=None))
    wire.request(msg.Finished, msg.Finished())
    rows_UF = {}
    for domain, ordered_UF in model.user_UF.items():
        rows_UF[domain] = np.empty_like(ordered_UF)
        rows_UF[domain][order_U] = ordered_UF
    traffic = {f"bytes_{way}": size for way, size in sorted(wire.traffic.items())}
    log = (*model.log, {"session": wire.terms.session, "parties": len(wire.terms.parties), **traffic})
    return replace(model, history=train, log=log, user_UF=rows_UF)


def _joined(train: MultiDomain, wire: Wire, user_codes: UserCodes) -> tuple[Int64, Membership]:
    """The order of the users, matched first, and their membership in that order."""
    (events,) = train.domains.values()
    own = np.flatnonzero(events.user_counts > 0)
    code_U4 = user_codes.of(train.users.ids[own])
    order = sorted_order(code_U4)
    own, code_U4 = own[order], code_U4[order]
    match, place_2M = wire.request(msg.Match, msg.Users(count=len(own)), code_U4)
    msg.check_match(match, place_2M, len(own))
    matched_U = np.zeros(len(own), bool)
    matched_U[place_2M[0]] = True
    absent = np.flatnonzero(events.user_counts == 0)  # of the test part only; no place is read
    others = np.arange(match.first, match.first + len(own) - match.rows)
    place_U = np.concatenate([place_2M[1], others, np.zeros(len(absent), np.int64)])
    tied_U = np.arange(train.n_users) < match.rows
    order_U = np.concatenate([own[matched_U], own[~matched_U], absent])
    return order_U, Membership(tied_U, place_U, max(match.places, 1))


def _in_order(data: MultiDomain, order_U: Int64) -> MultiDomain:
    """The same data with the users in another order; their ids are their places in it."""
    rank_U = np.empty(len(order_U), np.int32)
    rank_U[order_U] = np.arange(len(order_U), dtype=np.int32)
    seen = {}
    for name, each in data.seen.items():
        order_N = _sorted(rank_U[each.pairs.user_idx])
        seen[name] = Seen(_moved(each.pairs, rank_U), each.disliked_N[order_N])
    return MultiDomain(
        Vocabulary(np.arange(len(order_U))),
        data.items,
        {name: _moved(events, rank_U) for name, events in data.domains.items()},
        seen=seen,
    )


def _sorted(user_N: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Int64:
    return np.argsort(user_N, kind="stable")  # items of a user stay in their order


def _moved(events: Interactions, rank_U: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Interactions:
    user_N = rank_U[events.user_idx]
    order_N = _sorted(user_N)
    weight = None if events.weight is None else events.weight[order_N]
    time = None if events.time is None else events.time[order_N]
    return Interactions(
        user_N[order_N], events.item_idx[order_N], events.n_users, events.n_items, weight, time
    )
