"""Secure aggregation: the coordinator learns the sum of the parties' messages and no message of its own.

Bonawitz et al., CCS 2017 (doi 10.1145/3133956.3133982), against a coordinator that follows the protocol but
reads all that passes through it. Party u has one X25519 key for a session of many rounds, and the message x_u
of a round as whole numbers modulo 2^B. From its key follow, anew for every round,

    b_u = HKDF(key of u, round)                 a seed of its own                                      (1)
    s_uv = s_vu = HKDF(X25519(u, v), round)     a seed that it shares with party v                     (2)

and it sends, with ChaCha20's key stream as PRG,

    y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) - Σ_{v<u} PRG(s_uv)        modulo 2^B                     (3)

together with a share of b_u and of each s_uv for every other party, which only that party can read (Shamir
1979; any ``threshold`` shares are enough). Of all parties P that agreed on keys, the parties S ⊆ P send in
time. At the end the holders reveal the shares of b_u for u ∈ S, and of s_uv for u ∈ S, v ∈ P \\ S:

    Σ_{u∈S} x_u = Σ_{u∈S} y_u - Σ_{u∈S} PRG(b_u) - Σ_{u∈S, v∉S} ±PRG(s_uv)        modulo 2^B            (4)

The paper shares the X25519 key itself, so that keys live for one round; here no share says anything about
another round, and one agreement is enough.

Numbers are fixed-point, so that masks cancel exactly: with f fraction bits and a largest absolute value c,

    encode(a) = round(2^f a) modulo 2^B,   |a| ≤ c,   N (2^f c) < 2^{B-1}                               (5)

The sum of N values is then off by at most N 2^{-f-1}, and cannot overflow.

A threshold is at least three: of a sum of two messages, each sender learns the other's by subtraction. A
coordinator that breaks the protocol can replace keys on their way, unless they are signed by their party
(:mod:`landbridge.federation.identity`), or report different survivors to different parties, which the signed
lists of the paper's step 3 would prevent; they are not built.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.types import Float32, Float64
from landbridge.federation.agreement import SECRET_BYTES, agreed, context_of, derived, opened, sealed

Unsigned = npt.NDArray[np.unsignedinteger]
PRIME = 2**521 - 1  # of the field of the shares: a Mersenne prime above every secret of 32 bytes
SHARE_BYTES = 66
ALONE = 3  # of fewer messages, a sum shows one sender what another one sent
TWO_PARTY_LEAK = "each of two parties computes the other's rows: the sum less its own"


@dataclass(frozen=True)
class FixedPoint:
    """Eq. (5): ``bits`` B, ``fraction_bits`` f and ``limit`` c."""

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
        """Eq. (5), of the message's shape; DataError for values that are not finite or beyond the limit."""
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
        return context_of("landbridge", purpose, self.round_id, *self.names, "", *names)


Revealed = Mapping[str, Mapping[str, int]]  # sender -> whose seed (its own, or a lost party's) -> share


class MaskingParty:
    """One party in one round: :meth:`masked` with :meth:`sealed_shares`, then :meth:`reveal`.

    ``key``: of :func:`landbridge.federation.agreement.draw_key`. ``public``: the public keys of all parties
    of the group. DataError for a key that is none, or missing.
    """

    def __init__(self, group: Group, name: str, key: bytes, public: Mapping[str, bytes]) -> None:
        group.index(name)
        if missing := set(group.names) - set(public):
            raise DataError(f"There is no key of {missing.pop()!r}.")
        self.group, self.name = group, name
        self._key = key
        self._shared = {other: agreed(key, public[other]) for other in group.names if other != name}
        self._seeds = {
            other: derived(shared, group.context("pair", *sorted((name, other))))  # Eq. (2)
            for other, shared in self._shared.items()
        }
        self._seeds[name] = derived(key, group.context("self", name))  # Eq. (1)

    def masked(self, message_UF: Float32, fixed: FixedPoint) -> Unsigned:
        """Eq. (3), of the shape of the message."""
        if len(self.group.names) > fixed.most_parties:
            raise SettingsError(
                f"Sums of {len(self.group.names)} parties can overflow; at most {fixed.most_parties} fit."
            )
        out_UF = fixed.encode(message_UF)
        for about, seed in self._seeds.items():
            out_UF += _mask(self.name, about, seed, out_UF)
        return out_UF

    def sealed_shares(self) -> dict[str, bytes]:
        """For every other party its shares of this party's seeds, which only that party can read."""
        own = self._shares()
        return {
            other: sealed(
                self._channel(self.name, other),
                b"".join(own[about][other].to_bytes(SHARE_BYTES) for about in own),
            )
            for other in self._shared
        }

    def reveal(self, received: Mapping[str, bytes], survivors: Collection[str]) -> Revealed:
        """This party's shares of what Eq. (4) needs. ``received``: the sealed shares of the other survivors.

        A party reveals once in a round: a seed of its own and the seeds that it shares with all others
        would reveal a message. DataError for too few survivors, and for shares that were altered.
        """
        self.group.check(survivors)
        lost = set(self.group.names) - set(survivors)
        revealed = {}
        for sender in sorted(survivors):
            shares = self._own_shares() if sender == self.name else self._opened(sender, received)
            revealed[sender] = {about: shares[about] for about in (sender, *sorted(lost))}
        return revealed

    def _shares(self) -> dict[str, dict[str, int]]:
        """Whose seed -> who gets the share -> share, in the order of the names."""
        return {
            about: _shares_of(self.group, self._key, about, self._seeds[about]) for about in self.group.names
        }

    def _own_shares(self) -> dict[str, int]:
        return {about: shares[self.name] for about, shares in self._shares().items()}

    def _channel(self, sender: str, receiver: str) -> bytes:
        other = receiver if sender == self.name else sender
        return derived(self._shared[other], self.group.context("shares", sender, receiver))

    def _opened(self, sender: str, received: Mapping[str, bytes]) -> dict[str, int]:
        try:
            text = opened(self._channel(sender, self.name), received[sender])
            starts = range(0, len(text), SHARE_BYTES)
            parts = [int.from_bytes(text[start : start + SHARE_BYTES]) for start in starts]
            return dict(zip(self.group.names, parts, strict=True))
        except (KeyError, ValueError):
            raise DataError(
                f"The shares of {sender!r} are missing, were altered or belong to another round."
            ) from None


def unmasked_sum(
    group: Group, total_UF: Unsigned, survivors: Collection[str], revealed: Mapping[str, Revealed]
) -> Unsigned:
    """Eq. (4), for :meth:`FixedPoint.decode`: what the coordinator computes at the end of a round.

    ``total_UF``: the sum of the survivors' masked messages; ``revealed``: by at least ``threshold`` parties.
    DataError for too few survivors or shares, and for shares that contradict each other.
    """
    group.check(survivors)
    group.check(revealed)
    sum_UF = total_UF.copy()
    lost = [name for name in group.names if name not in survivors]
    for sender in survivors:
        for about in (sender, *lost):
            seed = _recovered(group, sender, about, revealed)
            sum_UF -= _mask(sender, about, seed, sum_UF)
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
    """PRG of Eq. (3): ChaCha20's key stream (RFC 8439) from block 0 with a nonce of zeros, as whole numbers.

    A key is used once, so no nonce is needed.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    n_bytes = int(np.prod(shape)) * dtype.itemsize
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(n_bytes))
    return np.frombuffer(stream, dtype).reshape(shape)


def _shares_of(group: Group, key: bytes, about: str, seed: bytes) -> dict[str, int]:
    """A share of one seed for every party.

    The polynomial follows from the party's key. If it were drawn, a party that is made again after a kill
    would encrypt other shares under the same key and nonce, and shares of two polynomials would mix.
    """
    coefficients = _coefficients(key, group.context("polynomial", about), group.threshold - 1)
    shares = shamir_shares(int.from_bytes(seed), coefficients, len(group.names))
    return {name: shares[x] for x, name in enumerate(group.names, 1)}


def _coefficients(secret: bytes, context: bytes, count: int) -> list[int]:
    """Numbers below ``PRIME`` that are like uniform ones to all who do not have the secret."""
    # 128 bits more than the prime has: the bias of the remainder is below 2^-128
    size = SHARE_BYTES + 16
    return [
        int.from_bytes(derived(secret, context + index.to_bytes(4), size)) % PRIME for index in range(count)
    ]


def _recovered(group: Group, sender: str, about: str, revealed: Mapping[str, Revealed]) -> bytes:
    """A seed of a sender from all shares that were revealed."""
    points = {
        group.index(by): own[sender][about]
        for by, own in revealed.items()
        if sender in own and about in own[sender]
    }
    if len(points) < group.threshold:
        raise DataError(f"{len(points)} shares of {sender!r} were revealed, {group.threshold} are needed.")
    enough = dict(list(points.items())[: group.threshold])
    secret = interpolated(enough)
    # further shares lie on the same polynomial, or some share is wrong
    sound = all(interpolated(enough, x) == y for x, y in points.items() if x not in enough)
    if not sound or secret >= 2 ** (8 * SECRET_BYTES):
        raise DataError(f"The revealed shares of {sender!r} contradict each other.")
    return secret.to_bytes(SECRET_BYTES)


def _mask(name: str, about: str, seed: bytes, like_UF: Unsigned) -> Unsigned:
    """What ``name`` adds, Eq. (3): its own mask, and of a pair's one adds it and the other takes it away."""
    mask_UF = key_stream(seed, like_UF.shape, like_UF.dtype)
    return np.negative(mask_UF) if about < name else mask_UF
