"""Intervals and p-values of means, by drawing users, with all their pairs, and seeds with replacement.

With the sums t and the numbers n of pairs of every domain d, seed s and user u, the mean is

    m = mean_d Σ_su t_dsu / Σ_su n_dsu                                                                 (1)

A draw takes U - 1 of the U users and S - 1 of the S seeds (at least one): one less than there are makes the
variance of the drawn means unbiased (Rao & Wu, JASA 1988). A few users hardly know their own spread, so
deviations from m are widened by t_.975(U - 1) / z_.975, Student's quantile over the normal one.           (2)
Interval and p are taken from the same draws: 0 is outside the 95 % interval if and only if p < .05.       (3)
Where 0 is beyond all X draws, p is below 1 / X, too coarse for a table of many rows: there it is the tail of
a normal distribution with the draws' mean and standard deviation.                                         (4)

Shape letters: D domains, S seeds, U users, X draws.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from landbridge.core.types import Float64

LEVEL = 0.05
_CELLS = 1_000_000  # drawn users held at a time


def drawn_means(
    total_DSU: npt.ArrayLike, count_DSU: npt.ArrayLike, draws: int, rng: np.random.Generator
) -> Float64:
    """Means of resampled users and seeds, (X,), in memory that does not grow with ``draws``.

    Arrays (U,) are those of one domain and seed.
    """
    total, count = (np.array(table, np.float64, ndmin=3) for table in (total_DSU, count_DSU))
    n_domains, n_seeds, n_users = total.shape
    both = np.concatenate([total, count]).reshape(-1, n_users).T.copy()
    chunk, means = max(1, _CELLS // n_users), []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        # users x draws as counts, so that one matrix product sums all domains and seeds
        users_XU = _times(size, n_users, rng)
        seeds_XS = _times(size, n_seeds, rng)
        sum_X2DS = (users_XU @ both).reshape(size, 2, n_domains, n_seeds)
        sum_X2D = (sum_X2DS * seeds_XS[:, None, None]).sum(axis=3)
        means.append(_over_domains(sum_X2D[:, 0], sum_X2D[:, 1]))
    mean = mean_of(total, count)
    return np.asarray(mean + _widening(n_users) * (np.concatenate(means) - mean))  # Eq. (2)


def mean_of(total_DSU: Float64, count_DSU: Float64) -> float:
    """Eq. (1)."""
    return float(_over_domains(total_DSU.sum(axis=(1, 2)), count_DSU.sum(axis=(1, 2))))


def interval(mean_X: Float64) -> tuple[float, float]:
    """The 95 % interval of drawn means."""
    # the outer of two neighbours, as Eq. (3) counts whole draws
    low = np.quantile(mean_X, LEVEL / 2, method="lower")
    return float(low), float(np.quantile(mean_X, 1 - LEVEL / 2, method="higher"))


def p_value(mean_X: Float64) -> float:
    """Two-sided p of a mean of 0, from drawn means."""
    return min(1.0, 2 * min(one_sided(mean_X), one_sided(-mean_X)))


def one_sided(mean_X: Float64) -> float:
    """p of a mean of 0 or less."""
    from scipy.special import ndtr

    at_most = int((mean_X <= 0).sum())
    p = (1 + at_most) / (1 + len(mean_X))
    if at_most:
        return p
    deviation = float(mean_X.std())
    return min(p, float(ndtr(-mean_X.mean() / deviation))) if deviation else p  # Eq. (4)


def mean_interval(
    total_DSU: npt.ArrayLike, count_DSU: npt.ArrayLike, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The 95 % interval of Eq. (1), of the sums that :func:`drawn_means` takes."""
    return interval(drawn_means(total_DSU, count_DSU, draws, rng))


def _times(size: int, n: int, rng: np.random.Generator) -> Float64:
    """How often each of n is among n - 1 drawn ones, (size, n)."""
    drawn = rng.integers(0, n, (size, max(n - 1, 1))) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _over_domains(total_D: Float64, count_D: Float64) -> Float64:
    """The mean over the last axis of each domain's mean; one without any pair among the drawn has no part."""
    there_D = count_D > 0
    ratio_D = np.divide(total_D, count_D, out=np.zeros_like(total_D), where=there_D)
    return np.asarray(ratio_D.sum(axis=-1) / np.maximum(there_D.sum(axis=-1), 1))


def _widening(n_users: int) -> float:
    """The factor of Eq. (2)."""
    from scipy.special import ndtri, stdtrit

    return float(stdtrit(max(n_users - 1, 1), 1 - LEVEL / 2) / ndtri(1 - LEVEL / 2))
