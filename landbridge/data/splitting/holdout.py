"""Held-out targets, the history before them, and the candidates that they are ranked against."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.rng import generator
from landbridge.core.text import html_table
from landbridge.core.types import Seconds
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

FULL, ACROSS = "full", "across"
VALIDATION_PAIRS, LEAST_VALIDATION_PAIRS = 10_000, 500  # of a validation in all, and at least of each domain
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
    ranked against, drawn once and kept with the split, or None for the whole catalogue. ``time``:
    seconds since 1970 (T,), or None where they are not known.
    """

    user_idx: npt.NDArray[np.int32]
    item_idx: npt.NDArray[np.int32]
    candidates_TC: npt.NDArray[np.int32] | None = None
    time: Seconds | None = None

    def __post_init__(self) -> None:
        if self.user_idx.shape != self.item_idx.shape:
            raise DataError("Held-out users and items must be of equal length.")
        if self.time is not None and self.time.shape != self.user_idx.shape:
            raise DataError("There must be one time per held-out pair.")
        if self.candidates_TC is not None and len(self.candidates_TC) != len(self.user_idx):
            raise DataError("There must be one row of candidates per held-out pair.")

    @classmethod
    def of(cls, held: Interactions) -> Targets:
        """All these events."""
        return cls(held.user_idx, held.item_idx, time=held.time)

    def __len__(self) -> int:
        return len(self.user_idx)

    def take(self, chosen_P: npt.NDArray[np.int64]) -> Targets:
        """The pairs with these numbers, in their order."""
        candidates = None if self.candidates_TC is None else self.candidates_TC[chosen_P]
        time = None if self.time is None else self.time[chosen_P]
        return Targets(self.user_idx[chosen_P], self.item_idx[chosen_P], candidates, time)


@dataclass(frozen=True)
class LeftOut:
    """What a split without knowledge of the future leaves out.

    ``events``: later than a held-out event of the same user. ``targets``: last events of a user and domain
    that are no targets, because they are before the cut or what they could be predicted from is after it.
    """

    events: int
    targets: int

    def __str__(self) -> str:
        return (
            f"{self.events:,} events later than a held-out one of the same user are left out; "
            f"{self.targets:,} last events of a user and domain are no test rows for that."
        )


@dataclass(frozen=True, eq=False)
class Holdout:
    """Held-out targets per domain, and ``history``: the events that may be used to recommend them.

    A method evaluated on a holdout is fitted on ``history``, and the items of a user's history, and those
    that they have seen, are never ranked. ``across``: a target is ranked against the unseen items of all
    domains in one list, instead of those of its own domain. ``left_out``: what is in neither, where the split
    leaves events out.
    """

    history: MultiDomain
    targets: Mapping[str, Targets]
    across: bool = False
    left_out: LeftOut | None = None

    def __post_init__(self) -> None:
        if self.across and any(targets.candidates_TC is not None for targets in self.targets.values()):
            raise SettingsError(
                "One list over all domains has every item, so it takes no sampled candidates: "
                "leave out candidates or across."
            )

    @property
    def shape_rows(self) -> list[dict[str, object]]:
        """One row per domain: domain, users (with targets), pairs held out, events before them."""
        return [
            {
                "domain": name,
                "users": len(np.unique(targets.user_idx)),
                "held out": len(targets),
                "history": len(self.history[name]),
            }
            for name, targets in self.targets.items()
        ]

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}: {len(targets):,}" for name, targets in self.targets.items())
        return f"Holdout({protocol_name(self.protocol)}; held out {parts}; history {self.history.shape_text})"

    def _repr_html_(self) -> str:
        return html_table(f"Holdout, {protocol_name(self.protocol)}", self.shape_rows)

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
    def excluded(self) -> Interactions:
        """The pairs that lists over all domains leave out, in the numbers of :attr:`joined`."""
        return self.history.all_excluded().joined()[0] if self.history.seen else self.joined[0]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over history, targets and candidates: equal holdouts, equal fingerprint."""
        digest = hashlib.sha256(self.history.fingerprint.encode())
        for targets in self.targets.values():
            for array in (targets.user_idx, targets.item_idx, targets.candidates_TC):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
        if self.across:
            digest.update(ACROSS.encode())
        return digest.hexdigest()

    def with_targets(self) -> MultiDomain:
        """History and targets as events together, with times where both have them."""
        return self.history.with_events(
            {name: _joined(events, self.targets.get(name)) for name, events in self.history.domains.items()}
        )

    def sample(self, most: int, seed: int) -> Holdout:
        """At most ``most`` held-out pairs of every domain, drawn at random; the history is whole."""
        rng = generator(seed, "sample of held-out pairs")
        targets = {name: each.take(_drawn(rng, len(each), most)) for name, each in self.targets.items()}
        return replace(self, targets=targets)

    def to_validate(self, seed: int) -> Holdout:
        """As many of the held-out pairs as a choice of settings or epochs needs, drawn at random.

        A validation costs as much as ``VALIDATION_PAIRS`` queries, however many users there are.
        """
        each = VALIDATION_PAIRS // max(len(self.targets), 1)
        return self.sample(max(each, LEAST_VALIDATION_PAIRS), seed)

    def select(self, names: Iterable[str]) -> Holdout:
        """Only the named domains, with all users kept."""
        history = self.history.select(names)
        targets = {name: self.targets[name] for name in history.domain_names if name in self.targets}
        return replace(self, history=history, targets=targets)


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

    def __repr__(self) -> str:
        valid, test = (sum(map(len, part.targets.values())) for part in (self.valid, self.test))
        return (
            f"Split({protocol_name(self.test.protocol)}; held out {valid:,} for validation, {test:,} for the "
            f"test; {self.test.history.shape_text})"
        )

    def _repr_html_(self) -> str:
        rows = [
            {"part": name, **row}
            for name, part in (("valid", self.valid), ("test", self.test))
            for row in part.shape_rows
        ]
        return html_table(f"Split, {protocol_name(self.test.protocol)}", rows)

    def across(self) -> Split:
        """The same split with every target ranked in one list over all domains."""
        return Split(replace(self.valid, across=True), replace(self.test, across=True))


def _joined(events: Interactions, targets: Targets | None) -> Interactions:
    if targets is None:
        return events
    weight = None
    if events.weight is not None:  # a held-out event counts like the mean one
        mean = float(events.weight.mean()) if len(events) else 1.0
        weight = np.append(events.weight, np.full(len(targets), mean, np.float32))
    times = None if events.time is None or targets.time is None else np.append(events.time, targets.time)
    return Interactions.from_events(
        np.append(events.user_idx, targets.user_idx),
        np.append(events.item_idx, targets.item_idx),
        events.n_users,
        events.n_items,
        weight,
        times,
    )


def _drawn(rng: np.random.Generator, size: int, most: int) -> npt.NDArray[np.int64]:
    """Up to ``most`` of ``size`` numbers, in order."""
    if size <= most:
        return np.arange(size)
    return np.sort(rng.choice(size, most, replace=False))
