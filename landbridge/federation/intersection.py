"""Who is the same user without a secret that all parties share: private set intersection of many parties.

A party p has a secret number k_p for one session, and an id is a point H(id) of the curve P-256. The list of
each party passes through all of them, in a ring, and each one multiplies the points,

    H(id) → k_p H(id) → … → e(id) = (Π_p k_p) H(id)                                                   (1)

so that in the end equal ids have equal points, on any list. The last party gives e to the
coordinator, and the owner of the list gets

    code(id) = HMAC-SHA-256(key of the coordinator, e(id))                                             (2)

For two parties this is the protocol of Meadows (S&P 1986) and Huberman, Franklin & Hogg (EC 1999). It assumes
decisional Diffie-Hellman in the curve and H to be a random oracle; openmined-psi has both, and checks that
points are on the curve. What is new here is how it goes through a coordinator:

- In the ring, a list goes to the next party only, sealed (:mod:`landbridge.federation.agreement`) under keys
  that are signed by their parties. The coordinator can neither read nor change nor add to it.
- The party at place i multiplies in step h the list of the party h places before it. No two lists that it
  sees have passed the same parties, so it cannot compare them.
- The last one sees e of one list. By Eq. (2) it cannot compare it with the codes of its own.

A party multiplies one list of each other party in a session, also after a kill, so no party can try out ids
later, or more of them than they had said at the beginning.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from landbridge.core.errors import FederationError, MissingExtraError
from landbridge.core.types import AnyArray
from landbridge.data.vocabulary import IdArray
from landbridge.federation import messages as msg
from landbridge.federation.agreement import (
    NONCE_BYTES,
    agreed,
    context_of,
    derived,
    opened,
    public_key,
    sealed,
)
from landbridge.federation.identity import Identity
from landbridge.federation.journal import Journal
from landbridge.federation.user_codes import Codes
from landbridge.federation.wire import Wire

POINT_BYTES = 33  # compressed: the sign of y, and x
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186)


@dataclass(frozen=True)
class Multiplier:
    """The secret number of a party in a session; it follows from its key."""

    number: bytes = field(repr=False)

    @classmethod
    def of_session(cls, key: bytes, session: str) -> Multiplier:
        """MissingExtraError without the library."""
        _library()
        # 128 bits more than the order has: the bias of the remainder is below 2^-128
        wide = int.from_bytes(derived(key, context_of("landbridge", "psi", session), 48))
        return cls((wide % (ORDER - 1) + 1).to_bytes(32))

    def points(self, ids: IdArray) -> bytes:
        """k H(id), in the order of the ids. A whole number and the same number as text are one id."""
        client = _library().client.CreateFromKey(self.number, True)
        return b"".join(client.CreateRequest([str(each) for each in ids.tolist()]).encrypted_elements)

    def times(self, points: bytes) -> bytes:
        """k P of every point, in their order; ValueError for what is no point."""
        library = _library()
        server = library.server.CreateFromKey(self.number, True)
        starts = range(0, len(points), POINT_BYTES)
        parts = [points[start : start + POINT_BYTES] for start in starts]
        request = library.Request(reveal_intersection=True, encrypted_elements=parts)
        try:
            made = server.ProcessRequest(request).encrypted_elements
        except RuntimeError:  # what the library raises for bytes that are no point
            raise ValueError("not points of the curve") from None
        return b"".join(made)


@dataclass(frozen=True)
class Intersection:
    """A party's side, see :class:`landbridge.federation.user_codes.UserCodes`.

    ``key``: of :func:`landbridge.federation.agreement.draw_key`. ``max_other_users``: the longest list of
    another party that is multiplied.
    """

    wire: Wire
    identity: Identity
    key: bytes = field(repr=False)
    journal: Journal
    max_other_users: int
    note: Callable[[str], None] = lambda line: None

    def of(self, ids: IdArray) -> Codes:
        """As in :class:`UserCodes`; FederationError for keys or lists that are not those of the parties."""
        of = _digest("\0".join(map(str, ids.tolist())).encode())
        return self.journal.codes(of, lambda: self._made(ids))

    def _made(self, ids: IdArray) -> Codes:
        terms = self.wire.terms
        multiplier = Multiplier.of_session(self.key, terms.session)
        signed = self.identity.signed(terms.session, public_key(self.key))
        ring, _ = self.wire.request(msg.Ring, msg.Entry(count=len(ids), key=signed))
        keys = self._keys(ring, len(ids))
        names, place = ring.names, ring.names.index(self.identity.name)
        after, before = names[(place + 1) % len(names)], names[place - 1]
        points, last = multiplier.points(ids), len(names) - 1
        for hop in range(last):
            key = keys(names[place - hop], hop, self.identity.name, after)
            nonce = secrets.token_bytes(NONCE_BYTES)  # one more of its own, should the list come otherwise
            content = nonce + sealed(key, points, nonce)
            header = msg.Blinded(hop=hop, count=ring.counts[names[place - hop]], size=len(content))
            _, array = self.wire.request(msg.Blinded, header, _as_array(content))
            owner = names[place - hop - 1]
            key = keys(owner, hop, before, self.identity.name)
            points = _opened(key, array.tobytes(), before, ring.counts[owner])
            self.journal.listed(f"{hop}", _digest(points))
            points = _multiplied(multiplier, points, before)
        header = msg.Blinded(hop=last, count=ring.counts[after], size=len(points))
        answer, code_U4 = self.wire.request(msg.UserCodes, header, _as_array(points))
        if answer.count != len(ids):
            raise FederationError("The coordinator's codes are not one for each user.")
        return code_U4

    def _keys(self, ring: msg.Ring, count: int) -> Callable[[str, int, str, str], bytes]:
        """The key for the list of an owner at a hop, from one party to another."""
        own, session = self.identity.name, self.wire.terms.session
        if (
            not set(ring.names) == set(ring.counts) == set(ring.keys) <= set(self.wire.terms.parties)
            or len(set(ring.names)) < max(len(ring.names), self.wire.terms.quorum)
            or ring.counts.get(own) != count
        ):
            raise FederationError("The coordinator's ring is not one of parties of this session.")
        if max(ring.counts.values()) > self.max_other_users:
            raise FederationError(
                f"A party has more users than the {self.max_other_users} of --max-other-users; each one asks "
                "whether this party has it, too."
            )
        self.journal.listed("ring", _digest(ring.model_dump_json().encode()))
        sizes = ", ".join(f"{name} {ring.counts[name]}" for name in ring.names)
        self.note(f"Users in the private set intersection: {sizes}.")
        others = [name for name in ring.names if name != own]
        shared: Mapping[str, bytes] = {
            name: agreed(self.key, self.identity.verified(session, name, ring.keys[name])) for name in others
        }

        def key(owner: str, hop: int, sender: str, receiver: str) -> bytes:
            purpose = ("landbridge", "list", session, *ring.names, owner, str(hop), sender, receiver)
            return derived(shared[receiver if sender == own else sender], context_of(*purpose))

        return key


def _opened(key: bytes, content: bytes, sender: str, count: int) -> bytes:
    try:
        points = opened(key, content[NONCE_BYTES:], content[:NONCE_BYTES])
        if len(points) != count * POINT_BYTES:
            raise ValueError("another length")
    except ValueError:
        raise FederationError(f"The list from {sender!r} is not as it was sent.") from None
    return points


def _multiplied(multiplier: Multiplier, points: bytes, sender: str) -> bytes:
    try:
        return multiplier.times(points)
    except ValueError:
        raise FederationError(f"The list from {sender!r} holds no points of the curve.") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _as_array(content: bytes) -> AnyArray:
    return np.frombuffer(content, np.uint8)


def _library() -> ModuleType:
    try:
        import private_set_intersection.python as library
    except ImportError:
        raise MissingExtraError(
            "Private set intersection needs openmined-psi: pip install 'landbridge[psi]', with Python "
            "3.11 to 3.13 on Linux (x86-64, glibc 2.35) or macOS (arm64)."
        ) from None
    return library  # type: ignore[no-any-return]
