"""What a party must remember of a session beside its checkpoints, so that a kill changes nothing.

    session.key                   the id of the session, and the party's key for masks and intersections
    codes.safetensors             the codes of its users, if they come from a private set intersection
    round-NNNNN.safetensors       what is sent in a round, before it is sent; then what was received
    round-NNNNN.survivors.json    whose masked messages are in the sum, before any share is revealed

A round that goes on therefore sends the same bytes again. Noise is drawn once, so that no round costs privacy
twice; no two messages have the same masks; and no shares are revealed for two sets of survivors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landbridge.core.errors import FederationError, StoreError
from landbridge.core.files import atomic_write, read_arrays, read_json, write_arrays, write_json
from landbridge.core.types import Arrays, Float32
from landbridge.federation.agreement import draw_key
from landbridge.federation.keys import write_private
from landbridge.federation.user_codes import Codes
from landbridge.models.als.exchange import Residuals

KEY, CODES = "session.key", "codes.safetensors"
ROUND, SURVIVORS = "round-{:05}.safetensors", "round-{:05}.survivors.json"
_NUMBER = re.compile(r"round-(\d+)\.(?:safetensors|survivors\.json)")


@dataclass(frozen=True)
class Journal:
    """``folder`` None: nothing is kept. ``starts``: first rounds of epochs."""

    folder: Path | None
    session: str
    starts: frozenset[int]

    def key(self) -> bytes:
        """The party's key for this session, drawn where there is none. StoreError for another session's."""
        if self.folder is None:
            return draw_key()
        path = self.folder / KEY
        if not path.exists():
            write_private(path, f"{self.session} {draw_key().hex()}".encode())
        session, _, key = path.read_text().partition(" ")
        self._check(session)
        return bytes.fromhex(key)

    def codes(self, of: str, made: Callable[[], Codes]) -> Codes:
        """The codes of the users ``of`` this digest: those that are kept or, the first time, what is made.
        StoreError for those of other users."""
        if self.folder is None:
            return made()
        if not (self.folder / CODES).exists():
            self._write(CODES, {}, {"of": of})  # before anything of them is sent
        arrays, about = self._read(CODES)
        if about["of"] != of:
            raise StoreError(
                f"{self.folder} belongs to other users; go on with the events of before, or begin a new "
                "session."
            )
        if "codes" not in arrays:
            arrays = {"codes": made()}
            self._write(CODES, arrays, {"of": of})  # nothing is multiplied any more
        return arrays["codes"]

    def listed(self, step: str, digest: str) -> None:
        """Keep what was multiplied in a step of an intersection. FederationError for anything else than
        before: each further list is a further question."""
        if self.folder is None:
            return
        arrays, about = self._read(CODES)
        lists = about.setdefault("lists", {})
        if lists.setdefault(step, digest) != digest:
            raise FederationError(
                "The coordinator now has another ring or other lists than before; this party multiplies "
                "nothing."
            )
        self._write(CODES, arrays, {"of": about["of"], "lists": lists})

    def received(self, number: int) -> tuple[Float32, Residuals] | None:
        """What was received in a round, if it was completed."""
        arrays, about = self._read(ROUND.format(number))
        return (arrays["received"], Residuals(**about["sums"])) if "received" in arrays else None

    def sent(self, number: int, message: Callable[[], Float32]) -> Float32:
        """The message of a round: the one that is kept or, the first time, what ``message`` makes."""
        arrays, _ = self._read(ROUND.format(number))
        if "sent" in arrays:
            return arrays["sent"]
        made = message()
        self._write(ROUND.format(number), {"sent": made}, {})
        return made

    def survived(self, number: int, names: Sequence[str]) -> None:
        """Keep whose messages are in the sum of a round. FederationError for others than before: shares that
        are revealed to two reports open a message."""
        if self.folder is None:
            return
        path = self.folder / SURVIVORS.format(number)
        if not path.exists():
            write_json(path, {"session": self.session, "names": list(names)})
        kept = read_json(path)
        self._check(kept["session"])
        if kept["names"] != list(names):
            raise FederationError(
                f"The coordinator now reports other parties for round {number} than before; this party "
                "reveals nothing."
            )

    def complete(self, number: int, received_UF: Float32, sums: Residuals) -> None:
        """Keep the answers of a completed round."""
        self._write(ROUND.format(number), {"received": received_UF}, {"sums": vars(sums)})

    def forget(self, number: int) -> None:
        """Delete what is before a round with which an epoch begins: the checkpoint now holds it. The round
        just before it stays, as a proof that this party has taken part."""
        if number in self.starts:
            for path, each in self._files():
                if each < number - 1:
                    path.unlink()

    def check_not_lost(self, last: int) -> None:
        """StoreError where the coordinator has messages up to round ``last`` that this folder does not know:
        it would send them with other noise, and spend its privacy twice."""
        newest = max((each for _, each in self._files()), default=-1)
        if self.folder is not None and newest < last:
            raise StoreError(
                f"This party has already sent round {last}, of which {self.folder} knows nothing; use the "
                "--out that it had, or begin a new session."
            )

    def _files(self) -> list[tuple[Path, int]]:
        paths = [] if self.folder is None or not self.folder.exists() else list(self.folder.iterdir())
        return [(path, int(found[1])) for path in paths if (found := _NUMBER.fullmatch(path.name))]

    def _read(self, name: str) -> tuple[Arrays, Any]:
        if self.folder is None or not (path := self.folder / name).exists():
            return {}, {}
        arrays, about = read_arrays(path)
        self._check(about["session"])
        return arrays, about

    def _write(self, name: str, arrays: Arrays, about: dict[str, Any]) -> None:
        if self.folder is not None:
            with atomic_write(self.folder / name) as temporary:
                write_arrays(temporary, arrays, {"session": self.session, **about})

    def _check(self, session: str) -> None:
        if session != self.session:
            raise StoreError(
                f"{self.folder} holds rounds of another session; delete it or choose another --out."
            )
