"""Secure aggregation: the coordinator learns the sum of the parties' messages and no message of its own.

Bonawitz et al., CCS 2017 (doi 10.1145/3133956.3133982), against a coordinator that follows the protocol but
reads all that passes through it. Party u has the message x_u as whole numbers modulo 2^B. With a seed b_u of
its own and a key s_uv that it shares with party v, it sends

    y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) - Σ_{v<u} PRG(s_uv)        modulo 2^B                     (1)

The keys are s_uv = HKDF(X25519(u, v)), PRG is ChaCha20's key stream. Of all parties P that agreed on keys,
the parties S ⊆ P send a y. Every party holds a share of each other's key and seed (Shamir 1979; any
``threshold`` shares are enough). At the end the holders reveal the shares of b_u for u ∈ S, and those of the
X25519 key of u ∈ P \\ S:

    Σ_{u∈S} x_u = Σ_{u∈S} y_u - Σ_{u∈S} PRG(b_u) - Σ_{u∈S, v∉S} ±PRG(s_uv)        modulo 2^B            (2)

Numbers are fixed-point, so that masks cancel exactly: with f fraction bits and a largest absolute value c,

    encode(a) = round(2^f a) modulo 2^B,   |a| ≤ c,   N (2^f c) < 2^{B-1}                               (3)

The sum of N values is then off by at most N 2^{-f-1}, and cannot overflow.

Keys live for one round: the key of a party that is lost is revealed, and with it every mask made from that
key. A threshold is at least three: of a sum of two messages, each sender learns the other's by subtraction.
A coordinator that breaks the protocol can replace keys on their way, or report different survivors to
different parties; keys signed by their party would prevent the first, and the signed lists of the paper's
step 3 the second. Neither is part of this module, nor is any transport.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, MissingExtraError, SettingsError
from landbridge.core.types import Float32, Float64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

Unsigned = npt.NDArray[np.unsignedinteger]
PRIME = 2**521 - 1  # of the field of the shares: a Mersenne prime above every secret of 32 bytes
SHARE_BYTES = 66
SECRET_BYTES = 32
ALONE = 3  # of fewer messages, a sum shows one sender what another one sent
TWO_PARTY_LEAK = "each of two parties computes the other's rows: the sum less its own"


@dataclass(frozen=True)
class FixedPoint:
    """Eq. (3): ``bits`` B, ``fraction_bits`` f and ``limit`` c."""

    bits: int = 64
    fraction_bits: int = 32
    limit: float = 2.0**20

    def __post_init__(self) -> None:
        """SettingsError for other widths than 32 and 64, and where even three values could overflow."""
        if self.bits not in (32, 64):
            raise SettingsError(f"Fixed-point numbers have 32 or 64 bits, not {self.bits}.")
        if self.most_parties < ALONE:
            raise SettingsError(
                f"Values up to {self.limit:g} with {self.fraction_bits} fraction bits overflow {self.bits} "
                f"bits in a sum of {ALONE}; lower the limit or the fraction bits."
            )

    @property
    def step(self) -> float:
        """The distance of two neighbouring numbers; a value is off by half of it at most."""
        return float(2.0**-self.fraction_bits)

    @property
    def most_parties(self) -> int:
        """The number of values whose sum cannot overflow."""
        # whole numbers: near 2^63 a float could not tell N from N + 1
        return int((2 ** (self.bits - 1) - 1) // max(int(self.limit * 2**self.fraction_bits), 1))

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of the encoded numbers; in little-endian order, as the key stream is read."""
        return np.dtype(f"<u{self.bits // 8}")

    def encode(self, message_UF: Float32) -> Unsigned:
        """Eq. (3), of the message's shape; DataError for values that are not finite or beyond the limit."""
        # false for NaN, too
        if not (np.abs(message_UF) <= self.limit).all():
            raise DataError(
                f"A message has values that are not finite or beyond ±{self.limit:g}, the limit of the "
                "fixed-point numbers; raise the limit or clip the rows."
            )
        steps = np.rint(np.asarray(message_UF, np.float64) * 2.0**self.fraction_bits)
        return np.asarray(steps.astype(f"<i{self.bits // 8}").view(self.dtype))

    def decode(self, sum_UF: Unsigned) -> Float64:
        """The numbers of a sum, of its shape."""
        return np.asarray(sum_UF.view(f"<i{self.bits // 8}") * self.step)


@dataclass(frozen=True)
class Group:
    """Who takes part in one round, and how many of them can recover a lost one.

    ``round_id``: what no other round of any training has; it separates the keys. Default of ``threshold``:
    more than half, at least three.
    """

    names: tuple[str, ...]
    round_id: str
    threshold: int = 0
    two_party_leak_understood: bool = False

    def __post_init__(self) -> None:
        """SettingsError for a group or a threshold that would reveal one party's message to another."""
        object.__setattr__(self, "names", tuple(sorted(self.names)))
        n_parties = len(self.names)
        if len(set(self.names)) < n_parties:
            raise SettingsError(f"Names of parties must differ: {', '.join(self.names)}.")
        smallest = 2 if self.two_party_leak_understood else ALONE
        if n_parties < smallest:
            raise SettingsError(
                f"Secure aggregation of {n_parties} parties protects nothing: {TWO_PARTY_LEAK}. Take three "
                "parties, or say that this is understood."
            )
        if not self.threshold:
            object.__setattr__(self, "threshold", max(smallest, n_parties // 2 + 1))
        if not smallest <= self.threshold <= n_parties:
            raise SettingsError(
                f"The threshold of {n_parties} parties must be from {smallest} to {n_parties}, "
                f"not {self.threshold}."
            )

    def index(self, name: str) -> int:
        """Where the party's shares are taken, from 1; DataError for a party of another group."""
        if name not in self.names:
            raise DataError(f"{name!r} is no party of this round: {', '.join(self.names)}.")
        return self.names.index(name) + 1

    def check(self, survivors: Collection[str]) -> None:
        """DataError where fewer parties are left than the threshold."""
        for name in survivors:
            self.index(name)
        if len(set(survivors)) < self.threshold:
            raise DataError(
                f"{len(set(survivors))} of {len(self.names)} parties are left, fewer than the threshold of "
                f"{self.threshold}; the round's sum stays hidden."
            )

    def context(self, purpose: str, *names: str) -> bytes:
        """What a key is for: no key is used for two purposes, rounds or pairs of parties."""
        parts = ["landbridge", purpose, self.round_id, *self.names, "", *names]
        # lengths, because a name may hold any separator
        return hashlib.sha256(b"".join(len(p.encode()).to_bytes(4) + p.encode() for p in parts)).digest()


@dataclass(frozen=True)
class PublicKeys:
    """A party's X25519 keys of one round: ``mask`` for Eq. (1), ``channel`` to encrypt shares."""

    mask: bytes
    channel: bytes


@dataclass(frozen=True)
class PartySecrets:
    """What a party draws for one round, 32 bytes each. All that the party sends follows from it.

    Stored by its owner, a killed round can go on: shares and masks are the same again. The message, its
    senders (:meth:`MaskingParty.masked`) and the survivors that were reported (:meth:`MaskingParty.reveal`)
    must be stored with the round, before the answer to them is sent: two messages under the same masks show
    their difference, and shares that are revealed to two different reports open a message.
    """

    mask_key: bytes = field(repr=False)
    channel_key: bytes = field(repr=False)
    self_seed: bytes = field(repr=False)

    @classmethod
    def draw(cls) -> PartySecrets:
        """From the operating system's source of randomness."""
        return cls(*(secrets.token_bytes(SECRET_BYTES) for _ in range(3)))

    @property
    def public(self) -> PublicKeys:
        """The keys for all others."""
        return PublicKeys(*map(_public_key, (self.mask_key, self.channel_key)))


@dataclass(frozen=True)
class Revealed:
    """Shares that one party reveals at the end of a round: of survivors' seeds, and of lost parties' keys."""

    seeds: Mapping[str, int]
    mask_keys: Mapping[str, int]


class MaskingParty:
    """One party in one round: :meth:`sealed_shares`, :meth:`masked`, :meth:`reveal`, in this order.

    ``keys``: of all parties that take part, this one among them.
    """

    def __init__(
        self, group: Group, name: str, party_secrets: PartySecrets, keys: Mapping[str, PublicKeys]
    ) -> None:
        group.index(name)
        group.check(keys)
        self.group, self.name, self.secrets, self.keys = group, name, party_secrets, dict(keys)
        self._own = _both_shares(group, party_secrets)
        self._survivors: frozenset[str] | None = None

    def sealed_shares(self) -> dict[str, bytes]:
        """For every other party its shares of this party's key and seed, which only that party can read."""
        return {
            other: _cipher(self._channel(other, self.name, other)).encrypt(
                _nonce(), b"".join(share.to_bytes(SHARE_BYTES) for share in self._own[other]), None
            )
            for other in self._others(self.keys)
        }

    def masked(self, message_UF: Float32, senders: Iterable[str], fixed: FixedPoint) -> Unsigned:
        """Eq. (1), of the shape of the message; ``senders``: the parties whose shares have arrived.

        A party that sent none could not be recovered, so it has no part in the masks.
        """
        partners = self._others(senders)
        self.group.check([self.name, *partners])
        if len(self.group.names) > fixed.most_parties:
            raise SettingsError(
                f"Sums of {len(self.group.names)} parties can overflow; at most {fixed.most_parties} fit."
            )
        out_UF = fixed.encode(message_UF)
        out_UF += _self_mask(self.group, self.name, self.secrets.self_seed, out_UF)
        for other in partners:
            key = _shared(self.secrets.mask_key, self.keys[other].mask)
            out_UF += _pair_mask(self.group, self.name, other, key, out_UF)
        return out_UF

    def reveal(self, received: Mapping[str, bytes], survivors: Collection[str]) -> Revealed:
        """This party's shares of the seeds of ``survivors``, which sent a message, and of the others' keys.

        ``received``: the sealed shares of every other party. DataError for too few survivors, for shares
        that were altered, and for another set of survivors than before: seed and key of one party together
        would reveal its message. This object remembers the set; across a restart its owner must
        (:class:`PartySecrets`).
        """
        self.group.check(survivors)
        if self._survivors not in (None, frozenset(survivors)):
            raise DataError(
                f"The survivors of round {self.group.round_id!r} were already reported otherwise."
            )
        self._survivors = frozenset(survivors)
        shares = {name: self._opened(name, received[name]) for name in self._others(received)}
        shares[self.name] = self._own[self.name]
        return Revealed(
            {name: seed for name, (_, seed) in shares.items() if name in survivors},
            {name: key for name, (key, _) in shares.items() if name not in survivors},
        )

    def _others(self, names: Iterable[str]) -> list[str]:
        return sorted(set(names) - {self.name})

    def _channel(self, other: str, sender: str, receiver: str) -> bytes:
        shared = _shared(self.secrets.channel_key, self.keys[other].channel)
        return _derived(shared, self.group.context("shares", sender, receiver))

    def _opened(self, sender: str, sealed: bytes) -> tuple[int, int]:
        from cryptography.exceptions import InvalidTag

        self.group.index(sender)
        try:
            opened = _cipher(self._channel(sender, sender, self.name)).decrypt(_nonce(), sealed, None)
        except InvalidTag:
            raise DataError(f"The shares of {sender!r} were altered or belong to another round.") from None
        return int.from_bytes(opened[:SHARE_BYTES]), int.from_bytes(opened[SHARE_BYTES:])


def unmasked_sum(
    group: Group,
    masked: Mapping[str, Unsigned],
    revealed: Mapping[str, Revealed],
    keys: Mapping[str, PublicKeys],
) -> Unsigned:
    """Eq. (2), for :meth:`FixedPoint.decode`: what the coordinator computes at the end of a round.

    ``masked``: of the survivors; ``revealed``: by at least ``threshold`` parties; ``keys``: of the parties
    whose shares were distributed. DataError for messages of different shapes, for too few survivors or
    shares, and for shares that contradict each other or the party's public key.
    """
    group.check(masked)
    group.check(revealed)
    arrays = list(masked.values())
    if len({(array.shape, array.dtype) for array in arrays}) > 1:
        raise DataError("Masked messages of one round must have one shape and type.")
    sum_UF = np.zeros_like(arrays[0])
    for name, array in masked.items():
        seed = _recovered(group, name, {by: own.seeds for by, own in revealed.items()})
        sum_UF += array - _self_mask(group, name, seed, array)
    for lost in sorted(set(keys) - set(masked)):
        mask_key = _recovered(group, lost, {by: own.mask_keys for by, own in revealed.items()})
        if _public_key(mask_key) != keys[lost].mask:
            raise DataError(f"The revealed shares of {lost!r} do not make its key.")
        for name in masked:
            sum_UF -= _pair_mask(group, name, lost, _shared(mask_key, keys[name].mask), sum_UF)
    return sum_UF


def shamir_shares(secret: int, coefficients: Sequence[int], n_shares: int) -> dict[int, int]:
    """Shares 1 to ``n_shares`` of a secret below ``PRIME``, on the polynomial of these further coefficients.

    One share more than there are coefficients is enough. Fewer say nothing, where the coefficients are
    uniform below ``PRIME`` and secret (Shamir, CACM 1979, doi 10.1145/359168.359176).
    """
    polynomial = [secret, *coefficients]
    return {
        x: sum(c * pow(x, power, PRIME) for power, c in enumerate(polynomial)) % PRIME
        for x in range(1, n_shares + 1)
    }


def interpolated(shares: Mapping[int, int], at: int = 0) -> int:
    """The polynomial through all shares, modulo ``PRIME``, by Lagrange; at 0 it is the secret."""
    value = 0
    for x, y in shares.items():
        above = below = 1
        for other in shares:
            if other != x:
                above, below = above * (at - other) % PRIME, below * (x - other) % PRIME
        value += y * above * pow(below, -1, PRIME)
    return value % PRIME


def key_stream(key: bytes, shape: Sequence[int], dtype: np.dtype[np.unsignedinteger]) -> Unsigned:
    """PRG of Eq. (1): ChaCha20's key stream (RFC 8439) from block 0 with a nonce of zeros, as whole numbers.

    A key is used once, so no nonce is needed.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    n_bytes = int(np.prod(shape)) * dtype.itemsize
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(n_bytes))
    return np.frombuffer(stream, dtype).reshape(shape)


def _both_shares(group: Group, party_secrets: PartySecrets) -> dict[str, tuple[int, int]]:
    """For every party, itself among them, a share of the mask key and one of the seed.

    The polynomials follow from the channel key, which never leaves the party. If they were drawn, a party
    that is made again after a kill would encrypt other shares under the same key and nonce, and shares of two
    polynomials would mix.
    """
    key_shares, seed_shares = (
        shamir_shares(
            int.from_bytes(secret),
            _coefficients(party_secrets.channel_key, group.context(purpose), group.threshold - 1),
            len(group.names),
        )
        for secret, purpose in (
            (party_secrets.mask_key, "shares of the key"),
            (party_secrets.self_seed, "shares of the seed"),
        )
    )
    return {name: (key_shares[x], seed_shares[x]) for x, name in enumerate(group.names, 1)}


def _coefficients(secret: bytes, context: bytes, count: int) -> list[int]:
    """Numbers below ``PRIME`` that are like uniform ones to all who do not have the secret."""
    # 128 bits more than the prime has: the bias of the remainder is below 2^-128
    size = SHARE_BYTES + 16
    return [
        int.from_bytes(_derived(secret, context + index.to_bytes(4), size)) % PRIME for index in range(count)
    ]


def _recovered(group: Group, name: str, shares: Mapping[str, Mapping[str, int]]) -> bytes:
    """The secret of a party from all shares that were revealed."""
    points = {group.index(by): own[name] for by, own in shares.items() if name in own}
    if len(points) < group.threshold:
        raise DataError(f"{len(points)} shares of {name!r} were revealed, {group.threshold} are needed.")
    enough = dict(list(points.items())[: group.threshold])
    secret = interpolated(enough)
    # further shares lie on the same polynomial, or some share is wrong
    sound = all(interpolated(enough, x) == y for x, y in points.items() if x not in enough)
    if not sound or secret >= 2 ** (8 * SECRET_BYTES):
        raise DataError(f"The revealed shares of {name!r} contradict each other.")
    return secret.to_bytes(SECRET_BYTES)


def _self_mask(group: Group, name: str, seed: bytes, like_UF: Unsigned) -> Unsigned:
    return key_stream(_derived(seed, group.context("self", name)), like_UF.shape, like_UF.dtype)


def _pair_mask(group: Group, name: str, other: str, shared: bytes, like_UF: Unsigned) -> Unsigned:
    """What ``name`` adds for ``other``: one adds it, and the other takes it away."""
    key = _derived(shared, group.context("pair", *sorted((name, other))))
    mask_UF = key_stream(key, like_UF.shape, like_UF.dtype)
    return mask_UF if other > name else np.negative(mask_UF)


def _private(key: bytes) -> X25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    except ImportError:
        raise MissingExtraError(
            "Secure aggregation needs cryptography: pip install 'landbridge[federation]'."
        ) from None
    return X25519PrivateKey.from_private_bytes(key)


def _public_key(key: bytes) -> bytes:
    return _private(key).public_key().public_bytes_raw()


def _shared(own: bytes, public: bytes) -> bytes:
    """The X25519 secret of two parties; DataError for a key that is none."""
    private = _private(own)
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    try:
        # a point of small order gives zeros, which the library refuses
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise DataError("A public key of this round is no usable X25519 key.") from None


def _derived(secret: bytes, context: bytes, size: int = SECRET_BYTES) -> bytes:
    """A key of ``size`` bytes (HKDF with SHA-256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size, salt=None, info=context).derive(secret)


def _cipher(key: bytes) -> ChaCha20Poly1305:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


def _nonce() -> bytes:
    """Zeros: a key encrypts one text, the same whenever the party is made again."""
    return bytes(12)
