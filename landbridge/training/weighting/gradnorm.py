"""GradNorm: loss weights that bring the domains' gradient norms at a shared parameter to target values.

Source: Chen et al., ICML 2018, Section 3.2; ADC's balancing as we read it (docs/methods/adc.md). The
gradients are those of the unweighted losses L_d at one shared parameter W. With moving averages of g_d and
L_d, over the D domains seen so far:

    g_d = ‖∇_W L_d‖,   G_d = w_d g_d,   Ḡ = mean G                                                     (1)
    T_d = Ḡ r_d^α / mean r^α                                                                           (2)

r_d is the domain's "complexity", which ADC does not define. Four readings can be chosen:

    A  "rate"   r_d = ℓ_d / mean ℓ,   ℓ_d = L_d / L_d(0)   slow learners get larger gradients          (3)
    B  "data"   r_d = c̄ / c_d,        c_d = ln(1 + N_d)    small domains get larger gradients          (4)
    C  "loss"   r_d = 1                                    equal norms for every α                     (5)
    D  "step"   r_d as in A and w_d = 1; the learning rate of the domain's own parameters is multiplied by

                T_d / G_d,   at least 1/10 and at most 10                                              (6)

In A to C the weights move towards G = T by a step on Σ_d |G_d - T_d|, with T held constant. The derivative
and the two update rules, with step η, are

    ∂/∂w_d = sign(G_d - T_d) g_d                                                                       (7)
    "proximal"   w_d ← w_d - clip(w_d - T_d/g_d, ±η g_d/ḡ)                                             (8)
    "literal"    w_d ← w_d - η sign(G_d - T_d) g_d                                                     (9)
    then         w ← max(w, 1e-4),   w ← w · (sum before) / Σ w,   so that Σ w = D                    (10)

"literal" is the published rule with the published target T_d = Ḡ r_d^α; with ``decay`` 0, which takes the
losses and norms of each batch as they are, and ``order`` "before" it is GradNorm as printed. These targets
do not sum to Σ G, so they cannot all be reached, and the domain with the largest target may get the least.
The steps also scale with the losses: they are tiny where norms are small and overshoot where norms are large.
"proximal" uses reachable targets, measures η in units of the mean norm, and stops at the target instead of
passing it.

Letters: D domains seen so far, P domains with a gradient in the batch. A step needs the gradient of W of
every domain; its cost is that of :mod:`landbridge.training.gradients`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import log
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Float64
from landbridge.training.epochs import State
from landbridge.training.gradients import Losses, gram
from landbridge.training.weighting.base import MAX_LR_FACTOR, LogValues, Weighting, within
from landbridge.training.weighting.gradient_stats import DomainIndex, GradientStats

if TYPE_CHECKING:
    from torch import Tensor

COMPLEXITIES = ("rate", "data", "loss", "step")
RULES = ("proximal", "literal")
ORDERS = ("before", "after")
LEAST_WEIGHT = 1e-4  # above 0: gradients of w_d L_d are divided by w_d
LEAST_LOSS = 1e-8  # ratios of losses need both above 0


@dataclass(frozen=True)
class GradNorm(Weighting):
    """Weights that bring the domains' gradient norms at a shared parameter to their targets, Eqs. (1)-(10).

    ``at``: name of the parameter, usually of the last shared layer. ``alpha`` is α. ``lr`` is η; 0 measures
    the norms without changing weights. ``complexity``: reading A to D of r_d. ``sizes``: N_d, for "data".
    ``own``: the names of each domain's own parameters, for "step". ``start``: L_d(0), or None for the mean
    over a domain's first 20 batches. ``decay``: of the moving averages. ``order``: whether a step takes the
    weights from "before" or "after" Eqs. (8)-(10). ``rule``: "proximal" or "literal".

    A domain that is missing in a batch, or whose loss has no gradient at the parameter, keeps its weight and
    its averages, which still count in the means of Eqs. (1)-(4); the sum of the other domains' weights stays
    the same. A domain that has never had a gradient there has weight 1. Losses should be means over a
    domain's own part of a batch; a loss at or below 0 counts as 1e-8.
    """

    at: str
    alpha: float = 0.5
    lr: float = 0.025
    complexity: str = "rate"
    sizes: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, Collection[str]] = field(default_factory=dict)
    start: float | None = log(2)
    decay: float = 0.9
    order: str = "before"
    rule: str = "proximal"

    def __post_init__(self) -> None:
        for key, valid in (("complexity", COMPLEXITIES), ("order", ORDERS), ("rule", RULES)):
            if getattr(self, key) not in valid:
                raise SettingsError(unknown(key, getattr(self, key), valid))
        for key, below in (("alpha", np.inf), ("lr", np.inf), ("decay", 1)):
            within(key, getattr(self, key), 0, below)
        if self.start is not None and not 0 < self.start < np.inf:
            raise SettingsError(f"start must be above 0 and finite, or None, not {self.start}.")
        if self.complexity == "step" and not self.own:
            raise SettingsError("complexity='step' needs own: the names of each domain's own parameters.")
        for key in ("sizes", "own"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))

    @property
    def gradient_parameter(self) -> str:
        """``at``."""
        return self.at

    def weights(
        self, losses: Losses, parameters: Mapping[str, Tensor], state: State
    ) -> tuple[dict[str, float], State]:
        """Weights that sum to the number of domains; SettingsError where ``at`` is no shared parameter."""
        for name in () if state else (self.at, *(name for names in self.own.values() for name in names)):
            if name not in parameters:
                raise SettingsError(unknown("parameter to balance", name, parameters))
        before, final = GradientStats.of(state), self.order == "before"
        weights = self._weights(before, losses)
        gradients = losses.at(self.at, weights, final)
        if not gradients and not state:
            raise SettingsError(f"No domain's loss depends on {self.at!r}; balance at a shared parameter.")
        domains, gram_PP = gram(gradients)
        if not domains:  # no domain of this batch reaches the parameter: nothing was measured
            return weights, state
        before = before.with_domains(domains)
        index_P = before.indices_of(domains)
        weight_P, loss_P = before.weight_D[index_P], np.array([losses.numbers[domain] for domain in domains])
        # the gradients were taken of w_d L_d; Eq. (1) needs those of L_d
        gram_PP = gram_PP / (weight_P[:, None] * weight_P)
        now = before.observed(index_P, loss_P, gram_PP, self.decay, self.start)
        after = now.with_weights(index_P, self._balanced(now, index_P))
        return weights if final else self._weights(after, losses), after._asdict()

    def lr_factors(self, state: State) -> Mapping[str, float]:
        """Eq. (6) for the parameters in ``own``."""
        if self.complexity != "step" or not state:
            return {}
        factors = self._lr_factors(GradientStats.of(state))
        return {name: factor for domain, factor in factors.items() for name in self.own.get(domain, ())}

    def log_values(self, state: State) -> LogValues:
        """By domain ``weight``, ``relative_loss`` ℓ_d, ``shared_norm`` G_d, ``shared_target`` T_d,
        ``shared_share`` G_d/ΣG and, for "step", ``pace``; by pair ``shared_cosine`` of the gradients; and
        ``off_target``, the mean of |G_d - T_d|/Ḡ.
        """
        if not state:
            return {}
        seen = GradientStats.of(state)
        norm_D, target_D = seen.weight_D * seen.norm_D, self._targets(seen)
        values = {
            "weight": seen.weight_D,
            "relative_loss": _relative(seen),
            "shared_norm": norm_D,
            "shared_target": target_D,
            "shared_share": norm_D / norm_D.sum(),
        }
        return {
            **{name: seen.by_domain(value_D) for name, value_D in values.items()},
            "shared_cosine": seen.cosines(),
            "off_target": float(np.abs(norm_D - target_D).mean() / norm_D.mean()),
            **({"pace": self._lr_factors(seen)} if self.complexity == "step" else {}),
        }

    def _weights(self, seen: GradientStats, losses: Losses) -> dict[str, float]:
        known = seen.by_domain(seen.weight_D)
        return {domain: known.get(domain, 1.0) for domain in losses}

    def _balanced(self, seen: GradientStats, index_P: DomainIndex) -> Float64:
        """Eqs. (7)-(10): the weights of the domains in ``index_P`` after a step, (P,)."""
        weight_P, norm_P = seen.weight_D[index_P], seen.norm_D[index_P]
        if self.complexity == "step":
            return weight_P
        # w - T/g has the sign of G - T, Eq. (7), and is the distance to the weight at which G = T
        gap_P = weight_P - self._targets(seen)[index_P] / norm_P
        if self.rule == "proximal":
            step_P = norm_P * (self.lr * len(seen.norm_D) / seen.norm_D.sum())
            moved_P = weight_P - np.minimum(np.maximum(gap_P, -step_P), step_P)  # Eq. (8)
        else:
            moved_P = weight_P - self.lr * np.sign(gap_P) * norm_P  # Eq. (9)
        moved_P = np.maximum(moved_P, LEAST_WEIGHT)
        balanced_P: Float64 = moved_P * (weight_P.sum() / moved_P.sum())  # Eq. (10)
        return balanced_P

    def _targets(self, seen: GradientStats) -> Float64:
        """T_d, (D,)."""
        ratio_D = self._complexity(seen) ** self.alpha
        total = len(ratio_D) if self.rule == "literal" else ratio_D.sum()
        target_D: Float64 = ratio_D * ((seen.weight_D * seen.norm_D).sum() / total)  # Eqs. (1), (2)
        return target_D

    def _complexity(self, seen: GradientStats) -> Float64:
        """r_d, (D,)."""
        if self.complexity == "loss":
            return np.ones(len(seen.domains))  # Eq. (5)
        if self.complexity == "data":
            for domain in seen.domains:
                if self.sizes.get(domain, 0) <= 0:
                    raise SettingsError(
                        f"complexity='data' needs the number of events of {domain!r} in sizes."
                    )
            scale_D = np.log1p([self.sizes[domain] for domain in seen.domains])
            return scale_D.mean() / scale_D  # type: ignore[no-any-return]  # Eq. (4)
        relative_D = _relative(seen)
        return relative_D * (len(relative_D) / relative_D.sum())  # type: ignore[no-any-return]  # Eq. (3)

    def _lr_factors(self, seen: GradientStats) -> dict[str, float]:
        return seen.by_domain(
            np.clip(self._targets(seen) / seen.norm_D, 1 / MAX_LR_FACTOR, MAX_LR_FACTOR)
        )  # Eq. (6)


def _relative(seen: GradientStats) -> Float64:
    """ℓ_d, (D,)."""
    relative_D: Float64 = np.maximum(seen.loss_D, LEAST_LOSS) / np.maximum(seen.start_D, LEAST_LOSS)
    return relative_D
