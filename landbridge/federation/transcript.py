"""The record of an exchange: a folder with one .npz per round and party, to be looked at by an audit.

``round-00003.books.npz`` holds ``sent_UF`` and ``received_UF``, one row for each matched user of the party,
the penalty ``rho`` and whether t was updated, ``dual``; ``books.npz`` holds the places of these users among
all users, ``place_U``. The record of a fit in one process also has ``own_UF``, the rows x that no party
sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from landbridge.core.errors import StoreError
from landbridge.core.files import atomic_write
from landbridge.core.types import AnyArray, Float32, Int64, Values
from landbridge.data.dataset import MultiDomain
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.exchange import LocalChannel, Residuals, Round
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.participants import DomainState
from landbridge.training.epochs import State
from landbridge.training.options import FitOptions

ROUND = re.compile(r"round-(\d+)\.(.+)\.npz")


@dataclass(frozen=True)
class Transcript:
    """Writes to a folder; None: nowhere."""

    folder: Path | None = None

    def matched(self, party: str, place_U: Int64) -> None:
        """The rows of a party, before its first round."""
        self._write(f"{party}.npz", place_U=place_U)

    def round(
        self,
        current: Round,
        party: str,
        sent_UF: Float32,
        received_UF: Float32,
        own_UF: Float32 | None = None,
    ) -> None:
        """What a party sent and received in a round, and the rows that it kept."""
        own = {} if own_UF is None else {"own_UF": own_UF}
        self._write(
            f"round-{current.number:05}.{party}.npz",
            sent_UF=sent_UF,
            received_UF=received_UF,
            rho=np.array(current.rho),
            dual=np.array(current.dual),
            **own,
        )

    def _write(self, name: str, **arrays: AnyArray) -> None:
        if self.folder is not None:
            with atomic_write(self.folder / name) as temporary, temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)


@dataclass(frozen=True)
class RecordingChannel:
    """A channel of one process that writes what passes (:class:`landbridge.models.als.exchange.Channel`)."""

    local: LocalChannel
    transcript: Transcript

    @property
    def identity(self) -> Values:
        """As without a record."""
        return self.local.identity

    def consensus(self, domains: Mapping[str, DomainState], state: State, current: Round) -> Float32:
        """As in :class:`Channel`."""
        mean_UF, count_U = self.local.received(domains, state, current)
        for name, domain in domains.items():
            users_M = domain.users[domain.tied]
            if not current.number:
                self.transcript.matched(name, users_M)
            sent_MF = self.local.message(name, domain, state, current)
            own_MF = state[f"x:{name}"][domain.tied]
            self.transcript.round(current, name, sent_MF, mean_UF[users_M], own_MF)
        return self.local.privacy.shrunk(mean_UF, count_U)

    def residuals(
        self, current: Round, apart: float, tied: float, before_UF: Float32, after_UF: Float32
    ) -> Residuals:
        """As in :class:`Channel`."""
        return self.local.residuals(current, apart, tied, before_UF, after_UF)


def fit_recorded(method: CDIMF, train: MultiDomain, folder: Path, options: FitOptions) -> ALSModel:
    """:meth:`CDIMF.fit`, with the record of its exchange in ``folder``."""
    channel = RecordingChannel(method.local_channel(options.seed), Transcript(folder))
    return method.fit_in(train, method.members(train, options.seed), channel, options)


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
