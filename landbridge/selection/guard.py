"""The guard against negative transfer: who is served by which model, decided on validation data.

Members are fitted on the training part, blends of them are ranked on the validation part
(:mod:`landbridge.selection.blend`), and every domain and activity group takes the vector with the best
estimate. A domain leaves its own best simple model (its single-domain twin or popularity) only for a vector
whose difference from it is surely above a small loss:

    e_cw - e_cb - 1.645 se_cw > -0.01 e_cb                                                             (1)

with b the simple model that is best over the whole domain. The members are then fitted again on all that
is known at test time; the weights stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from landbridge.data.activity import ACTIVITY
from landbridge.data.holdout import Holdout, Split
from landbridge.models.base import Fitted, Method
from landbridge.models.ials import IALS
from landbridge.models.mixture import POPULAR, TWIN, Blend, Mixture
from landbridge.models.popularity import Popularity
from landbridge.selection import blend
from landbridge.training.options import FitOptions

ONE_SIDED = 1.645  # 95 % one-sided
ALLOWED_LOSS = 0.01  # of the simple model's figure
SIMPLE = (POPULAR, TWIN)


@dataclass(frozen=True)
class Decision:
    """What serves one domain's activity group, and why.

    ``simple``: the domain's own best simple model; ``estimate``, ``simple_estimate``: shrunken validation
    figures of what serves and of that; ``lower``: the lower bound of their difference; ``protected``: a
    better estimate was refused because it is not sure enough; ``members``: every member's own estimate.
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


def twin_of(method: Method) -> IALS:
    """The single-domain twin: ALS on each domain alone, with the settings that both have."""
    own = asdict(method)
    shared = {entry.name: own[entry.name] for entry in fields(IALS) if entry.name in own}
    return IALS(**(shared | {"sharing": "separate"}))


def guarded(
    methods: Mapping[str, Method],
    split: Split,
    options: FitOptions,
    metric: str = "ndcg@10",
    simple: Sequence[str] = SIMPLE,
) -> Blend:
    """The members that serve somewhere, fitted on all that is known at test time, under decided weights.

    ``methods``: label -> method; those named in ``simple`` know one domain at a time. The decisions are
    the fitted model's log.
    """
    members = _fitted(methods, split.valid, _within(options, "choose"))
    decisions = decide(members, split.valid, options, metric, simple)
    serving = {label for decision in decisions for label in decision.weights}
    kept = {label: method for label, method in methods.items() if label in serving}
    mixture = Mixture(
        {label: {"method": method.name, "settings": asdict(method)} for label, method in kept.items()},
        _weights(decisions),
    )
    fitted = mixture.fit(split.test.known, _within(options, "fit"))
    return replace(fitted, log=tuple(asdict(decision) for decision in decisions))


def with_twin(method: Method, twin: Method | None = None) -> dict[str, Method]:
    """Popularity, the single-domain twin and the method itself."""
    return {POPULAR: Popularity(), TWIN: twin or twin_of(method), method.name: method}


def decide(
    members: Mapping[str, Fitted],
    valid: Holdout,
    options: FitOptions,
    metric: str = "ndcg@10",
    simple: Sequence[str] = SIMPLE,
) -> list[Decision]:
    """One decision per domain and activity group, from members fitted on what ``valid`` knows."""
    tried = blend.trials(members, valid, metric, options.threads, options.progress)
    kappa, _ = blend.chosen_kappa(tried, options.seed)
    sums = blend.Sums.of(tried.cell_T, tried.value_TW, tried.cells)
    estimate_CW = blend.estimates(sums, kappa)
    vectors = {label: tried.only(label) for label in simple}
    errors = {label: blend.standard_errors(tried, kappa, vector) for label, vector in vectors.items()}
    decisions = []
    for place, domain in enumerate(tried.domains):
        cells = slice(place * len(ACTIVITY), (place + 1) * len(ACTIVITY))
        base = _best_simple(sums, cells, vectors, estimate_CW)
        for row, group in enumerate(ACTIVITY):
            cell = cells.start + row
            decisions.append(
                _decided(
                    tried,
                    domain,
                    group,
                    base,
                    int(sums.count_C[cell]),
                    estimate_CW[cell],
                    errors[base][cell],
                )
            )
    return decisions


def _best_simple(
    sums: blend.Sums, cells: slice, vectors: Mapping[str, int], estimate_CW: blend.Float64
) -> str:
    """By the mean over the domain's pairs; where it has none, by the estimates."""
    pairs = sums.count_C[cells].sum()
    figure_W = sums.total_CW[cells].sum(axis=0) if pairs else estimate_CW[cells].mean(axis=0)
    return max(vectors, key=lambda label: figure_W[vectors[label]])


def _decided(
    tried: blend.Trials,
    domain: str,
    group: str,
    base: str,
    pairs: int,
    estimate_W: blend.Float64,
    error_W: blend.Float64,
) -> Decision:
    at_base = float(estimate_W[tried.only(base)])
    lower_W = estimate_W - at_base - ONE_SIDED * error_W
    lower_W[tried.only(base)] = 0.0
    sure_W = lower_W > -ALLOWED_LOSS * at_base  # Eq. (1)
    sure_W[tried.only(base)] = True
    best = int(np.where(sure_W, estimate_W, -np.inf).argmax())
    return Decision(
        domain,
        group,
        pairs,
        {
            label: round(float(w), 6)
            for label, w in zip(tried.labels, tried.weight_WM[best], strict=True)
            if w > 0
        },
        base,
        float(estimate_W[best]),
        at_base,
        float(lower_W[best]),
        bool(estimate_W.max() > estimate_W[best]),
        {label: float(estimate_W[tried.only(label)]) for label in tried.labels},
    )


def _fitted(methods: Mapping[str, Method], valid: Holdout, options: FitOptions) -> dict[str, Fitted]:
    return {label: method.fit(valid.known, _within(options, label)) for label, method in methods.items()}


def _weights(decisions: Sequence[Decision]) -> dict[str, dict[str, dict[str, float]]]:
    weights: dict[str, dict[str, dict[str, float]]] = {}
    for decision in decisions:
        weights.setdefault(decision.domain, {})[decision.group] = dict(decision.weights)
    return weights


def _within(options: FitOptions, phase: str) -> FitOptions:
    checkpoint: Any = None if options.checkpoint is None else options.checkpoint / phase
    return replace(options, checkpoint=checkpoint)
