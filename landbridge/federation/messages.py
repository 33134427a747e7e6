"""The messages between a party and the coordinator: one versioned binary schema, checked on both sides.

    frame = "LBP" | version (1 byte) | length of the header (4 bytes) | header (JSON) | array (little-endian)

Every kind of header says which array follows: its type and shape come from the checked header, so that the
length of a frame is known exactly. Numbers are finite, whole numbers are bounded, unknown keys are refused,
and no value of a message is ever part of an error, because errors are logged.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from landbridge.core.errors import FederationError
from landbridge.core.types import AnyArray, Float32, Int64

MAGIC, VERSION = b"LBP", 3
PREFIX = struct.Struct("<3sBI")
MAX_HEADER = 65_536  # bytes; the terms hold all settings of the method
CODE_WORDS = 4  # of 64 bits: the hash of a user id
MAX_ROWS, MAX_FACTORS, MAX_ROUND = 2**31 - 1, 4096, 2**31 - 1

Count = Annotated[int, Field(ge=0, le=MAX_ROWS)]
Number = Annotated[int, Field(ge=0, le=MAX_ROUND)]
Factors = Annotated[int, Field(ge=1, le=MAX_FACTORS)]
SumOfSquares = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Hexadecimal = Annotated[str, Field(pattern="^([0-9a-f]{2})*$", max_length=MAX_HEADER)]


class Header(BaseModel):
    """A checked header; without an array of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """Type and shape of the array that follows."""
        return "u1", (0,)


class SignedKey(Header):
    """A party's public key for a session, its certificate (PEM), and the signature of both."""

    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    certificate: Annotated[str, Field(max_length=2600)]
    signature: Annotated[Hexadecimal, Field(max_length=160)]


class Users(Header):
    """Party: the hashes of its users, sorted, (count, 4), and where messages are masked its key."""

    kind: Literal["users"] = "users"
    count: Count
    key: SignedKey | None = None

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """As in :class:`Header`."""
        return "<u8", (self.count, CODE_WORDS)


class Entry(Header):
    """Party: it has ``count`` users to be matched without a common secret."""

    kind: Literal["entry"] = "entry"
    count: Count
    key: SignedKey


class Blinded(Header):
    """A list of ``count`` points that has passed ``hop`` further parties, ``size`` bytes. Party: for the next
    one in the ring or, the last time, for the coordinator. Coordinator: from the one before."""

    kind: Literal["blinded"] = "blinded"
    hop: Annotated[int, Field(ge=0, lt=1000)]
    count: Count
    size: Annotated[int, Field(ge=0, lt=2**32)]

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """As in :class:`Header`."""
        return "u1", (self.size,)


class _Rows(Header):
    round: Number
    rows: Count
    factors: Factors

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """As in :class:`Header`."""
        return "<f4", (self.rows, self.factors)


class Message(_Rows):
    """Party: m of its matched users, (rows, factors), at the penalty ρ."""

    kind: Literal["message"] = "message"
    rho: Annotated[float, Field(ge=0)]


class Masked(_Rows):
    """Party: m of all matched users with masks, (rows, factors), zero for users of others, in fixed point;
    ``shares`` for every other party, sealed."""

    kind: Literal["masked"] = "masked"
    rho: Annotated[float, Field(ge=0)]
    shares: dict[Name, Hexadecimal]

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """As in :class:`Header`."""
        return "<u8", (self.rows, self.factors)


class Reveal(Header):
    """Party: its ``shares`` of what is left of the masks, by sender and whose seed."""

    kind: Literal["reveal"] = "reveal"
    round: Number
    shares: dict[Name, dict[Name, Hexadecimal]]


class Report(Header):
    """Party: Σ‖x - z‖² and Σ‖z‖² over its matched users."""

    kind: Literal["report"] = "report"
    round: Number
    apart: SumOfSquares
    tied: SumOfSquares


class Finished(Header):
    """Party: it has its model. Coordinator: it knows."""

    kind: Literal["finished"] = "finished"


class Terms(Header):
    """Coordinator, at the beginning of a connection: what is trained, and with whom."""

    kind: Literal["terms"] = "terms"
    session: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    parties: Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=1000)]
    quorum: Annotated[int, Field(ge=1, le=1000)]
    max_norm: Annotated[float, Field(gt=0)]
    masks: bool = False
    psi: bool = False
    settings: dict[str, Any]
    seed: Annotated[int, Field(ge=0, lt=2**63)]


class Ring(Header):
    """Coordinator: the parties in the order in which lists pass, how many users each has, and their keys."""

    kind: Literal["ring"] = "ring"
    names: Annotated[tuple[Name, ...], Field(strict=False, max_length=1000)]
    counts: dict[Name, Count]
    keys: dict[Name, SignedKey]


class UserCodes(Header):
    """Coordinator: the codes of a party's users, in the order of its list, (count, 4)."""

    kind: Literal["codes"] = "codes"
    count: Count

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """As in :class:`Header`."""
        return "<u8", (self.count, CODE_WORDS)


class Match(Header):
    """Coordinator: which of the sent users are matched and their places, (2, rows), among ``joint`` ones. The
    places of the others begin at ``first``; there are ``places`` in all. ``keys``: of all parties, for masks.
    ``last``: the last round of which it has a message of this party, or -1."""

    kind: Literal["match"] = "match"
    rows: Count
    joint: Count
    first: Count
    places: Count
    last: Annotated[int, Field(ge=-1, le=MAX_ROUND)]
    keys: dict[Name, SignedKey] = {}

    @property
    def layout(self) -> tuple[str, tuple[int, ...]]:
        """As in :class:`Header`."""
        return "<i8", (2, self.rows)


class Survivors(Header):
    """Coordinator: whose masked messages are in the sum, and the sealed ``shares`` of the others."""

    kind: Literal["survivors"] = "survivors"
    round: Number
    names: Annotated[tuple[Name, ...], Field(strict=False, max_length=1000)]
    shares: dict[Name, Hexadecimal]


class Consensus(_Rows):
    """Coordinator: z of the party's matched users, (rows, factors)."""

    kind: Literal["consensus"] = "consensus"


class Sums(Header):
    """Coordinator: the residuals of a round over all parties."""

    kind: Literal["sums"] = "sums"
    round: Number
    apart: SumOfSquares
    tied: SumOfSquares
    moved: SumOfSquares
    norm: SumOfSquares


class Wait(Header):
    """Coordinator: still there; other parties have not sent theirs yet."""

    kind: Literal["wait"] = "wait"


class Refusal(Header):
    """Coordinator: the last message is not accepted, and the connection ends."""

    kind: Literal["refusal"] = "refusal"
    reason: Annotated[str, Field(max_length=400)]


FROM_PARTY: TypeAdapter[Header] = TypeAdapter(
    Annotated[
        Entry | Blinded | Users | Message | Masked | Reveal | Report | Finished,
        Field(discriminator="kind"),
    ]
)
FROM_COORDINATOR: TypeAdapter[Header] = TypeAdapter(
    Annotated[
        Terms | Ring | Blinded | UserCodes | Match | Survivors | Consensus | Sums | Finished | Wait | Refusal,
        Field(discriminator="kind"),
    ]
)


@dataclass(frozen=True, eq=False)
class Frame:
    """A header and its array."""

    header: Header
    array: AnyArray


Answer = tuple[Header, AnyArray | None]


def encode(header: Header, array: AnyArray | None = None) -> bytes:
    """The bytes of a frame; the array must have the layout of the header."""
    dtype, shape = header.layout
    content = np.empty(shape, dtype) if array is None else np.ascontiguousarray(array, dtype)
    assert content.shape == shape
    text = header.model_dump_json().encode()
    return PREFIX.pack(MAGIC, VERSION, len(text)) + text + content.tobytes()


def decode(data: bytes, kinds: TypeAdapter[Header]) -> Frame:
    """The frame of one side's kinds of messages; FederationError for any other bytes."""
    if len(data) < PREFIX.size or data[:3] != MAGIC:
        raise FederationError("The message is not of landbridge; check the address.")
    _, version, size = PREFIX.unpack_from(data)
    if version != VERSION:
        raise FederationError(
            f"The message is not of version {VERSION} of the protocol; use equal versions of landbridge."
        )
    if size > MAX_HEADER or PREFIX.size + size > len(data):
        raise FederationError("The header of the message is too long.")
    try:
        header = kinds.validate_json(data[PREFIX.size : PREFIX.size + size])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise FederationError(f"The header of the message is invalid ({first['type']}).") from None
    dtype, shape = header.layout
    body = memoryview(data)[PREFIX.size + size :]
    if len(body) != np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object)):
        raise FederationError("The message is longer or shorter than its header says.")
    array = np.frombuffer(body, dtype).reshape(shape)
    return Frame(header, array.astype(array.dtype.newbyteorder("="), copy=False))


def check_rows(rows_MF: Float32, max_norm: float) -> None:
    """FederationError for rows that are not finite, or longer than ``max_norm``."""
    # float64: the square of a large float32 would overflow
    square_M = np.einsum("mf,mf->m", rows_MF, rows_MF, dtype=np.float64)
    # the comparison is false for NaN, too
    if not (square_M <= max_norm**2).all():
        raise FederationError("A row is not finite or exceeds the norm bound.")


def check_codes(code_U4: AnyArray) -> None:
    """FederationError for hashes that are not sorted and unique."""
    before, after = code_U4[:-1], code_U4[1:]
    unequal = before != after
    first_U = unequal.argmax(axis=1)
    rows = np.arange(len(first_U))
    if not (unequal.any(axis=1) & (before[rows, first_U] < after[rows, first_U])).all():
        raise FederationError("The user hashes are not sorted and unique.")


def check_match(match: Match, place_2M: Int64, n_sent: int) -> None:
    """FederationError for a match that does not fit the users that were sent."""
    sent_M, place_M = place_2M
    rising = (np.diff(sent_M) > 0).all() and (np.diff(place_M) > 0).all()
    ends = match.rows == 0 or (
        sent_M[0] >= 0 and sent_M[-1] < n_sent and place_M[0] >= 0 and place_M[-1] < match.joint
    )
    if not (
        rising and ends and match.joint <= match.first and match.first + n_sent - match.rows <= match.places
    ):
        raise FederationError("The coordinator's match does not fit the users that were sent.")
