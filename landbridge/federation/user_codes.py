"""Who is the same user: codes that are equal for equal ids and say nothing about them without the secret.

    code(id) = HMAC-SHA-256(secret, id)                                                                (1)

The parties share the secret, and the coordinator does not know it. docs/parties.md says what this protects: a
party that gives the secret to the coordinator, or is the coordinator, can try out ids until a code fits. The
stricter way is private set intersection, :mod:`landbridge.federation.intersection`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import FederationError
from landbridge.data.vocabulary import IdArray
from landbridge.federation.messages import CODE_WORDS

Codes = npt.NDArray[np.uint64]
SECRET = "users.secret"  # a file that every party has, and the coordinator has not
SECRET_BYTES = 32
PURPOSE = b"landbridge user id 1\0"


class UserCodes(Protocol):
    """Makes the codes by which the coordinator matches users."""

    def of(self, ids: IdArray) -> Codes:
        """One code per id, in the order of the ids, (U, 4)."""


@dataclass(frozen=True)
class KeyedHash:
    """Eq. (1). A whole number and the same number as text are one id."""

    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, folder: Path) -> KeyedHash:
        """With the secret in the folder of a party's keys."""
        try:
            secret = bytes.fromhex((folder / SECRET).read_text().strip())
        except (FileNotFoundError, ValueError):
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise FederationError(
                f"{folder / SECRET} must hold {2 * SECRET_BYTES} hexadecimal digits, the same at every "
                "party; make it with `landbridge party keys`."
            )
        return cls(secret)

    def of(self, ids: IdArray) -> Codes:
        """As in :class:`UserCodes`."""
        # a call into C for every id: the time is that of SHA-256
        digests = b"".join(
            hmac.digest(self.secret, PURPOSE + str(each).encode(), "sha256") for each in ids.tolist()
        )
        return np.frombuffer(digests, ">u8").reshape(len(ids), CODE_WORDS).astype(np.uint64)


def sorted_order(code_U4: Codes) -> npt.NDArray[np.int64]:
    """The order that sorts codes, (U,)."""
    return np.lexsort(code_U4.T[::-1]).astype(np.int64)


def in_several(codes: list[Codes], least: int = 2) -> Codes:
    """The codes in ``least`` of the tables or more, sorted, (M, 4); each table's codes are unique."""
    everything = np.concatenate([np.empty((0, CODE_WORDS), np.uint64), *codes])
    distinct, count = np.unique(everything, axis=0, return_counts=True)
    return np.asarray(distinct[count >= least])


def places(wanted_U4: Codes, joint_M4: Codes) -> npt.NDArray[np.int64]:
    """The row of each code among the joint ones, or -1, (U,); both are sorted and unique."""
    both = np.concatenate([joint_M4, wanted_U4])
    # stable: of equal codes the joint one comes first
    order = sorted_order(both)
    same = np.zeros(len(both), bool)
    same[1:] = (both[order[1:]] == both[order[:-1]]).all(axis=1)
    place = np.full(len(both), -1, np.int64)
    place[order[same]] = order[np.flatnonzero(same) - 1]
    return place[len(joint_M4) :]
