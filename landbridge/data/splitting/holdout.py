"""Held-out targets, the history before them, and the candidates that they are ranked against."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

FULL, ACROSS = "full", "across"
_WORDS = {FULL: "full ranking", ACROSS: "one list over all domains"}


def uses_sampled_candidates(protocol: str) -> bool:
    """Whether targets are ranked against a sample of the catalogue only."""
    return protocol not in _WORDS


def protocol_name(protocol: str) -> str:
    """The protocol in words: ``full ranking``, ``one list over all domains`` or ``sampled 1+999``."""
    return _WORDS.get(protocol, f"sampled {protocol}")


@dataclass(frozen=True, eq=False)
class Targets:
    """Held-out (user, item) pairs of one domain, T rows sorted by user.

    ``user_idx``, ``item_idx``: int32 (T,). ``candidates_TC``: int32 (T, C) negatives each target is
    ranked against, drawn once and kept with the split, or None for the whole catalogue.
    """

    user_idx: npt.NDArray[np.int32]
    item_idx: npt.NDArray[np.int32]
    candidates_TC: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.user_idx.shape != self.item_idx.shape:
            raise DataError("Held-out users and items must be of equal length.")
        if self.candidates_TC is not None and len(self.candidates_TC) != len(self.user_idx):
            raise DataError("There must be one row of candidates per held-out pair.")

    def __len__(self) -> int:
        return len(self.user_idx)


@dataclass(frozen=True, eq=False)
class Holdout:
    """Held-out targets per domain, and ``history``: the events that may be used to recommend them.

    A method evaluated on a holdout is fitted on ``history``, and the items of a user's history are never
    ranked. ``across``: a target is ranked against the unseen items of all domains in one list, instead of
    those of its own domain.
    """

    history: MultiDomain
    targets: Mapping[str, Targets]
    across: bool = False

    def __post_init__(self) -> None:
        if self.across and any(targets.candidates_TC is not None for targets in self.targets.values()):
            raise SettingsError(
                "One list over all domains has every item, so it takes no sampled candidates: "
                "leave out candidates or across."
            )

    @property
    def protocol(self) -> str:
        """How targets are ranked: ``full`` (the domain's catalogue), ``across`` (all domains in one list)
        or ``1+C`` (sampled candidates)."""
        if self.across:
            return ACROSS
        widths = {t.candidates_TC.shape[1] for t in self.targets.values() if t.candidates_TC is not None}
        return f"1+{max(widths)}" if widths else FULL

    @cached_property
    def joined(self) -> tuple[Interactions, dict[str, slice]]:
        """``history`` as one table over the items of all domains, and each domain's slice of the items."""
        return self.history.joined()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over history, targets and candidates: equal holdouts, equal fingerprint."""
        digest = hashlib.sha256(self.history.fingerprint.encode())
        for targets in self.targets.values():
            for array in (targets.user_idx, targets.item_idx, targets.candidates_TC):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        if self.across:
            digest.update(ACROSS.encode())
        return digest.hexdigest()

    def select(self, names: Iterable[str]) -> Holdout:
        """Only the named domains, with all users kept."""
        history = self.history.select(names)
        targets = {name: self.targets[name] for name in history.domain_names if name in self.targets}
        return Holdout(history, targets, self.across)


@dataclass(frozen=True, eq=False)
class Split:
    """Validation targets for every choice, test targets for the final evaluation.

    ``train`` is the history of the validation targets. ``test.history``, training and validation events
    together, is what the chosen method is refitted on.
    """

    valid: Holdout
    test: Holdout

    @property
    def train(self) -> MultiDomain:
        """The events that methods are fitted on while choices are made."""
        return self.valid.history

    def across(self) -> Split:
        """The same split with every target ranked in one list over all domains."""
        return Split(replace(self.valid, across=True), replace(self.test, across=True))
