"""Differential privacy of the rows that a domain sends to a consensus, and its accountant.

Of every user the party sends the row x_u, clipped to the norm C and with Gaussian noise:

    m_u = x_u min(1, C / ‖x_u‖) + N(0, (σC)² I)                                                        (1)

Another history of the user moves a clipped row by 2C at most. R rounds, each of which may depend on what was
sent before, are one Gaussian mechanism of sensitivity over noise

    μ = 2 √R / σ                                                                                       (2)

(Dong, Roth & Su, J. R. Stat. Soc. B 2022, Corollary 2), whose δ at ε is exactly

    δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ)                                                            (3)

(Balle & Wang, ICML 2018, Theorem 8). Nothing is lost to a bound, as it would be with Rényi divergences.

The mean z of D messages has noise of variance v = (σC)² / D per entry. Who receives it knows v, and shrinks
all rows to the smallest expected error (James & Stein, 1961; one factor for all users):

    z ← max(0, 1 - Σ_u F v_u / Σ_u ‖z_u‖²) z                                                           (4)

The guarantee is that of a user's own rows, of one party, over a whole fit. :data:`NOT_PROTECTED` lists what
it does not cover; DPALS (Chien et al., ICML 2021) covers the first entry too, with noise on the equations of
the items.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from landbridge.core.errors import SettingsError
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Float32, Record

UNIT = (
    "all rows of one user that one party sends in a fit; neighbours differ in any of the events of this user "
    "with this party"
)
IN_ONE_PROCESS = (
    "A fit in one process draws its noise from a generator with a known seed: it measures the cost of the "
    "guarantee and gives none. Parties draw noise that no other can repeat."
)
NOT_PROTECTED = (
    "The rows of other users: a user's events also move the party's item embeddings, and so every row.",
    "Maps from features to embeddings, which one process learns from the rows of all domains without noise.",
    "Further fits of the same events: each one spends its own ε.",
    "Who is matched: the parties know which users they have in common.",
    "The party's own model and recommendations, which are computed without noise.",
    "Attacks on the rounding of floating-point noise (Mironov, CCS 2012).",
)


class NormalSource(Protocol):
    """Where noise comes from; a NumPy generator is one."""

    def standard_normal(self, size: tuple[int, ...], dtype: type[np.float32], /) -> Float32:
        """Independent numbers of mean 0 and variance 1."""


LARGEST = 1e6  # the search for μ ends there: δ is then 1 for any sensible ε


@dataclass(frozen=True)
class Guarantee:
    """(ε, δ) of a fit, and what it is about: for the manifest of a run and the page of a model.

    ``epsilon`` is infinite without noise. ``rounds``: the most that a fit with these settings has.
    """

    epsilon: float
    delta: float
    rounds: int
    clip: float
    noise: float
    unit: str = UNIT
    not_protected: tuple[str, ...] = (*NOT_PROTECTED, IN_ONE_PROCESS)

    def as_record(self) -> Record:
        """As JSON has it, which knows no infinity: None."""
        epsilon = self.epsilon if np.isfinite(self.epsilon) else None
        return {**asdict(self), "epsilon": epsilon, "not_protected": list(self.not_protected)}


@dataclass(frozen=True)
class Privacy(Settings):
    """Protection of the rows that a domain sends."""

    clip: float = setting(0.0, "Largest norm of a row that is sent; 0: rows are sent as they are.", low=0)
    noise: float = setting(
        0.0, "Standard deviation of the noise on each entry of a row, in units of clip.", low=0, symbol="σ"
    )
    delta: float = setting(1e-6, "Probability at which ε may fail.", above=0, below=1, symbol="δ")

    def __post_init__(self) -> None:
        """SettingsError for noise on rows of any size, which would guarantee nothing."""
        super().__post_init__()
        if self.noise and not self.clip:
            raise SettingsError("privacy.noise requires privacy.clip: rows of any size need unbounded noise.")

    @property
    def active(self) -> bool:
        """Whether rows are changed before they are sent."""
        return self.clip > 0

    def sent(self, rows_TF: Float32, rng: NormalSource) -> Float32:
        """Eq. (1), (T, F)."""
        clipped_TF = clipped(rows_TF, self.clip)
        if not self.noise:
            return clipped_TF
        return clipped_TF + np.float32(self.noise * self.clip) * rng.standard_normal(
            rows_TF.shape, np.float32
        )

    def shrunk(self, mean_UF: Float32, count_U: Float32) -> Float32:
        """Eq. (4), (U, F), of means of ``count_U`` messages; rows of none are 0."""
        if not self.noise:
            return mean_UF
        energy = float(np.square(mean_UF, dtype=np.float64).sum())
        variance_U = (self.noise * self.clip) ** 2 / np.maximum(count_U, 1)
        expected = mean_UF.shape[1] * float(variance_U[count_U > 0].sum(dtype=np.float64))
        return mean_UF * np.float32(max(0.0, 1 - expected / energy) if energy else 0.0)

    def guarantee(self, rounds: int) -> Guarantee:
        """What this noise guarantees after a number of rounds."""
        epsilon = epsilon_at(self.delta, strength(self.noise, rounds)) if self.noise else np.inf
        return Guarantee(epsilon if rounds else 0.0, self.delta, rounds, self.clip, self.noise)

    @classmethod
    def calibrated(cls, epsilon: float, delta: float, rounds: int, clip: float) -> Privacy:
        """The least noise with this guarantee; none for an infinite ``epsilon``.

        Raises SettingsError for an ε that is not positive.
        """
        if not epsilon > 0:
            raise SettingsError(f"epsilon must be above 0, not {epsilon}.")
        noise = 2 * np.sqrt(rounds) / strength_at(epsilon, delta) if np.isfinite(epsilon) else 0.0
        return cls(clip, float(noise), delta)


def clipped(rows_TF: Float32, clip: float) -> Float32:
    """Every row at its length, or at ``clip`` if that is less, (T, F)."""
    norm_T = np.linalg.norm(rows_TF, axis=1)
    scale_T = np.minimum(np.float32(1), np.float32(clip) / np.maximum(norm_T, np.float32(1e-30)))
    return np.asarray(rows_TF * scale_T[:, None])


def strength(noise: float, rounds: int) -> float:
    """μ, Eq. (2)."""
    return float(2 * np.sqrt(rounds) / noise)


def delta_at(epsilon: float, mu: float) -> float:
    """δ at ε, Eq. (3)."""
    from scipy.special import log_ndtr

    # logarithms: e^ε overflows where Φ underflows
    return float(np.exp(log_ndtr(mu / 2 - epsilon / mu)) - np.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)))


def epsilon_at(delta: float, mu: float) -> float:
    """The least ε whose δ, Eq. (3), is at most ``delta``."""
    from scipy.optimize import brentq

    if mu == 0 or delta_at(0.0, mu) <= delta:
        return 0.0
    # above the least ε: the bound of Bun & Steinke (TCC 2016), Proposition 1.3
    most = mu**2 / 2 + mu * np.sqrt(-2 * np.log(delta))
    return float(brentq(lambda epsilon: delta_at(epsilon, mu) - delta, 0.0, most, xtol=1e-12))


def strength_at(epsilon: float, delta: float) -> float:
    """The largest μ that has (ε, δ): the inverse of :func:`epsilon_at`."""
    from scipy.optimize import brentq

    log_mu = brentq(lambda log: delta_at(epsilon, np.exp(log)) - delta, -20.0, np.log(LARGEST), xtol=1e-13)
    return float(np.exp(log_mu))
