"""The attacks of an audit under each defence, beside what the defence costs in quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Record
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.evaluate import evaluate
from landbridge.federation.audit import PARTY, attack, attackers, row_error, view
from landbridge.federation.masks import ALONE, TWO_PARTY_LEAK
from landbridge.federation.transcript import Recording, fit_recorded
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.privacy import Privacy
from landbridge.models.base import Fitted, Method
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

METRIC = "ndcg@10"
EPSILONS = (1.0, 5.0, 10.0, np.inf)
NONE, MASKS = "none", "masks"
TWO_PARTIES = f"There are two parties: {TWO_PARTY_LEAK}. Masks change nothing of that."


@dataclass(frozen=True)
class Plan:
    """What an audit compares: the method, and the guarantees of its private fits.

    ``clip``: None takes the median norm of the rows that the undefended fit sends.
    """

    method: CDIMF
    epsilons: Sequence[float] = EPSILONS
    delta: float = 1e-6
    clip: float | None = None
    seed: int = 0


def audit(
    holdout: Holdout, victim: str, plan: Plan, folder: Path | None = None, threads: int | None = None
) -> Record:
    """Fit without defence and with noise, record every exchange, and attack the ``victim`` in each.

    Masks are attacked in the undefended exchange, by those who see no message of a single party: they change
    the sum by less than a fixed-point step. ``folder`` keeps the recordings, one folder per defence. Returns
    ``findings`` (one record per defence, role and attack), ``utility`` (one per defence, with the popularity
    and the single-domain baseline) and ``about``, all as JSON has it. Raises SettingsError for an unknown
    domain and for fewer than two.
    """
    _check(holdout, victim)
    with TemporaryDirectory() as temporary:
        made = _Audit(holdout, victim, plan, Path(folder or temporary), threads)
        return made.result()


def audit_recorded(
    folder: Path, holdout: Holdout, victim: str, masked: bool = False, seed: int = 0
) -> Record:
    """The attacks of :func:`audit` on a recorded exchange of the holdout's users and domains.

    ``masked``: whether messages were masked, so that only their sum was seen.
    """
    _check(holdout, victim)
    recording = Recording.read(folder)
    return {
        "about": _about(recording, victim, {"seed": seed, "metric": METRIC}),
        "findings": findings(recording, holdout, victim, "as recorded", masked, seed),
        "utility": [],
        "guarantees": [],
    }


def cdimf_of(method: Method) -> CDIMF:
    """The method of a run, if it is CDIMF; SettingsError for any other, which exchanges nothing."""
    if isinstance(method, CDIMF):
        return method
    raise SettingsError(
        f"An audit is of CDIMF, but the run's method is {method.name}; fit with --model cdimf."
    )


def _check(holdout: Holdout, victim: str) -> None:
    names = holdout.history.domain_names
    if len(names) < 2:
        raise SettingsError("An audit needs two domains or more.")
    if victim not in names:
        raise SettingsError(unknown("domain", victim, names))


def _about(recording: Recording, victim: str, more: Record) -> Record:
    return {
        "victim": victim,
        "parties": list(recording.rounds),
        "users": len(recording.place_M[victim]),
        "warning": TWO_PARTIES if len(recording.rounds) < ALONE else "",
        **more,
    }


@dataclass(frozen=True)
class _Audit:
    holdout: Holdout
    victim: str
    plan: Plan
    folder: Path
    threads: int | None

    def result(self) -> Record:
        method, names = self.plan.method, self.holdout.history.domain_names
        plain = replace(method, privacy=Privacy())
        recording, ndcg = self._recorded(NONE, plain)
        findings = self._findings(NONE, recording)
        findings += self._findings(MASKS, recording, masked=True) if len(names) >= ALONE else []
        utility = [{"defence": NONE, METRIC: ndcg}]
        clip = self.plan.clip or _median_norm(recording, self.victim)
        guarantees = []
        for epsilon in self.plan.epsilons:
            private = _private(method, epsilon, self.plan.delta, clip)
            label = f"ε {epsilon:g}".replace("inf", "∞")
            recording, ndcg = self._recorded(label, private)
            findings += self._findings(label, recording)
            utility.append({"defence": label, METRIC: ndcg})
            assert private.guarantee is not None
            guarantees.append({"defence": label, **private.guarantee.as_record()})
        separate = plain.with_settings({"admm.rho": 0.0})
        utility += [
            {"defence": "single domain", METRIC: self._quality(self._fit(separate))},
            {"defence": "popularity", METRIC: self._quality(self._fit(Popularity()))},
        ]
        more = {"settings": plain.changed(), "seed": self.plan.seed, "clip": clip, "metric": METRIC}
        about = _about(recording, self.victim, more)
        return {"about": about, "findings": findings, "utility": utility, "guarantees": guarantees}

    def _recorded(self, defence: str, method: CDIMF) -> tuple[Recording, float]:
        folder = self.folder / defence.replace(" ", "-").replace("∞", "inf").replace("ε", "epsilon")
        fitted = fit_recorded(method, self.holdout.history, folder, self._options)
        return Recording.read(folder), self._quality(fitted)

    def _fit(self, method: Method) -> Fitted:
        return method.fit(self.holdout.history, self._options)

    @property
    def _options(self) -> FitOptions:
        options = FitOptions(seed=self.plan.seed)
        return options if self.threads is None else replace(options, threads=self.threads)

    def _quality(self, fitted: Fitted) -> float:
        return float(evaluate(fitted, self.holdout, threads=self.threads).means(METRIC)[self.victim])

    def _findings(self, defence: str, recording: Recording, masked: bool = False) -> list[Record]:
        return findings(recording, self.holdout, self.victim, defence, masked, self.plan.seed)


def findings(
    recording: Recording, holdout: Holdout, victim: str, defence: str, masked: bool = False, seed: int = 0
) -> list[Record]:
    """All attacks of every role on the victim's history; ``error``: of its rows, where they are recorded."""
    events, made = holdout.history[victim], []
    has_rows = recording.rounds[victim][0].own_MF is not None
    for role, attacker in attackers(recording, victim).items():
        seen = view(recording, victim, attacker, masked)
        about = {"defence": defence, "role": role, "by": attacker if role == PARTY else role}
        error = row_error(recording, victim, seen) if has_rows else None
        made += [{**about, **record, "error": error} for record in attack(seen, events, seed)]
    return made


def _private(method: CDIMF, epsilon: float, delta: float, clip: float) -> CDIMF:
    """The method with one round per epoch: every round costs privacy."""
    private = method.with_settings({"admm.inner_sweeps": 1})
    return replace(private, privacy=Privacy.calibrated(epsilon, delta, private.rounds, clip))


def _median_norm(recording: Recording, victim: str) -> float:
    norms = [np.linalg.norm(each.sent_MF, axis=1) for each in recording.rounds[victim]]
    return float(np.median(np.concatenate(norms)))
