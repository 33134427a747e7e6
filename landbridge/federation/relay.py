"""The coordinator's side of a private set intersection: it passes sealed lists from party to party.

    relay.json                       who is in the ring, how many users each has, their keys
    list-HH.PARTY.safetensors        what a party sent in step HH, until the parties are matched

The protocol is that of :mod:`landbridge.federation.intersection`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from landbridge.core.errors import FederationError
from landbridge.core.files import atomic_write, read_arrays, read_json, write_arrays, write_json
from landbridge.core.types import AnyArray
from landbridge.federation import messages as msg
from landbridge.federation.agreement import NONCE_BYTES, SECRET_BYTES, TAG_BYTES
from landbridge.federation.intersection import POINT_BYTES
from landbridge.federation.user_codes import Codes

RELAY, LIST = "relay.json", "list-{:02}.{}.safetensors"
SEAL_BYTES = NONCE_BYTES + TAG_BYTES


@dataclass
class Relay:
    """What it keeps in the folder of a session; it continues what a killed one left there."""

    folder: Path
    entries: dict[str, msg.Entry] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # the ring, once it is closed
    secret: bytes = field(default=b"", repr=False)  # the key of Eq. (2)

    def __post_init__(self) -> None:
        """Read what is there."""
        if (self.folder / RELAY).exists():
            kept = read_json(self.folder / RELAY)
            self.names, self.secret = tuple(kept["names"]), bytes.fromhex(kept["secret"])
            self.entries = {name: msg.Entry(**each) for name, each in kept["entries"].items()}

    def enter(self, party: str, entry: msg.Entry) -> bool:
        """Whether a party is new. FederationError where it comes with other users or another key than before,
        and where the ring is closed without it."""
        known = self.entries.get(party)
        if known is not None and (known.count, known.key.key) != (entry.count, entry.key.key):
            raise FederationError("The number of users or the key is not that with which this party joined.")
        if self.names and party not in self.names:
            raise FederationError("The parties have begun to match their users without this one.")
        if known is None:
            self.entries[party] = entry
        return known is None

    def close(self, parties: Sequence[str]) -> None:
        """The ring is of those parties that have entered."""
        self.names = tuple(name for name in parties if name in self.entries)
        self.secret = secrets.token_bytes(SECRET_BYTES)
        entries = {name: self.entries[name].model_dump() for name in self.names}
        write_json(
            self.folder / RELAY,
            {"names": list(self.names), "secret": self.secret.hex(), "entries": entries},
        )

    def take(self, party: str, header: msg.Blinded, array: AnyArray) -> None:
        """A list, on disk before it is acknowledged; of two the first counts. FederationError for one that is
        not of this party's step."""
        if party not in self.names:
            raise FederationError("The party has not joined, or the ring is not closed yet.")
        last = len(self.names) - 1
        if header.hop > last or not (header.hop == 0 or self._path(party, header.hop - 1).exists()):
            raise FederationError("The list is not that of the next step.")
        owner = self.names[(self.names.index(party) - header.hop) % len(self.names)]
        size = POINT_BYTES * header.count + (0 if header.hop == last else SEAL_BYTES)
        if (header.count, header.size) != (self.entries[owner].count, size):
            raise FederationError("The list has another length than that with which its owner joined.")
        path = self._path(party, header.hop)
        if not path.exists():
            with atomic_write(path) as temporary:
                write_arrays(temporary, {"list": array}, {})

    def answer(self, party: str, request: msg.Entry | msg.Blinded) -> msg.Answer | None:
        """The ring, or what the party before has sent in the same step; None while it is waited for."""
        match request:
            case msg.Entry():
                return (self._ring(), None) if self.names else None
            case msg.Blinded(hop=hop):
                before = self.names[self.names.index(party) - 1]
                if not self._path(before, hop).exists():
                    return None
                if hop == len(self.names) - 1:
                    code_U4 = self.codes(party)
                    return msg.UserCodes(count=len(code_U4)), code_U4
                owner = self.names[self.names.index(party) - 1 - hop]
                content = self._list(before, hop)
                count = self.entries[owner].count
                return msg.Blinded(hop=hop, count=count, size=len(content)), content

    def codes(self, party: str) -> Codes:
        """Eq. (2) of a party's list, in its order. FederationError while the list is on its way."""
        before = self.names[self.names.index(party) - 1] if party in self.names else ""
        if not before or not self._path(before, len(self.names) - 1).exists():
            raise FederationError("The list of this party's users is not back yet.")
        points = self._list(before, len(self.names) - 1).tobytes()
        digests = b"".join(
            hmac.digest(self.secret, points[start : start + POINT_BYTES], "sha256")
            for start in range(0, len(points), POINT_BYTES)
        )
        return np.frombuffer(digests, ">u8").reshape(-1, msg.CODE_WORDS).astype(np.uint64)

    def discard(self) -> None:
        """Delete all lists."""
        for path in self.folder.glob("list-*.safetensors"):
            path.unlink()

    def _ring(self) -> msg.Ring:
        return msg.Ring(
            names=self.names,
            counts={name: self.entries[name].count for name in self.names},
            keys={name: self.entries[name].key for name in self.names},
        )

    def _list(self, party: str, hop: int) -> AnyArray:
        return read_arrays(self._path(party, hop))[0]["list"]

    def _path(self, party: str, hop: int) -> Path:
        return self.folder / LIST.format(hop, party)
