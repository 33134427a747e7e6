"""The guard against negative transfer: choose on validation data which model serves which users.

Members are fitted on the training part, blends of them are evaluated on the validation part
(:mod:`landbridge.selection.blend`), and every domain and activity group takes the rule with the best
estimate. A domain gives up its own best single-domain model only if what it gains by that over its validation
pairs is above a small loss with 95 % confidence,

    mean_t (v_t,chosen - v_t,b) - 1.645 se > -0.01 mean_t v_tb                                         (1)

with b the single-domain model that is best over the whole domain. Where the domain as a whole does not pass,
a group still takes a rule that passes by itself, with its estimate and standard error in (1), and else b. An
activity group without any validation pair borrows the decision of the nearest group that has some. The
members are then fitted again on the history of the test data; the weights stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.types import Float64, Int64, Record, Values
from landbridge.data.activity import ACTIVITY
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import POPULARITY, SINGLE_DOMAIN, BlendModel, Mixture
from landbridge.models.popularity import Popularity
from landbridge.selection import blend
from landbridge.selection.calibration import calibrated
from landbridge.selection.pool import build_pool
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl

ONE_SIDED = 1.645  # standard errors of a one-sided 95 % bound
ALLOWED_LOSS = 0.01  # of the simple model's metric
SIMPLE = (POPULARITY, SINGLE_DOMAIN)
SHOWN = 3  # members of a blend that the table of decisions names; the manifest has all


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
    fitted: Mapping[str, Fitted] = MappingProxyType({}),
) -> BlendModel:
    """Decide the weights on validation data and fit the members that have one on the test history.

    Arguments as of :func:`decided`. The decisions are the log of the result.
    """
    mixture, decisions = decided(methods, split, options, metric, simple, fitted)
    blended = mixture.fit(split.test.history, options.within("fit"))
    return replace(blended, log=tuple(asdict(decision) for decision in decisions))


def decided(
    methods: Mapping[str, Method],
    split: Split,
    options: FitOptions,
    metric: str = "ndcg@10",
    simple: Sequence[str] = SIMPLE,
    fitted: Mapping[str, Fitted] = MappingProxyType({}),
) -> tuple[Mixture, list[Decision]]:
    """The blend with the weights that hold on validation data, calibrated over domains; and the decisions.

    ``methods``: label -> method; those named in ``simple`` use one domain at a time. ``fitted``: models of
    some of them on ``split.train``, if there are any.
    """
    choosing = options.within("choose")
    members = {
        label: fitted[label] if label in fitted else method.fit(split.train, choosing.within(label))
        for label, method in methods.items()
    }
    decisions = decide(members, split.valid, options, metric, simple)
    mixture = mixture_of(methods, decisions)
    serving = {label: members[label] for label in mixture.members}
    mixture = calibrated(BlendModel(split.train, mixture, (), serving), split.valid, options.seed)
    return mixture, decisions


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
    pool = build_pool(members, valid, metric, options.threads, options.progress, options.seed)
    evidence = _Evidence.of(blend.blend_trials(pool, options.seed), simple, options.seed)
    return [decision for place in range(len(pool.domains)) for decision in _domain_decisions(evidence, place)]


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Shrunken estimates of all cells (C, R), and per simple model the standard errors of the differences
    from it (C, R)."""

    tried: blend.BlendTrials
    sums: blend.CellSums
    estimate_CR: Float64
    errors: Mapping[str, Float64]

    @classmethod
    def of(cls, tried: blend.BlendTrials, simple: Sequence[str], seed: int) -> _Evidence:
        kappa, _ = blend.chosen_kappa(tried, seed)
        sums = blend.CellSums.of(tried.cell_T, tried.value_TR, tried.cells)
        errors = {label: blend.standard_errors(tried, kappa, tried.labels.index(label)) for label in simple}
        return cls(tried, sums, blend.estimates(sums, kappa), errors)

    def best_simple(self, domain: int) -> str:
        """The simple model with the highest mean over the domain's pairs, or by estimates if it has none."""
        cells = slice(domain * len(ACTIVITY), (domain + 1) * len(ACTIVITY))
        # with own pairs the plain mean decides; a domain without any has only the shrunken estimates
        seen = self.sums.count_C[cells].sum() > 0
        value_R = (self.sums.total_CR if seen else self.estimate_CR)[cells].sum(axis=0)
        return max(self.errors, key=lambda label: value_R[self.tried.labels.index(label)])

    def nearest_group(self, group: int) -> int:
        """The nearest activity group of which any domain has validation pairs; of two, the less active."""
        pairs_G = self.sums.count_C.reshape(-1, len(ACTIVITY)).sum(axis=0)
        return min(np.flatnonzero(pairs_G).tolist(), key=lambda other: (abs(other - group), other))

    def passes(self, domain: int, base: int, rule_G: Int64) -> bool:
        """Eq. (1) over all validation pairs of a domain, for the rule of each activity group."""
        own_T = np.flatnonzero(self.tried.domain_T == domain)
        if len(own_T) < 2:
            return False
        value_TR = self.tried.value_TR[own_T].astype(np.float64)
        base_T = value_TR[:, base]
        gain_T = value_TR[np.arange(len(own_T)), rule_G[self.tried.group_T[own_T]]] - base_T
        error = gain_T.std(ddof=1) / np.sqrt(len(own_T))
        return bool(gain_T.mean() - ONE_SIDED * error > -ALLOWED_LOSS * base_T.mean())


def _domain_decisions(evidence: _Evidence, domain: int) -> Iterator[Decision]:
    """One decision per activity group of a domain."""
    simple = evidence.best_simple(domain)
    base = evidence.tried.labels.index(simple)
    source_G = np.array([evidence.nearest_group(group) for group in range(len(ACTIVITY))])
    estimate_GR = evidence.estimate_CR[domain * len(ACTIVITY) + source_G]
    error_GR = evidence.errors[simple][domain * len(ACTIVITY) + source_G]
    lower_GR = estimate_GR - estimate_GR[:, [base]] - ONE_SIDED * error_GR
    sure_GR = lower_GR > -ALLOWED_LOSS * estimate_GR[:, [base]]  # Eq. (1) of a group
    sure_GR[:, base] = True  # the simple model is always allowed, so that there is a choice
    best_G = estimate_GR.argmax(axis=1)
    if not evidence.passes(domain, base, best_G):
        best_G = np.where(sure_GR, estimate_GR, -np.inf).argmax(axis=1)
    for group, rule in enumerate(best_G.tolist()):
        yield Decision(
            evidence.tried.domains[domain],
            list(ACTIVITY)[group],
            int(evidence.sums.count_C[domain * len(ACTIVITY) + group]),
            _weights(evidence.tried, rule, domain * len(ACTIVITY) + int(source_G[group])),
            simple,
            float(estimate_GR[group, rule]),
            float(estimate_GR[group, base]),
            float(lower_GR[group, rule]),
            bool(estimate_GR[group].max() > estimate_GR[group, rule]),
            dict(zip(evidence.tried.labels, estimate_GR[group].tolist(), strict=False)),
        )


def _weights(tried: blend.BlendTrials, rule: int, cell: int) -> dict[str, float]:
    """The members that serve a cell under a rule, and their weights."""
    weight_M = tried.weight_RCM[rule, cell].tolist()
    return {label: round(w, 6) for label, w in zip(tried.labels, weight_M, strict=True) if w > 0}


def decision_table(decisions: Sequence[Values]) -> pl.DataFrame:
    """The decisions as a table: domain, group, pairs, blend and its value, simple model and its value.

    Neighbouring groups that are served alike share a row; values are those of the first of them with pairs.
    """
    import polars as pl

    rows: list[Record] = []
    for each in decisions:
        alike = bool(rows) and (rows[-1]["domain"], rows[-1]["weights"]) == (each["domain"], each["weights"])
        if alike and not rows[-1]["pairs"]:
            rows[-1] |= {name: each[name] for name in ("estimate", "simple_estimate")}
        if alike:
            rows[-1] |= {"last": each["group"], "pairs": rows[-1]["pairs"] + each["pairs"]}
        else:
            rows.append({**each, "first": each["group"], "last": each["group"]})
    return pl.DataFrame(
        {
            "domain": row["domain"],
            "events": _range(row["first"], row["last"]),
            "pairs": row["pairs"],
            "served by": _blend_text(row["weights"]),
            "value": row["estimate"],
            "alone": row["simple"],
            "its value": row["simple_estimate"],
        }
        for row in rows
    )


def _range(first: str, last: str) -> str:
    """Activity groups from one to another: "3-5", "0-10", "11+"."""
    if first == last:
        return first
    low = first.split("-")[0].rstrip("+")
    return f"{low}+" if last.endswith("+") else f"{low}-{last.split('-')[-1]}"


def _blend_text(weights: Mapping[str, float]) -> str:
    """The members with most weight, and how many more there are."""
    ordered = sorted(weights.items(), key=lambda item: -item[1])
    if len(ordered) == 1:
        return ordered[0][0]
    text = " + ".join(f"{weight:.2g} {label}" for label, weight in ordered[:SHOWN])
    return text if len(ordered) <= SHOWN else f"{text} + {len(ordered) - SHOWN} more"
