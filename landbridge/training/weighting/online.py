"""Weights of sparse domains from events as they come in; what is remembered is a few figures per domain.

Every event counts half as much after a half-life h, in events or in the unit of ``elapsed``. A batch of N
events, n_d of domain d, for which e has elapsed (N if h is in events), is taken as spread evenly over e:

    m_d ← 2^(-e/h) m_d + n_d a,   a = (1 - 2^(-e/h)) / (ln 2 · e/h),   f_d = m_d / Σ m                 (1)
    t = renormalised(map(ln 1/f), f)                                                                   (2)
    ln w_d ← ln w_d + clip(ln t_d - ln w_d, ± ln(1 + change))                                          (3)

so the order within a batch is of no account, and how a stream is cut into batches hardly. The division by Σ m
is the correction of the bias at the start. Three guarantees, for the exponential map:

- Steps: no weight changes by more than a factor 1 + ``change`` in an update, and all stay within the bounds.
- A change of the shares from f to f' at once: what is left of f decays as 2^(-e/h). After

      k = ⌈h/N · log2(r / (ε min f'))⌉ + ⌈ln(high/low) / ln(1 + change)⌉,   r = max(1, 2κ - 1)         (4)

  updates of N events that have the shares f', every ln w_d is within ε of its new place and stays there, if
  no bound acts on the targets by then or there is no renormalisation: after the first term all targets are
  within ε, and the second is enough to cross the whole range. A random stream adds the noise below.
- Independent events of constant shares: ln f_d has deviation √((1 - f_d)/(f_d n)), n = 2h/ln 2 events, and
  weights are those of "frequency" (:mod:`~landbridge.training.weighting.sparsity`) but for this noise.

Whether the shares have changed is tested on its own, and changes nothing. Every window of events is compared
with the one before it by the χ² test of homogeneity:

    X² = Σ (n - expected)² / expected,   drift where P(χ² > X²) < alarm                                (5)

With independent events a test is a false alarm with probability ``alarm``, as far as χ² is right; domains of
fewer than 5 expected events are taken together for that. Events that come in sessions of one domain are not
independent, and alarms are more frequent. A change that is slow against a window is not noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, expm1, log, log1p, log2

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.types import Float64
from landbridge.training.epochs import State
from landbridge.training.weighting.base import LogValues, within
from landbridge.training.weighting.sparsity import WeightMap

LEAST_EXPECTED = 5.0


@dataclass(frozen=True)
class OnlineWeights:
    """Weights that follow a stream, Eqs. (1)-(5).

    ``half_life``: h. ``map``: from scores to weights, with the bounds. ``renorm``: targets have mean 1 over
    the current shares. ``change``: the largest relative change of a weight in an update. ``window``: events
    in each of two windows compared, at least; ``alarm``: rate of false alarms per test.

    The state is a mapping of arrays, (D,) or (1,); no function changes the one it is given.
    """

    half_life: float = 10_000.0
    map: WeightMap = field(default_factory=WeightMap)
    renorm: bool = True
    change: float = 0.1
    window: int = 2_000
    alarm: float = 1e-3

    def __post_init__(self) -> None:
        for key in ("half_life", "change"):
            if not 0 < getattr(self, key) < np.inf:
                raise SettingsError(f"{key} must be above 0 and finite, not {getattr(self, key)}.")
        if self.window < 1:
            raise SettingsError(f"window must be 1 event or more, not {self.window}.")
        within("alarm", self.alarm, 0, 1)

    def begin(self, share_D: npt.ArrayLike) -> State:
        """The state before the stream: shares known in advance, as if from a long stream, or all 0."""
        share_D = np.asarray(share_D, np.float64)
        mass_D = share_D / max(share_D.sum(), np.finfo(float).tiny) * self.half_life / log(2)
        none_D = np.zeros(len(share_D))
        return {
            "mass_D": mass_D,
            "weight_D": self._target(mass_D),
            "reference_D": none_D,
            "recent_D": none_D,
            "chance_1": np.ones(1),
            "alarms_1": np.zeros(1, np.int64),
        }

    def seen(self, state: State, domain_N: npt.ArrayLike, elapsed: float | None = None) -> State:
        """After a batch: the place of each event's domain, (N,), in any order.

        ``elapsed``: what has gone by since the last batch, where the half-life is not in events.
        DataError for a place that is none.
        """
        domain_N, number = np.asarray(domain_N, np.int64), len(state["mass_D"])
        if domain_N.size and not 0 <= domain_N.min() <= domain_N.max() < number:
            raise DataError(f"Domain indices must be between 0 and {number - 1}.")
        if not domain_N.size:
            return state
        count_D = np.bincount(domain_N, minlength=number).astype(np.float64)
        mass_D = self._decayed(state["mass_D"], count_D, len(domain_N) if elapsed is None else elapsed)
        gap_D = np.log(self._target(mass_D) / state["weight_D"])
        step_D = np.clip(gap_D, -log1p(self.change), log1p(self.change))
        moved_D = np.clip(
            state["weight_D"] * np.exp(step_D), self.map.min_weight, self.map.max_weight
        )  # Eq. (3)
        return {**self._tested(state, count_D), "mass_D": mass_D, "weight_D": moved_D}

    def weights(self, state: State) -> Float64:
        """The weights now, (D,)."""
        return state["weight_D"]

    def shares(self, state: State) -> Float64:
        """f_d now, (D,); all 0 before the first event."""
        return np.asarray(state["mass_D"] / max(state["mass_D"].sum(), np.finfo(float).tiny))

    def log_values(self, state: State, names: Sequence[str]) -> LogValues:
        """``weight`` and ``share`` by domain, ``chance``, P(χ² > X²) of the last test, and ``alarms``."""
        return {
            "weight": dict(zip(names, state["weight_D"].tolist(), strict=True)),
            "share": dict(zip(names, self.shares(state).tolist(), strict=True)),
            "chance": float(state["chance_1"][0]),
            "alarms": int(state["alarms_1"][0]),
        }

    def lag(self, events: int, least: float, near: float = 0.05) -> int:
        """Eq. (4): updates of so many events after which weights are at most ``near``, ε, from their places
        under new shares of which the smallest is ``least``."""
        if self.map.kind != "exponential" or events < 1 or not (0 < least <= 0.5 and 0 < near <= 1):
            raise SettingsError(
                "lag is known for the exponential map, 1 event or more, a least share above 0 and at most "
                "1/2, and near above 0 and at most 1."
            )
        reach = max(1.0, 2 * self.map.kappa - 1) / (near * least)
        crossing = log(self.map.max_weight / self.map.min_weight) / log1p(self.change)
        return ceil(self.half_life / events * log2(reach)) + ceil(crossing)  # Eq. (4)

    def _decayed(self, mass_D: Float64, count_D: Float64, elapsed: float) -> Float64:
        if not 0 <= elapsed < np.inf:
            raise DataError(f"elapsed must be 0 or more and finite, not {elapsed}.")
        rate = log(2) * elapsed / self.half_life
        fresh = -expm1(-rate) / rate if rate else 1.0
        return np.asarray(np.exp(-rate) * mass_D + fresh * count_D)  # Eq. (1)

    def _target(self, mass_D: Float64) -> Float64:
        share_D = mass_D / max(mass_D.sum(), np.finfo(float).tiny)
        score_D = -np.log(share_D, out=np.full(len(share_D), np.nan), where=share_D > 0)
        return self.map.weights(score_D, share_D if self.renorm else None)  # Eq. (2)

    def _tested(self, state: State, count_D: Float64) -> State:
        """With the counts in the window, and the test where it is full."""
        recent_D, reference_D = state["recent_D"] + count_D, state["reference_D"]
        if recent_D.sum() < self.window:
            return {**state, "recent_D": recent_D}
        chance = homogeneity(reference_D, recent_D) if reference_D.any() else 1.0
        return {
            **state,
            "reference_D": recent_D,
            "recent_D": np.zeros(len(recent_D)),
            "chance_1": np.array([chance]),
            "alarms_1": state["alarms_1"] + (chance < self.alarm),  # Eq. (5)
        }


def homogeneity(one_D: Float64, other_D: Float64) -> float:
    """P(χ² > X²), Eq. (5): how often two windows of independent events with the same shares differ more."""
    from scipy.special import chdtrc

    count_2D = np.stack([one_D, other_D])
    expected_2D = np.outer(count_2D.sum(axis=1), count_2D.sum(axis=0)) / count_2D.sum()
    rare_D = expected_2D.min(axis=0) < LEAST_EXPECTED
    count_2C, expected_2C = (
        np.column_stack([table[:, ~rare_D], table[:, rare_D].sum(axis=1)])
        for table in (count_2D, expected_2D)
    )
    some_C = expected_2C.min(axis=0) > 0
    gap_2C = count_2C[:, some_C] - expected_2C[:, some_C]
    degrees = int(some_C.sum()) - 1
    return float(chdtrc(degrees, (gap_2C**2 / expected_2C[:, some_C]).sum())) if degrees > 0 else 1.0
