"""Metrics of ranked targets, exact under ties: the mean over all orders of the tied positions.

A target with ``above`` items strictly better and ``ties`` equal others takes each of the positions
``above + 1 .. above + ties + 1`` with equal probability. Shape letters: T targets, N units (a unit is
one list each: a user, or a single pair), G groups of targets of one unit that tie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.plugins import METRICS, plugins
from landbridge.core.types import AnyArray, Float64

Ints = AnyArray
LONGEST = 18  # digits of a cutoff, which 64 bits hold


@dataclass(frozen=True)
class Metric:
    """A kind of metric with a cutoff (``ndcg@10``), or of the whole ranking: ``auc``, ``mrr``, cutoff 0."""

    kind: str
    cutoff: int

    @classmethod
    def parse(cls, name: str) -> Metric:
        """The metric of a name; raises SettingsError for an unknown kind or a wrong cutoff."""
        kind, at, cutoff = name.partition("@")
        known = _kind(kind)
        if known is None:
            raise SettingsError(unknown("metric", name, _examples()))
        if not known.has_cutoff and at:
            raise SettingsError(f"Metric {kind!r} has no cutoff; write {kind}, not {name!r}.")
        if not at and (known.whole or not known.has_cutoff):
            return cls(kind, 0)
        if not cutoff.isdecimal() or len(cutoff) > LONGEST or int(cutoff) < 1:
            raise SettingsError(f"Metric {name!r} needs a whole cutoff of 1 or more, such as {kind}@10.")
        return cls(kind, int(cutoff))

    def per_unit(
        self, unit_T: Ints, above_T: Ints, ties_T: Ints, candidates_T: Ints | None = None
    ) -> Float64:
        """The metric of every unit, (N,); ``unit_T`` holds each of 0..N-1 at least once.

        ``candidates_T``: how many other items each target was ranked against, for metrics that need it.
        """
        known = _kind(self.kind)
        assert known is not None  # parse made sure
        return known.function(tie_groups(unit_T, above_T, ties_T, candidates_T), self.cutoff)

    def per_pair(self, above_T: Ints, ties_T: Ints, candidates_T: Ints | None = None) -> Float64:
        """The metric of every target evaluated alone, (T,); ``candidates_T`` as in ``per_unit``."""
        return self.per_unit(np.arange(len(above_T)), above_T, ties_T, candidates_T)


class TieGroups(NamedTuple):
    """What a metric is computed from: targets of one unit with equal scores are one group.

    Sorted by unit, then by position. All arrays are (G,) but ``targets_N``, the targets per unit.
    """

    unit_G: Ints
    above_G: Ints
    size_G: Ints  # items that tie, the targets among them included
    targets_G: Ints  # how many of these are targets
    before_G: Ints  # targets of the unit in better groups
    targets_N: Ints
    candidates_G: Ints | None  # other items that a target of the group was ranked against, where known


MetricFunction = Callable[[TieGroups, int], Float64]  # groups and cutoff -> the value of every unit, (N,)


class MetricKind(NamedTuple):
    """A metric without its cutoff: what a plug-in of ``landbridge.metrics`` gives, under the entry point's
    name. ``has_cutoff``: it is named ``kind@K``; ``whole``: it may also be of the whole ranking, ``kind``."""

    function: MetricFunction
    has_cutoff: bool = True
    whole: bool = False


def register_metric(kind: str, function: MetricFunction, *, has_cutoff: bool = True) -> None:
    """Make a metric known under a name: ``kind@K`` or, without a cutoff, ``kind``.

    ``function`` gets the tied groups of targets and the cutoff, and returns the value of every unit, (N,);
    :func:`expected_gain` and :func:`sum_per_unit` help. Raises SettingsError for a name that is taken.
    """
    if kind in _KINDS:
        raise SettingsError(f"There is already a metric {kind!r}; choose another name.")
    _KINDS[kind] = MetricKind(function, has_cutoff)


def of_ranks(value: Callable[[Float64], Float64]) -> MetricFunction:
    """A metric by a function of ranks: the mean over a list's targets of ``value`` at their positions.

    ``value`` takes the positions 1, 2, ..., (K,), and gives the value of each, (K,); behind the cutoff it is
    0. Tied targets get its mean over all positions that they may take.
    """

    def function(groups: TieGroups, cutoff: int) -> Float64:
        last = int((groups.above_G + groups.size_G).max(initial=0))
        value_K = np.asarray(value(np.arange(1.0, (min(cutoff, last) if cutoff else last) + 1)), np.float64)
        return expected_gain(groups, value_K) / groups.targets_N

    return function


def _kind(name: str) -> MetricKind | None:
    if name in _KINDS:
        return _KINDS[name]
    plugin = plugins(METRICS).get(name)
    if plugin is None:
        return None
    found = plugin.load()
    if not isinstance(found, MetricKind):
        raise plugin.error("is no MetricKind")
    return found


def _examples() -> list[str]:
    own = [f"{kind}@10" if _KINDS[kind].has_cutoff else kind for kind in _KINDS]
    return own + [name for name in plugins(METRICS) if name not in _KINDS]


def tie_groups(unit_T: Ints, above_T: Ints, ties_T: Ints, candidates_T: Ints | None = None) -> TieGroups:
    """The groups of tied targets of every unit."""
    order = np.lexsort((above_T, unit_T))
    unit_T, above_T = unit_T[order], above_T[order]
    new_T = np.ones(len(order), bool)
    # equal ``above`` within a unit means equal scores: these targets tie
    new_T[1:] = (unit_T[1:] != unit_T[:-1]) | (above_T[1:] != above_T[:-1])
    first_G = np.flatnonzero(new_T)
    unit_G, targets_N = unit_T[first_G], np.bincount(unit_T)
    unit_start_N = np.cumsum(targets_N) - targets_N
    return TieGroups(
        unit_G,
        above_T[first_G],
        ties_T[order][first_G] + 1,
        np.diff(np.append(first_G, len(order))),
        first_G - unit_start_N[unit_G],
        targets_N,
        None if candidates_T is None else candidates_T[order][first_G],
    )


def _hr(groups: TieGroups, cutoff: int) -> Float64:
    """Whether any target is listed."""
    return _first_hit(groups, np.ones(_places(groups, cutoff)))


def _mrr(groups: TieGroups, cutoff: int) -> Float64:
    """One over the position of the best target, in the whole ranking where ``cutoff`` is 0."""
    if not cutoff:
        return _whole_mrr(groups)
    return _first_hit(groups, 1.0 / np.arange(1, _places(groups, cutoff) + 1))


def _recall(groups: TieGroups, cutoff: int) -> Float64:
    """Share of the targets that are listed."""
    return expected_gain(groups, np.ones(_places(groups, cutoff))) / groups.targets_N


def _precision(groups: TieGroups, cutoff: int) -> Float64:
    """Share of the list that are targets."""
    return expected_gain(groups, np.ones(_places(groups, cutoff))) / cutoff


def _ndcg(groups: TieGroups, cutoff: int) -> Float64:
    """Discounted gain against that of a list which starts with all the targets."""
    places = _places(groups, cutoff)
    gain_K = 1.0 / np.log2(np.arange(2, places + 2))
    # the ideal list starts with all targets, at most as many as it has positions
    return expected_gain(groups, gain_K) / _cumulative(gain_K)[np.minimum(groups.targets_N, places)]


def _map(groups: TieGroups, cutoff: int) -> Float64:
    """Precision at each listed target, summed and divided by all targets (as trec_eval's map_cut).

    A target at position above + j has before + 1 targets up to itself, and each of the t - 1 that tie
    with it is ahead with probability (j - 1) / (m - 1).
    """
    places = _places(groups, cutoff)
    start_G = np.minimum(groups.above_G, places)
    end_G = np.minimum(groups.above_G + groups.size_G, places)
    harmonic = _cumulative(1.0 / np.arange(1, places + 1))
    inverse_G = harmonic[end_G] - harmonic[start_G]  # Σ 1 / (above + j)
    ahead_G = (end_G - start_G) - (groups.above_G + 1) * inverse_G  # Σ (j - 1) / (above + j)
    # a group of one item has no rivals; the bound avoids 0/0
    rivals_G = (groups.targets_G - 1) / np.maximum(groups.size_G - 1, 1)
    precision_G = ((groups.before_G + 1) * inverse_G + rivals_G * ahead_G) / groups.size_G
    return sum_per_unit(groups, precision_G * groups.targets_G) / groups.targets_N


def _auc(groups: TieGroups, cutoff: int) -> Float64:
    """Probability that a target scores higher than a random other candidate; a tie counts one half."""
    if groups.candidates_G is None:
        raise SettingsError("auc needs the number of candidates, which is unknown here; choose another.")
    others_G = np.maximum(groups.candidates_G, 1)
    value_G = 1 - (groups.above_G + (groups.size_G - 1) / 2) / others_G
    return sum_per_unit(groups, value_G * groups.targets_G) / groups.targets_N


_KINDS: dict[str, MetricKind] = {
    "auc": MetricKind(_auc, has_cutoff=False),
    "hr": MetricKind(_hr, has_cutoff=True),
    "map": MetricKind(_map, has_cutoff=True),
    "mrr": MetricKind(_mrr, has_cutoff=True, whole=True),
    "ndcg": MetricKind(_ndcg, has_cutoff=True),
    "precision": MetricKind(_precision, has_cutoff=True),
    "recall": MetricKind(_recall, has_cutoff=True),
}


def _places(groups: TieGroups, cutoff: int) -> int:
    """How many positions can matter: behind the last target of any unit nothing is gained, so that a cutoff
    of any size needs no more memory than the catalogue."""
    last = np.maximum(groups.above_G + groups.size_G, groups.targets_N[groups.unit_G])
    return min(cutoff, int(last.max(initial=0)))


def expected_gain(groups: TieGroups, gain_K: Float64) -> Float64:
    """Expected sum of the position gains ``gain_K`` of a unit's targets, (N,).

    Expectations add up under any dependence.
    """
    cumulative = _cumulative(gain_K)
    start_G = np.minimum(groups.above_G, len(gain_K))
    end_G = np.minimum(groups.above_G + groups.size_G, len(gain_K))
    mean_G = (cumulative[end_G] - cumulative[start_G]) / groups.size_G
    return sum_per_unit(groups, mean_G * groups.targets_G)


def _first_hit(groups: TieGroups, gain_K: Float64) -> Float64:
    """Gain at the position of the unit's best target, (N,).

    Of m tied items t are targets: none of the first j is one with probability Π (m - t - i) / (m - i).
    """
    best_N = groups.before_G == 0
    above_N, m_N, t_N = groups.above_G[best_N], groups.size_G[best_N], groups.targets_G[best_N]
    value_N, missed_N = np.zeros(len(m_N)), np.ones(len(m_N))
    # positions behind the cutoff gain nothing
    padded = np.append(gain_K, 0.0)
    for j in range(len(gain_K)):
        still_N = missed_N * np.maximum(m_N - t_N - j, 0) / np.maximum(m_N - j, 1)
        value_N += (missed_N - still_N) * padded[np.minimum(above_N + j, len(gain_K))]
        missed_N = still_N
    return value_N


def _whole_mrr(groups: TieGroups) -> Float64:
    """The expected 1 / position of the unit's best target, (N,), without a cutoff.

    A single target among m tied items has the mean of 1 / (above + j), a difference of digammas; of t targets
    the first is at place j with probability C(m - j, t - 1) / C(m, t).
    """
    from scipy.special import digamma, gammaln

    best_N = groups.before_G == 0
    above_N, m_N, t_N = groups.above_G[best_N], groups.size_G[best_N], groups.targets_G[best_N]
    value_N = (digamma(above_N + m_N + 1.0) - digamma(above_N + 1.0)) / m_N
    value_N = np.where(m_N == 1, 1 / (above_N + 1), value_N)  # most groups: no difference of large numbers
    for n in np.flatnonzero(t_N > 1):
        m, t = float(m_N[n]), float(t_N[n])
        place_J = np.arange(1, m - t + 2)
        log_J = gammaln(m - place_J + 1) - gammaln(t) - gammaln(m - place_J - t + 2)
        log_J -= gammaln(m + 1) - gammaln(t + 1) - gammaln(m - t + 1)
        value_N[n] = np.sum(np.exp(log_J) / (above_N[n] + place_J))
    return np.asarray(value_N, np.float64)


def sum_per_unit(groups: TieGroups, value_G: Float64) -> Float64:
    """The sum of the groups' values in every unit, (N,)."""
    return np.asarray(np.bincount(groups.unit_G, value_G), np.float64)


def _cumulative(gain_K: Float64) -> Float64:
    return np.append(0.0, np.cumsum(gain_K))


def gini(counts_I: npt.ArrayLike) -> float:
    """Inequality of how often items are recommended: 0 all alike, near 1 a few items have it all."""
    counts = np.sort(np.asarray(counts_I, np.float64))
    n, total = len(counts), counts.sum()
    if total == 0:
        return 0.0
    return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * total))
