"""How the messages of a round become the consensus: as they are, or masked so that only their sum is read.

The coordinator needs nothing but Σ_d m_u^d, Eq. (2) of :mod:`landbridge.models.als.exchange`. This module is
a party's side; the coordinator's is :class:`landbridge.federation.session.Session`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from landbridge.core.types import Float32, Int64
from landbridge.federation import messages as msg
from landbridge.federation.journal import Journal
from landbridge.federation.masks import SHARE_BYTES, FixedPoint, Group, MaskingParty
from landbridge.federation.wire import Wire
from landbridge.models.als.exchange import Round

FIXED = FixedPoint()


def group_of(names: Iterable[str], session: str, number: int, needed: int) -> Group:
    """The parties of a masked round; two of them only where all sides have said that they understand it."""
    return Group(tuple(names), f"{session}:{number}", needed, two_party_leak_understood=True)


class Sending(Protocol):
    """A party's side of an aggregation."""

    def consensus(self, wire: Wire, message_MF: Float32, current: Round, journal: Journal) -> Float32:
        """Send the message of a round; z of the same users, (M, F)."""


@dataclass(frozen=True)
class Plain:
    """The message as it is."""

    def consensus(self, wire: Wire, message_MF: Float32, current: Round, journal: Journal) -> Float32:
        """As in :class:`Sending`."""
        rows, factors = message_MF.shape
        header = msg.Message(round=current.number, rho=current.rho, rows=rows, factors=factors)
        _, z_MF = wire.request(msg.Consensus, header, message_MF)
        return z_MF


@dataclass(frozen=True, eq=False)
class Masking:
    """The message with masks (:mod:`landbridge.federation.masks`), in the rows of all matched users.

    ``key``: the party's own; ``public``: of all parties of the session; ``needed``: how many recover a lost
    one; ``place_M``: the rows of the party's users among ``joint`` ones.
    """

    name: str
    session: str
    key: bytes = field(repr=False)
    public: Mapping[str, bytes]
    needed: int
    place_M: Int64
    joint: int

    def consensus(self, wire: Wire, message_MF: Float32, current: Round, journal: Journal) -> Float32:
        """As in :class:`Sending`."""
        group = group_of(self.public, self.session, current.number, self.needed)
        party = MaskingParty(group, self.name, self.key, self.public)
        message_JF = np.zeros((self.joint, message_MF.shape[1]), np.float32)
        message_JF[self.place_M] = message_MF
        header = msg.Masked(
            round=current.number,
            rho=current.rho,
            rows=self.joint,
            factors=message_MF.shape[1],
            shares={other: sealed.hex() for other, sealed in party.sealed_shares().items()},
        )
        # a party that was late gets the consensus at once: its message is in no sum
        answer, z_MF = wire.request((msg.Survivors, msg.Consensus), header, party.masked(message_JF, FIXED))
        match answer:
            case msg.Survivors(names=survivors, shares=shares):
                journal.survived(current.number, survivors)
                received = {sender: bytes.fromhex(sealed) for sender, sealed in shares.items()}
                revealed = {
                    sender: {about: share.to_bytes(SHARE_BYTES).hex() for about, share in own.items()}
                    for sender, own in party.reveal(received, survivors).items()
                }
                reveal = msg.Reveal(round=current.number, shares=revealed)
                _, z_MF = wire.request(msg.Consensus, reveal)
        return z_MF
