"""A party: trains its own domain with CDIMF, in the consensus of all parties.

The training is :meth:`landbridge.models.als.cdimf.CDIMF.fit_in` with a channel that leads to the coordinator.
Events, item embeddings, and users that no other party has stay here. What leaves is the keyed hash of each
user's id, or a point that hides it, once, and in every round m of the matched users, clipped and with noise
where the method says so (:mod:`landbridge.models.als.privacy`), and two sums of squares.

The order of the users is that of the joint list, matched ones first, so that every sum is over the same
numbers in the same order as where one process has all domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from landbridge.core.errors import DataError, FederationError, SettingsError
from landbridge.core.types import Float32, Int64, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.seen import Seen
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation import messages as msg
from landbridge.federation.aggregation import Masking, Plain, Sending
from landbridge.federation.agreement import public_key
from landbridge.federation.identity import Identity
from landbridge.federation.intersection import Intersection
from landbridge.federation.journal import Journal
from landbridge.federation.noise import SecretNoise
from landbridge.federation.terms import NO_DEMANDS, Demands, check_leak, check_masks, federated
from landbridge.federation.transcript import Transcript
from landbridge.federation.user_codes import UserCodes, sorted_order
from landbridge.federation.wire import Wire
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.exchange import Residuals, Round, message_of
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.participants import DomainState, Membership
from landbridge.models.als.privacy import NOT_PROTECTED, NormalSource, Privacy
from landbridge.training.epochs import State
from landbridge.training.options import FitOptions


@dataclass
class RemoteChannel:
    """The channel of a party with one domain, see :class:`landbridge.models.als.exchange.Channel`."""

    wire: Wire
    name: str
    journal: Journal
    transcript: Transcript
    sending: Sending = field(default_factory=Plain)
    privacy: Privacy = field(default_factory=Privacy)
    noise: NormalSource = field(default_factory=SecretNoise)
    _received: tuple[Float32, Residuals | None] | None = None

    @property
    def identity(self) -> Values:
        """The session: a checkpoint of another one is of no use."""
        return {"session": self.wire.terms.session}

    def consensus(self, domains: Mapping[str, DomainState], state: State, current: Round) -> Float32:
        """As in :class:`Channel`."""
        ((name, domain),) = domains.items()
        self.journal.forget(current.number)
        self._received = self.journal.received(current.number) or (
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
            self.journal.complete(current.number, received_UF, sums)
        return sums

    def _consensus(self, domain: DomainState, x_UF: Float32, t_UF: Float32, current: Round) -> Float32:
        message_UF = self.journal.sent(current.number, lambda: self._message(domain, x_UF, t_UF))
        msg.check_rows(message_UF, self.wire.terms.max_norm)
        received_UF = self.sending.consensus(self.wire, message_UF, current, self.journal)
        if received_UF.shape != message_UF.shape:
            raise DataError("The coordinator's consensus has another shape than the message.")
        msg.check_rows(received_UF, self.wire.terms.max_norm)
        self.transcript.round(current, self.name, message_UF, received_UF)
        return received_UF

    def _message(self, domain: DomainState, x_UF: Float32, t_UF: Float32) -> Float32:
        message_UF = message_of(domain, x_UF, t_UF)
        return self.privacy.sent(message_UF, self.noise) if self.privacy.active else message_UF


def agreed_method(terms: msg.Terms, demands: Demands) -> CDIMF:
    """The method of a session; SettingsError where a party should not take part in it."""
    if len(terms.parties) < 2 or terms.quorum > len(terms.parties):
        raise SettingsError("The coordinator's terms are invalid.")
    check_leak(terms.quorum, demands.two_party_leak_understood)
    if terms.masks:
        check_masks(terms.quorum, len(terms.parties))
    elif demands.masks:
        raise SettingsError(
            "The coordinator's session has no masks, which --require-masks demands; the coordinator must be "
            "started with --masks."
        )
    if demands.psi and not terms.psi:
        raise SettingsError(
            "The coordinator's session has no private set intersection, which --require-psi demands; the "
            "coordinator must be started with --psi."
        )
    method = federated(CDIMF.from_settings(terms.settings))
    epsilon = method.privacy.guarantee(method.rounds).epsilon
    if epsilon > demands.max_epsilon:
        raise SettingsError(
            f"The coordinator's session has an ε of {epsilon:.3g}, more than the {demands.max_epsilon:g} of "
            "--max-epsilon; it needs more privacy.noise or fewer rounds."
        )
    return method


def fit(
    train: MultiDomain,
    wire: Wire,
    identity: Identity,
    user_codes: UserCodes | None,
    options: FitOptions,
    *,
    demands: Demands = NO_DEMANDS,
    noise: NormalSource | None = None,
    record: Path | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> ALSModel:
    """Train the one domain of ``train`` with the other parties; ``identity`` is this party's.
    ``user_codes``: not used, and may be None, where the session matches users by private set intersection.

    With ``options.work_dir`` a killed fit goes on where it was. ``noise``: None, unless a test must repeat
    it, for noise that no other party can repeat. Raises DataError for several domains,
    SettingsError for terms that this party does not accept, FederationError where the coordinator refuses or
    cannot be reached.
    """
    if len(train.domains) != 1:
        raise DataError(f"A party trains one domain, not {len(train.domains)}; give the events of one.")
    terms = wire.terms
    method = agreed_method(terms, demands)
    starts = frozenset(method.rounds_before(epoch) for epoch in range(method.epochs + 1))
    journal = Journal(options.work_dir, terms.session, starts)
    key = journal.key() if terms.masks or terms.psi else b""
    if terms.psi:
        user_codes = Intersection(wire, identity, key, journal, demands.max_other_users, note)
    assert user_codes is not None
    signed = identity.signed(terms.session, public_key(key)) if terms.masks else None
    order_U, members, match = _joined(train, wire, user_codes, signed)
    journal.check_not_lost(match.last)
    place_M = members.place_U[members.tied_U]
    sending: Sending = Plain()
    if terms.masks:
        public = _verified(match, terms, identity)
        sending = Masking(identity.name, terms.session, key, public, terms.quorum, place_M, match.joint)
    transcript = Transcript(record)
    channel = RemoteChannel(
        wire, identity.name, journal, transcript, sending, method.privacy, noise or SecretNoise()
    )
    transcript.matched(identity.name, place_M)
    ordered = in_order(train, order_U)
    model = method.fit_in(ordered, members, channel, replace(options, seed=wire.terms.seed, initial=None))
    wire.request(msg.Finished, msg.Finished())
    rows_UF = {}
    for domain, ordered_UF in model.user_UF.items():
        rows_UF[domain] = np.empty_like(ordered_UF)
        rows_UF[domain][order_U] = ordered_UF
    traffic = {f"bytes_{way}": size for way, size in sorted(wire.traffic.items())}
    how: Record = {"parties": len(terms.parties), "masks": terms.masks, "psi": terms.psi}
    facts: Record = {"session": terms.session, **how, **traffic}
    if method.privacy.active:
        # a round sends one message, however often it was killed
        facts["privacy"] = replace(
            method.privacy.guarantee(method.rounds), not_protected=NOT_PROTECTED
        ).as_record()
    log = (*model.log, facts)
    return replace(model, history=train, log=log, user_UF=rows_UF)


def _verified(match: msg.Match, terms: msg.Terms, identity: Identity) -> dict[str, bytes]:
    """The keys of all parties of a masked session; FederationError for one that is not its party's."""
    if identity.name not in match.keys or len(match.keys) < terms.quorum:
        raise FederationError("The coordinator did not send the keys of the parties.")
    return {name: identity.verified(terms.session, name, each) for name, each in match.keys.items()}


def _joined(
    train: MultiDomain, wire: Wire, user_codes: UserCodes, key: msg.SignedKey | None
) -> tuple[Int64, Membership, msg.Match]:
    """The order of the users, matched first, their membership in that order, and the match."""
    (events,) = train.domains.values()
    own = np.flatnonzero(events.user_counts > 0)
    code_U4 = user_codes.of(train.users.ids[own])
    order = sorted_order(code_U4)
    own, code_U4 = own[order], code_U4[order]
    match, place_2M = wire.request(msg.Match, msg.Users(count=len(own), key=key), code_U4)
    msg.check_match(match, place_2M, len(own))
    matched_U = np.zeros(len(own), bool)
    matched_U[place_2M[0]] = True
    absent = np.flatnonzero(events.user_counts == 0)  # of the test part only; no place is read
    others = np.arange(match.first, match.first + len(own) - match.rows)
    place_U = np.concatenate([place_2M[1], others, np.zeros(len(absent), np.int64)])
    tied_U = np.arange(train.n_users) < match.rows
    order_U = np.concatenate([own[matched_U], own[~matched_U], absent])
    return order_U, Membership(tied_U, place_U, max(match.places, 1)), match


def in_order(data: MultiDomain, order_U: Int64) -> MultiDomain:
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
