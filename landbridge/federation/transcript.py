"""The record of an exchange: one .npz per round and party, to be looked at by an audit.

``round-00003.books.npz`` holds ``sent_UF`` and ``received_UF``, one row for each matched user of the party,
and ``books.npz`` their places among all matched users, ``place_U``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from landbridge.core.files import atomic_write
from landbridge.core.types import AnyArray, Float32, Int64


@dataclass(frozen=True)
class Transcript:
    """Writes to a folder; None: nowhere."""

    folder: Path | None = None

    def matched(self, party: str, place_U: Int64) -> None:
        """The rows of a party, before its first round."""
        self._write(f"{party}.npz", place_U=place_U)

    def round(self, number: int, party: str, sent_UF: Float32, received_UF: Float32) -> None:
        """What a party sent and received in a round."""
        self._write(f"round-{number:05}.{party}.npz", sent_UF=sent_UF, received_UF=received_UF)

    def _write(self, name: str, **arrays: AnyArray) -> None:
        if self.folder is not None:
            with atomic_write(self.folder / name) as temporary, temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
