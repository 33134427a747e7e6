"""Online domain weights from a stream of events, with a few numbers of state per domain.

Every event counts half as much after a half-life h, measured in events or in the unit of ``elapsed``. A batch
of N events, n_d of them in domain d, during which e has elapsed (e = N if h is in events), is treated as if
its events were spread evenly over e:

    m_d ← 2^(-e/h) m_d + n_d a,   a = (1 - 2^(-e/h)) / (ln 2 · e/h),   f_d = m_d / Σ m                 (1)
    t = renormalised(map(ln 1/f), f)                                                                   (2)
    ln w_d ← ln w_d + clip(ln t_d - ln w_d, ± ln(1 + change))                                          (3)

m_d is the decayed count, f_d the current share, t_d the target and w_d the weight; ``map`` and
``renormalised`` are Eqs. (4)-(9) of :mod:`~landbridge.training.weighting.sparsity`. The order of events
within a batch has no effect, and how a stream is cut into batches has little. Dividing by Σ m corrects the
bias at the start. Three guarantees hold for the exponential map:

- Bounded steps: no weight changes by more than a factor 1 + ``change`` per update, and all stay in the
  bounds.
- Convergence after the shares jump from f to f': the influence of f decays as 2^(-e/h). After

      k = ⌈h/N · log2(r / (ε min f'))⌉ + ⌈ln(max/min) / ln(1 + change)⌉,   r = max(1, 2κ - 1)          (4)

  updates of N events with the shares f', every ln w_d is within ε of its new value and stays there, provided
  that no bound acts on the targets by then or that there is no renormalisation. After the first term all
  targets are within ε; the second term is enough to cross the whole range. A random stream adds the noise
  below.
- Noise: for independent events with constant shares, ln f_d has standard deviation √((1 - f_d)/(f_d n)) with
  n = 2h/ln 2 events, and the weights are those of "frequency" in sparsity up to this noise.

Drift detection is separate and changes no weight. Every window of events is compared with the previous one by
the χ² test of homogeneity:

    X² = Σ (n - expected)² / expected,   drift where P(χ² > X²) < alarm                                (5)

With independent events a test gives a false alarm with probability ``alarm``, as far as the χ² approximation
holds; domains with fewer than 5 expected events are pooled for it. Events that come in sessions of one domain
are not independent and cause more alarms. A change that is slow compared with a window is not detected.

Letters: D domains, N events of a batch, C cells of the test (domains, the rare ones pooled).
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

LEAST_EXPECTED = 5.0  # events: the usual limit below which χ² is a poor approximation


@dataclass(frozen=True)
class OnlineWeights:
    """Domain weights that follow a stream of events, Eqs. (1)-(5).

    ``half_life``: h. ``map``: from scores to weights, with the bounds. ``renorm``: whether targets have mean
    1 over the current shares. ``change``: largest relative change of a weight per update. ``window``: least
    number of events in each of the two windows compared. ``alarm``: rate of false alarms per test.

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
        """The state before the stream. ``share_D``: shares known in advance, or all 0 if nothing is known."""
        share_D = np.asarray(share_D, np.float64)
        # h / ln 2 is the limit of Σ m on a long stream: known shares count like a long stream
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
        """The state after a batch.

        ``domain_N``: the domain index of each event, in any order. ``elapsed``: since the previous batch,
        needed where the half-life is not in events. DataError for an index outside the domains.
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
        """Convergence time, Eq. (4): updates until the weights fit new shares.

        ``events``: N, per update. ``least``: the smallest new share. ``near``: ε, the remaining distance of
        ln w. SettingsError for another map than the exponential one.
        """
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
        # expm1: 1 - exp(-rate) would lose all digits where a batch is short against the half-life
        fresh = -expm1(-rate) / rate if rate else 1.0
        return np.asarray(np.exp(-rate) * mass_D + fresh * count_D)  # Eq. (1)

    def _target(self, mass_D: Float64) -> Float64:
        share_D = mass_D / max(mass_D.sum(), np.finfo(float).tiny)
        score_D = -np.log(share_D, out=np.full(len(share_D), np.nan), where=share_D > 0)
        return self.map.weights(score_D, share_D if self.renorm else None)  # Eq. (2)

    def _tested(self, state: State, count_D: Float64) -> State:
        """The state with the counts added to the window, and tested if the window is full."""
        recent_D, reference_D = state["recent_D"] + count_D, state["reference_D"]
        if recent_D.sum() < self.window:
            return {**state, "recent_D": recent_D}
        # the first window has none to be compared with
        chance = homogeneity(reference_D, recent_D) if reference_D.any() else 1.0
        return {
            **state,
            "reference_D": recent_D,
            "recent_D": np.zeros(len(recent_D)),
            "chance_1": np.array([chance]),
            "alarms_1": state["alarms_1"] + (chance < self.alarm),  # Eq. (5)
        }


def homogeneity(one_D: Float64, other_D: Float64) -> float:
    """The p-value of the χ² test of homogeneity, Eq. (5), for the counts of two windows, (D,) each."""
    from scipy.special import chdtrc

    count_2D = np.stack([one_D, other_D])
    expected_2D = np.outer(count_2D.sum(axis=1), count_2D.sum(axis=0)) / count_2D.sum()
    rare_D = expected_2D.min(axis=0) < LEAST_EXPECTED
    count_2C, expected_2C = (
        np.column_stack([table[:, ~rare_D], table[:, rare_D].sum(axis=1)])
        for table in (count_2D, expected_2D)
    )
    # domains without events in both windows, and an empty pool, have no cell in the test
    some_C = expected_2C.min(axis=0) > 0
    gap_2C = count_2C[:, some_C] - expected_2C[:, some_C]
    degrees = int(some_C.sum()) - 1
    return float(chdtrc(degrees, (gap_2C**2 / expected_2C[:, some_C]).sum())) if degrees > 0 else 1.0
