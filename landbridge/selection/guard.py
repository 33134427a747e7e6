"""The guard against negative transfer: choose on validation data which model serves which users.

Members are fitted on the training part, blends of them are ranked on the validation part
(:mod:`landbridge.selection.blend`), and every domain and activity group takes the vector with the best
estimate. A domain gives up its own best simple model (single-domain baseline or popularity) only for a vector
whose gain over it is above a small loss with 95 % confidence:

    e_cw - e_cb - 1.645 se_cw > -0.01 e_cb                                                             (1)

with b the simple model that is best over the whole domain. An activity group of which no domain has a
validation pair stays with b. The members are then fitted again on the history of the
test data; the weights stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Float64, Values
from landbridge.data.activity import ACTIVITY
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import POPULARITY, SINGLE_DOMAIN, BlendModel, Mixture
from landbridge.models.popularity import Popularity
from landbridge.selection import blend
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl

ONE_SIDED = 1.645  # standard errors of a one-sided 95 % bound
ALLOWED_LOSS = 0.01  # of the simple model's metric
SIMPLE = (POPULARITY, SINGLE_DOMAIN)


@dataclass(frozen=True)
class Decision:
    """The chosen blend of one domain's activity group, with the estimates behind the decision.

    ``simple``: the domain's own best simple model; ``estimate``, ``simple_estimate``: shrunken validation
    metric of the blend and of ``simple``; ``lower``: the lower bound of their difference; ``protected``: a
    higher estimate was refused because it is not significant; ``members``: every member's own estimate.
    """

    domain: str
    group: str
    pairs: int
    weights: Mapping[str, float]
    simple: str
    estimate: float
    simple_estimate: float
    lower: float
    protected: bool
    members: Mapping[str, float]


def single_domain_of(method: Method) -> IALS:
    """The single-domain baseline: ALS on each domain alone, with the settings that both methods have."""
    own = asdict(method)
    # equal settings where both have them, so that the difference is the transfer and not the tuning
    shared = {entry.name: own[entry.name] for entry in fields(IALS) if entry.name in own}
    return IALS(**(shared | {"sharing": "separate"}))


def guard(
    method: Method, split: Split, options: FitOptions | None = None, metric: str = "ndcg@10"
) -> BlendModel:
    """Blend the method with its single-domain baseline and popularity, per domain and activity group.

    The weights are chosen by ``metric`` on ``split.valid``; the result is fitted on ``split.test.history``.
    """
    return guarded(with_single_domain(method), split, options or FitOptions(), metric)


def guarded(
    methods: Mapping[str, Method],
    split: Split,
    options: FitOptions,
    metric: str = "ndcg@10",
    simple: Sequence[str] = SIMPLE,
) -> BlendModel:
    """Decide the weights on validation data and fit the members that have one on the test history.

    ``methods``: label -> method; those named in ``simple`` use one domain at a time. The decisions are the
    log of the fitted model.
    """
    choosing = options.within("choose")
    members = {label: m.fit(split.train, choosing.within(label)) for label, m in methods.items()}
    decisions = decide(members, split.valid, options, metric, simple)
    # only members that have a weight somewhere are fitted again
    fitted = mixture_of(methods, decisions).fit(split.test.history, options.within("fit"))
    return replace(fitted, log=tuple(asdict(decision) for decision in decisions))


def mixture_of(methods: Mapping[str, Method], decisions: Sequence[Decision]) -> Mixture:
    """The decisions as a method: the members with a weight somewhere, and the weights."""
    serving = {label for decision in decisions for label in decision.weights}
    members = {
        label: {"method": method.name, "settings": method.flat()}
        for label, method in methods.items()
        if label in serving
    }
    weights: dict[str, dict[str, Mapping[str, float]]] = {}
    for decision in decisions:
        weights.setdefault(decision.domain, {})[decision.group] = decision.weights
    return Mixture(members, weights)


def with_single_domain(method: Method, baseline: Method | None = None) -> dict[str, Method]:
    """Label -> method: popularity, the single-domain baseline, and the method itself if it differs."""
    baseline = baseline or single_domain_of(method)
    simple: dict[str, Method] = {POPULARITY: Popularity(), SINGLE_DOMAIN: baseline}
    return simple if method in simple.values() else simple | {method.name: method}


def decide(
    members: Mapping[str, Fitted],
    valid: Holdout,
    options: FitOptions,
    metric: str = "ndcg@10",
    simple: Sequence[str] = SIMPLE,
) -> list[Decision]:
    """One decision per domain and activity group, from members fitted on ``valid.history``."""
    tried = blend.evaluate_blends(members, valid, metric, options.threads, options.progress)
    evidence = _Evidence.of(tried, simple, options.seed)
    return [
        _decided(evidence, place, row) for place in range(len(tried.domains)) for row in range(len(ACTIVITY))
    ]


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Shrunken estimates of all cells (C, W), and per simple model the standard errors of the differences
    from it (C, W)."""

    tried: blend.BlendTrials
    sums: blend.CellSums
    estimate_CW: Float64
    errors: Mapping[str, Float64]

    @classmethod
    def of(cls, tried: blend.BlendTrials, simple: Sequence[str], seed: int) -> _Evidence:
        kappa, _ = blend.chosen_kappa(tried, seed)
        sums = blend.CellSums.of(tried.cell_T, tried.value_TW, tried.cells)
        errors = {label: blend.standard_errors(tried, kappa, tried.only(label)) for label in simple}
        return cls(tried, sums, blend.estimates(sums, kappa), errors)

    def best_simple(self, domain: int) -> str:
        """The simple model with the highest mean over the domain's pairs, or by estimates if it has none."""
        cells = slice(domain * len(ACTIVITY), (domain + 1) * len(ACTIVITY))
        # with own pairs the plain mean decides; a domain without any has only the shrunken estimates
        seen = self.sums.count_C[cells].sum() > 0
        value_W = (self.sums.total_CW if seen else self.estimate_CW)[cells].sum(axis=0)
        return max(self.errors, key=lambda label: value_W[self.tried.only(label)])

    def has_pairs(self, group: int) -> bool:
        """Whether any domain has validation pairs of this activity group."""
        return bool(self.sums.count_C[group :: len(ACTIVITY)].sum())


def _decided(evidence: _Evidence, domain: int, group: int) -> Decision:
    tried, cell = evidence.tried, domain * len(ACTIVITY) + group
    simple = evidence.best_simple(domain)
    base, estimate_W = tried.only(simple), evidence.estimate_CW[cell]
    lower_W = estimate_W - estimate_W[base] - ONE_SIDED * evidence.errors[simple][cell]
    sure_W = (lower_W > -ALLOWED_LOSS * estimate_W[base]) & evidence.has_pairs(group)  # Eq. (1)
    # the simple model is always allowed, so that there is a choice
    sure_W[base] = True
    best = int(np.where(sure_W, estimate_W, -np.inf).argmax())
    weights = zip(tried.labels, tried.weight_WM[best].tolist(), strict=True)
    return Decision(
        tried.domains[domain],
        list(ACTIVITY)[group],
        int(evidence.sums.count_C[cell]),
        {label: round(weight, 6) for label, weight in weights if weight > 0},
        simple,
        float(estimate_W[best]),
        float(estimate_W[base]),
        float(lower_W[best]),
        bool(estimate_W.max() > estimate_W[best]),
        {label: float(estimate_W[tried.only(label)]) for label in tried.labels},
    )


def decision_table(decisions: Sequence[Values]) -> pl.DataFrame:
    """The decisions as a table: domain, group, pairs, blend and its metric, simple model and its metric."""
    import polars as pl

    return pl.DataFrame(
        {
            "domain": each["domain"],
            "events": each["group"],
            "validation pairs": each["pairs"],
            "served by": " + ".join(
                f"{w:.2g} {label}" if w < 1 else label for label, w in each["weights"].items()
            ),
            "figure": each["estimate"],
            "simple model": each["simple"],
            "its figure": each["simple_estimate"],
        }
        for each in decisions
    )
