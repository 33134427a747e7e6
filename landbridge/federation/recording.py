"""Recorded exchanges: a folder with one .npz per round and party.

``round-00003.books.npz`` holds ``sent_UF`` and ``received_UF``, one row for each matched user of the party,
and ``books.npz`` their rows among all matched users, ``place_U``. A fit in one process also writes
``own_UF``, the rows x that no party sends, and for each round ``rho`` and ``dual``, which all parties know
(:class:`landbridge.models.als.cdimf.Exchange`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from landbridge.core.errors import StoreError
from landbridge.core.files import atomic_write
from landbridge.core.types import AnyArray, Float32, Int64
from landbridge.models.als.cdimf import Exchange

ROUND = re.compile(r"round-(\d+)\.(.+)\.npz")


@dataclass(frozen=True, eq=False)
class PartyRound:
    """What one party sent and received in one round; M matched users of the party."""

    sent_MF: Float32
    received_MF: Float32
    own_MF: Float32 | None = None
    rho: float = 1.0
    dual: bool = True


@dataclass(frozen=True, eq=False)
class Recording:
    """Rounds by party, in their order; ``place_M``: rows of a party's users among all matched users."""

    rounds: Mapping[str, Sequence[PartyRound]]
    place_M: Mapping[str, Int64]

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """The exchange in a folder; StoreError where it is incomplete or damaged.

        Without ``place_U`` of a party, it has every matched user, in their order. Rounds that do not say
        otherwise have one penalty ρ and update t, Eq. (4).
        """
        rounds: dict[str, list[PartyRound]] = {}
        places: dict[str, Int64] = {}
        for path in sorted(folder.glob("round-*.npz")):
            if match := ROUND.fullmatch(path.name):
                rounds.setdefault(match[2], []).append(_round_of(path, _arrays(path)))
        if len(rounds) < 2 or len({len(own) for own in rounds.values()}) > 1:
            raise StoreError(
                f"{folder} holds no exchange of two parties or more with equally many rounds; files are "
                "called round-00000.NAME.npz."
            )
        for name, own in rounds.items():
            matched = folder / f"{name}.npz"
            rows = len(own[0].sent_MF)
            places[name] = _arrays(matched)["place_U"] if matched.exists() else np.arange(rows)
            if any(each.sent_MF.shape != (len(places[name]), own[0].sent_MF.shape[1]) for each in own):
                raise StoreError(f"The rounds of {name!r} in {folder} do not have one row per matched user.")
        return cls(rounds, places)


@dataclass
class Recorder:
    """Writes what it observes (:meth:`landbridge.models.als.cdimf.CDIMF.fit_observed`) to a folder."""

    folder: Path
    number: int = field(default=0, init=False)

    def __call__(self, exchange: Exchange) -> None:
        """One more round."""
        for name, users in exchange.users.items():
            if not self.number:
                self._write(f"{name}.npz", place_U=users)
            self._write(
                f"round-{self.number:05}.{name}.npz",
                sent_UF=exchange.sent[name],
                received_UF=exchange.received_UF[users],
                own_UF=exchange.own[name],
                rho=np.array(exchange.rho),
                dual=np.array(exchange.dual),
            )
        self.number += 1

    def _write(self, name: str, **arrays: AnyArray) -> None:
        with atomic_write(self.folder / name) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle


def _arrays(path: Path) -> Mapping[str, AnyArray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise StoreError(f"{path} cannot be read as arrays ({type(error).__name__}).") from error


def _round_of(path: Path, arrays: Mapping[str, AnyArray]) -> PartyRound:
    try:
        sent_MF, received_MF = arrays["sent_UF"], arrays["received_UF"]
    except KeyError as error:
        raise StoreError(f"{path} has no array {error}.") from None
    if sent_MF.ndim != 2 or sent_MF.shape != received_MF.shape:
        raise StoreError(f"sent_UF and received_UF of {path} must be tables of one shape.")
    return PartyRound(
        sent_MF,
        received_MF,
        arrays.get("own_UF"),
        float(arrays.get("rho", 1.0)),
        bool(arrays.get("dual", True)),
    )
