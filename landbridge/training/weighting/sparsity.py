"""Sparsity scores of domains and the loss weights that follow from them (DWL).

Source: Mittal et al., arXiv 2510.04375, first algorithm. What is inconsistent in the published Eqs. (1), (2)
and (4), and which readings are possible: docs/methods/dwl-weights.md.

Of N events, V items with events and U users with events, domain d has N_d, V_d and U_d. What belongs to
several domains counts in full in each of these, and in equal parts in the shares f_d, which sum to 1.

    s_d = α ln(N/N_d) + β ln(U/U_d) + γ E_d                                                            (1)
    E_d = 1 - H_d / ln V_d,   H_d the entropy of d's events over its items, in nats                    (2)

    m_d = (s_d - min s) / (max s - min s)                                                              (3)
    "literal"      w_d = clip(m_d, min, max)                                                           (4)
    "affine"       w_d = min + (max - min) m_d                                                         (5)
    "geometric"    w_d = min (max / min)^m_d                                                           (6)
    "exponential"  w_d = exp(κ s_d)                                                                    (7)
    "softmax"      w_d = D exp(s_d / T) / Σ exp(s / T)                                                 (8)

    w_d ← clip(c w_d, min, max)   with c such that   Σ_d f_d w_d = 1                                   (9)

In Eqs. (4)-(6) and (9) min and max are the bounds of the weights. Eq. (9) makes the mean weight of a sample
1, so that weighting does not also change the effective learning rate. Domains with equal scores, and a single
domain, have weight 1 exactly. A domain without events has no score (NaN), has weight 1, and is left out of
all sums.

Letters: D domains, I items of a domain, N events, U users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.core.row_blocks import row_blocks
from landbridge.core.settings import Settings, setting
from landbridge.core.types import Bool, Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions

CountUnit = Literal["events", "items"]
Entropy = Literal["normalised", "items", "users", "none"]
MapKind = Literal["exponential", "literal", "affine", "geometric", "softmax"]
COUNT_UNITS, ENTROPIES, MAPS = get_args(CountUnit), get_args(Entropy), get_args(MapKind)
COMBINE = ("max", "mean", "product")
ALIKE = 1e-12  # a smaller relative difference is rounding
MAX_LOG_RATIO = 300.0  # of two weights: exp(300) is far from overflow in float64
BISECTION_STEPS = 64  # more than the 53 bits of a float64, so the interval ends at neighbouring numbers


@dataclass(frozen=True, eq=False)
class DomainCounts:
    """Event, item and user counts per domain for Eqs. (1), (2) and (9); arrays in the order of ``names``,
    (D,).

    ``events_D`` N_d, ``items_D`` V_d and ``users_D`` U_d, out of ``n_events``, ``n_items`` and ``n_users``;
    ``share_D``: f_d; ``item_entropy_D`` and ``user_entropy_D``: of the domain's events over its items and
    over its users, in nats, 0 without events. Weights of events are ignored.
    """

    names: tuple[str, ...]
    events_D: Float64
    items_D: Float64
    users_D: Float64
    n_events: float
    n_items: float
    n_users: float
    share_D: Float64
    item_entropy_D: Float64
    user_entropy_D: Float64

    @classmethod
    def of(cls, data: MultiDomain, since: int | None = None, until: int | None = None) -> DomainCounts:
        """Count all events, or those with ``since`` <= time <= ``until``, in seconds.

        ``data.memberships`` gives the further domains of items. DataError if times are needed and missing.
        """
        tables = {name: _between(name, events, since, until) for name, events in data.domains.items()}
        belongs = {name: memberships_of(data, name) for name in data.domain_names}
        count = {name: events.item_counts.astype(np.float64) for name, events in tables.items()}
        activity_UD = np.zeros((data.n_users, len(data.domain_names)))
        for name in data.domain_names:
            activity_UD += _activity(tables[name], belongs[name])
        events_D, logs_D, items_D, part_D = np.sum(
            [_sums(count[name], belongs[name]) for name in data.domain_names], axis=0
        )
        n_events = float(sum(count_I.sum() for count_I in count.values()))
        return cls(
            data.domain_names,
            events_D,
            items_D,
            (activity_UD > 0).sum(axis=0).astype(np.float64),
            n_events,
            float(sum((count_I > 0).sum() for count_I in count.values())),
            float((activity_UD > 0).any(axis=1).sum()),
            part_D / max(n_events, 1.0),
            _entropy(events_D, logs_D),
            _entropy(events_D, _log_terms(activity_UD).sum(axis=0)),
        )


@dataclass(frozen=True)
class SparsityScore(Settings):
    """The score of Eq. (1)."""

    alpha: float = setting(1.0, "Weight of the rarity of events.", low=0, symbol="α")
    beta: float = setting(0.6, "Weight of the rarity of users.", low=0, symbol="β")
    gamma: float = setting(0.2, "Weight of the entropy term.", low=0, symbol="γ")
    count_unit: CountUnit = setting("events", "What N_d and N count.")
    entropy: Entropy = setting("normalised", "E_d: Eq. (2), H_d itself over items or over users, or 0.")
    standardise: bool = setting(
        False, "Whether each of the three terms gets mean 0 and deviation 1 over the domains first."
    )

    def score(self, counts: DomainCounts) -> Float64:
        """s_d, (D,); NaN for a domain without events."""
        here_D = counts.events_D > 0
        number_D, number = counts.events_D, counts.n_events
        if self.count_unit == "items":
            number_D, number = counts.items_D, counts.n_items
        rare_D = np.log(number / number_D[here_D])
        apart_D = np.log(counts.n_users / counts.users_D[here_D])
        terms_3D = np.stack([rare_D, apart_D, self._unevenness(counts)[here_D]])
        if self.standardise and here_D.any():
            terms_3D = _standardised(terms_3D)
        score_D = np.full(len(here_D), np.nan)
        score_D[here_D] = np.array([self.alpha, self.beta, self.gamma]) @ terms_3D  # Eq. (1)
        return score_D

    def _unevenness(self, counts: DomainCounts) -> Float64:
        """E_d, (D,); 0 for a domain with one item, where Eq. (2) is 0/0."""
        if self.entropy == "items":
            return counts.item_entropy_D
        if self.entropy == "users":
            return counts.user_entropy_D
        if self.entropy == "none":
            return np.zeros(len(counts.names))
        most_D = np.log(np.maximum(counts.items_D, 2))
        return np.where(counts.items_D > 1, 1 - counts.item_entropy_D / most_D, 0.0)  # Eq. (2)


METRICS: Mapping[str, SparsityScore] = MappingProxyType(
    {
        "hybrid": SparsityScore(),
        "frequency": SparsityScore(1.0, 0.0, 0.0),
        "users": SparsityScore(0.0, 1.0, 0.0),
        "entropy": SparsityScore(0.0, 0.0, 1.0),
    }
)
"""Name -> a score that uses only this one term; "hybrid" uses all three."""


@dataclass(frozen=True)
class WeightMap(Settings):
    """From sparsity scores to weights; the bounds must enclose 1."""

    kind: MapKind = setting("exponential", "Which of Eqs. (4) to (8) makes weights of scores.")
    min_weight: float = setting(0.2, "Smallest weight.", above=0, high=1)
    max_weight: float = setting(5.0, "Largest weight.", low=1)
    kappa: float = setting(0.5, "Growth of the exponential map, Eq. (7).", low=0, symbol="κ")
    temperature: float = setting(1.0, "Temperature of the softmax map, Eq. (8).", above=0, symbol="T")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest weight."""
        return self.min_weight, self.max_weight

    def raw(self, score_D: Float64) -> Float64:
        """Eqs. (4)-(8), (D,), "exponential" and "softmax" without bounds; 1 where the score is NaN."""
        weight_D = np.ones(len(score_D))
        here_D = ~np.isnan(score_D)
        # equal scores: min-max would be 0/0
        if here_D.any() and not alike(score_D[here_D]):
            weight_D[here_D] = self._mapped(score_D[here_D])
        return weight_D

    def weights(self, score_D: Float64, share_D: Float64 | None = None) -> Float64:
        """Weights within the bounds, (D,); with ``share_D``, f_d, of mean 1 over the shares, Eq. (9)."""
        raw_D = self.raw(score_D)
        if share_D is None:
            return np.clip(raw_D, self.min_weight, self.max_weight)
        return renormalised(raw_D, share_D, self.min_weight, self.max_weight)

    def _mapped(self, score_D: Float64) -> Float64:
        if self.kind == "exponential":
            return np.exp(np.clip(self.kappa * score_D, -MAX_LOG_RATIO / 2, MAX_LOG_RATIO / 2))  # Eq. (7)
        if self.kind == "softmax":
            share_D = np.exp(np.maximum((score_D - score_D.max()) / self.temperature, -MAX_LOG_RATIO))
            return np.asarray(len(score_D) * share_D / share_D.sum())  # Eq. (8)
        rank_D: Float64 = (score_D - score_D.min()) / np.ptp(score_D)  # Eq. (3)
        if self.kind == "literal":
            return np.clip(rank_D, self.min_weight, self.max_weight)  # Eq. (4)
        if self.kind == "affine":
            return self.min_weight + (self.max_weight - self.min_weight) * rank_D  # Eq. (5)
        return np.asarray(self.min_weight * (self.max_weight / self.min_weight) ** rank_D)  # Eq. (6)


def renormalised(weight_D: npt.ArrayLike, share_D: npt.ArrayLike, low: float, high: float) -> Float64:
    """Weights scaled and clipped to mean 1, Eq. (9), (D,).

    ``weight_D``: positive and finite; ``share_D``: 0 or more, with any sum; ``low`` <= 1 <= ``high``, so that
    a solution exists. Equal weights become exactly 1. A weight with share 0 becomes 1 and is left out of the
    sum. D may also be a number of items. SettingsError for weights or bounds outside these ranges.
    """
    check_bounds(low, high)
    weight_D, share_D = np.asarray(weight_D, np.float64), np.asarray(share_D, np.float64)
    if not bool(np.all((weight_D > 0) & (weight_D < np.inf))):
        raise SettingsError("Weights must be positive and finite so that they can be normalised to mean 1.")
    here_D, out_D = share_D > 0, np.ones(len(weight_D))
    log_D = np.log(weight_D[here_D])
    if not here_D.any() or alike(log_D):
        return out_D
    part_D = share_D[here_D] / share_D.sum()
    # The clipped mean is monotone in c but has kinks, so ln c is bisected. At these ends all weights lie at
    # one bound, with means low <= 1 and high >= 1: the solution lies between.
    lower, upper = np.log(low) - log_D.max(), np.log(high) - log_D.min()
    for _ in range(BISECTION_STEPS):
        middle = (lower + upper) / 2
        too_low = part_D @ np.clip(np.exp(middle + log_D), low, high) < 1
        lower, upper = (middle, upper) if too_low else (lower, middle)
    out_D[here_D] = np.clip(np.exp(upper + log_D), low, high)  # Eq. (9)
    return out_D


def item_weights(weight_D: npt.ArrayLike, belongs_ID: Bool, combine: str = "max") -> Float64:
    """Weights of items that may belong to several domains, (I,); 1 for an item of no domain.

    ``combine``: "max" takes the largest weight; "mean" keeps the mean of Eq. (9) over events exactly;
    "product" may leave the bounds. SettingsError for another word.
    """
    if combine not in COMBINE:
        raise SettingsError(unknown("combine", combine, COMBINE))
    weight_D = np.asarray(weight_D, np.float64)
    number_I = belongs_ID.sum(axis=1)
    if combine == "product":
        return np.asarray(np.where(belongs_ID, weight_D, 1.0).prod(axis=1))
    if combine == "mean":
        weight_I = belongs_ID @ weight_D / np.maximum(number_I, 1)
    else:
        weight_I = np.where(belongs_ID, weight_D, -np.inf).max(axis=1)
    return np.where(number_I > 0, weight_I, 1.0)


def check_bounds(low: float, high: float) -> None:
    """Raise SettingsError unless weights within the bounds can have mean 1."""
    if not 0 < low <= 1 <= high < np.inf:
        raise SettingsError(
            f"low must be above 0 and at most 1 and high 1 or more and finite, so that weights can have "
            f"mean 1, not {low} and {high}."
        )


def alike(value_D: Float64) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(np.ptp(value_D) <= ALIKE * max(1.0, np.abs(value_D).max()))


def _standardised(terms_3D: Float64) -> Float64:
    spread_31 = terms_3D.std(axis=1, keepdims=True)
    centred_3D = terms_3D - terms_3D.mean(axis=1, keepdims=True)
    return np.asarray(np.divide(centred_3D, spread_31, out=0 * centred_3D, where=spread_31 > ALIKE))


def _between(name: str, events: Interactions, since: int | None, until: int | None) -> Interactions:
    if since is None and until is None:
        return events
    if events.time is None:
        raise DataError(f"The events of domain {name!r} have no times: count all of them, or give times.")
    time_N, limits = events.time, np.iinfo(np.int64)
    first, last = limits.min if since is None else since, limits.max if until is None else until
    return events.where(lambda block: (time_N[block] >= first) & (time_N[block] <= last))


def memberships_of(data: MultiDomain, name: str) -> Bool:
    """The domains of each item, its own always included, (I, D)."""
    belongs_ID = np.zeros((len(data.items[name]), len(data.domain_names)), bool)
    if name in data.memberships:
        belongs_ID |= data.memberships[name]
    belongs_ID[:, data.domain_names.index(name)] = True
    return belongs_ID


def _activity(events: Interactions, belongs_ID: Bool) -> Float64:
    """Number of events of each user with items of each domain, (U, D)."""
    from scipy.sparse import csr_array

    parts = []
    for users in row_blocks(events.by_user.offsets):
        rows = events.by_user.block(users)
        entries = np.ones(len(rows.columns)), rows.columns, rows.offsets
        parts.append(csr_array(entries, (len(rows), events.n_items)) @ belongs_ID.astype(np.float64))
    return np.concatenate(parts)


def _sums(count_I: Float64, belongs_ID: Bool) -> Float64:
    """Per domain: events, Σ n_i ln n_i, items with events, events divided among an item's domains, (4, D)."""
    part_I = count_I / belongs_ID.sum(axis=1)
    return np.asarray(np.stack([count_I, _log_terms(count_I), count_I > 0, part_I]) @ belongs_ID)


def _log_terms(count: Float64) -> Float64:
    return np.asarray(count * np.log(np.maximum(count, 1)))


def _entropy(total_D: Float64, logs_D: Float64) -> Float64:
    """Entropy ln n - Σ n_i ln n_i / n, (D,); 0 without events."""
    some_D = np.maximum(total_D, 1)
    # rounding can leave a tiny negative number where all events are on one item
    return np.maximum(np.log(some_D) - logs_D / some_D, 0.0)
