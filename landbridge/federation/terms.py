"""What the coordinator sets for all parties: the method and its settings, the quorum, and the limits."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from landbridge.core.errors import SettingsError
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.feature_map import OFF

PARTY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MOST_WITH_KEYS = 20  # parties: their keys, and the shares of a masked message, are in a header
MAX_USERS = 5_000_000  # of one party
FEWEST = 3  # parties in a round, so that a sum does not reveal a row
TWO_PARTIES = (
    "With two parties each one computes the other's rows, exactly and in every round: what it receives less "
    "what it sent. Three or more are needed; --two-party-leak-understood goes on regardless."
)


@dataclass(frozen=True)
class Limits:
    """Bounds on what a party may send, and on how long the others wait for it.

    ``max_norm``: of a row of a message. ``max_users``: of one party. ``round_seconds``: after the first
    message of a step, how long others may take. ``join_seconds``: the same for joining.
    """

    max_norm: float = 1e6
    max_users: int = MAX_USERS
    round_seconds: float = 600.0
    join_seconds: float = 3600.0


@dataclass(frozen=True)
class Demands:
    """What a party insists on. ``max_epsilon``: the most that its rows may cost, infinite: anything.
    ``max_other_users``: of any other party in a private set intersection, each of which is a question whether
    this party has it."""

    two_party_leak_understood: bool = False
    masks: bool = False
    max_epsilon: float = inf
    psi: bool = False
    max_other_users: int = MAX_USERS


NO_DEMANDS = Demands()


@dataclass(frozen=True)
class Plan:
    """A session before it begins. ``parties``: their names, in the order of the sums. ``quorum``: how many of
    them a step needs when the others are late; None: all. ``masks``: the coordinator sees sums only. ``psi``:
    users are matched by private set intersection."""

    method: CDIMF
    parties: tuple[str, ...]
    seed: int = 0
    quorum: int | None = None
    limits: Limits = Limits()
    two_party_leak_understood: bool = False
    masks: bool = False
    psi: bool = False

    def __post_init__(self) -> None:
        check_names(self.parties)
        if len(set(self.parties)) < len(self.parties) or len(self.parties) < 2:
            raise SettingsError("--parties needs two different names or more, such as books,movies,food.")
        if not 2 <= self.needed <= len(self.parties):
            raise SettingsError(f"--quorum must be from 2 to the number of parties, {len(self.parties)}.")
        check_leak(self.needed, self.two_party_leak_understood)
        if self.masks:
            check_masks(self.needed, len(self.parties))
        if self.psi:
            check_keys(len(self.parties), "--psi")
        object.__setattr__(self, "method", federated(self.method))

    @property
    def needed(self) -> int:
        """The smallest number of parties in a step."""
        return len(self.parties) if self.quorum is None else self.quorum

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the method, as the parties get them."""
        return asdict(self.method)


def check_leak(needed: int, understood: bool) -> None:
    """SettingsError where a round of two parties is possible and not meant."""
    if needed < FEWEST and not understood:
        raise SettingsError(TWO_PARTIES)


def check_masks(needed: int, n_parties: int) -> None:
    """SettingsError where masks would not protect, or their shares would not fit in a message."""
    if 2 * needed <= n_parties:
        raise SettingsError(
            f"With --masks, --quorum must be more than half of {n_parties} parties: two halves could each "
            "open what the other one hides."
        )
    check_keys(n_parties, "--masks")


def check_keys(n_parties: int, option: str) -> None:
    """SettingsError where the keys of all parties would not fit in a message."""
    if n_parties > MOST_WITH_KEYS:
        raise SettingsError(f"With {option} there are at most {MOST_WITH_KEYS} parties, not {n_parties}.")


def check_names(names: tuple[str, ...]) -> None:
    """SettingsError for a name that is not fit for a certificate and a file."""
    for name in names:
        if not PARTY_NAME.fullmatch(name):
            raise SettingsError(
                f"{name!r} names no party: small letters, digits, - and _ are allowed, such as books."
            )


def federated(method: CDIMF) -> CDIMF:
    """The method for several processes; SettingsError for settings that need all data in one place."""
    if not method.admm.exact or method.admm.rho <= 0 or method.consensus.shared_fraction < 1:
        raise SettingsError(
            "Parties train with admm.variant='admm', an admm.rho above 0 and consensus.shared_fraction=1."
        )
    # a party can only take part for users that it has, and the map of item features is of all domains
    return replace(method, consensus=replace(method.consensus, domains="active"), feature_reg=OFF)
