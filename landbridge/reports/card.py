"""The model card of a run, in Markdown: what it was fitted on, how good it is for whom, and where it ends.

Mitchell et al., "Model cards for model reporting", FAccT 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from landbridge.core.energy import Energy
from landbridge.data.splitting.holdout import protocol_name
from landbridge.evaluation.evaluate import Evaluation
from landbridge.models.base import Fitted

if TYPE_CHECKING:
    import polars as pl

SEGMENTS = ("activity", "popularity")


def card(
    fitted: Fitted, evaluation: Evaluation | None, metrics: Iterable[str], energy: Energy, *, deployed: bool
) -> str:
    """The card of a model; ``energy``: of reading, search, fit and evaluation; ``deployed``: fitted again
    on all events after the evaluation."""
    metrics = tuple(metrics)
    parts = [
        f"# Model card: {fitted.method.name}",
        "## Data",
        _table(fitted.history.shape_rows),
        f"{fitted.history.n_users:,} users. Fingerprint `{fitted.history.fingerprint}`.",
        "## Settings",
        _table([{"setting": name, "value": value} for name, value in fitted.method.flat().items()])
        or "The method has none.",
        "## Quality",
        _quality(evaluation, metrics, deployed),
        *_decisions(fitted),
        *_privacy(fitted),
        "## Energy",
        energy.sentence(),
        "## Limits",
        _limits(fitted, evaluation),
    ]
    return "\n\n".join(parts) + "\n"


def _quality(evaluation: Evaluation | None, metrics: tuple[str, ...], deployed: bool) -> str:
    if evaluation is None:
        return "Not evaluated: the run was fitted without a test part."
    lines = [f"Protocol: {protocol_name(evaluation.protocol)}. Means with 95 % intervals over users."]
    if deployed:
        lines.append("Measured before the model was fitted again on all events, the test events included.")
    for by, names in (("domain", metrics), *((by, metrics[:1]) for by in SEGMENTS)):
        lines += [f"By {by}:", _frame(evaluation.summary(names, by))]
    return "\n\n".join(lines)


def _frame(summary: pl.DataFrame) -> str:
    columns = ("domain", "segment", "metric", "mean", "low", "high", "users")
    return _table(summary.select(columns).to_dicts())


def _decisions(fitted: Fitted) -> list[str]:
    from landbridge.selection.guard import decision_table

    if not fitted.decisions:
        return []
    return ["## Which model serves whom", _table(decision_table(fitted.decisions).to_dicts())]


def _privacy(fitted: Fitted) -> list[str]:
    facts = fitted.privacy_facts
    if facts is None:
        return []
    epsilon = "∞: rows were sent without noise" if facts["epsilon"] is None else f"{facts['epsilon']:.3g}"
    return [
        "## Privacy",
        f"Of the rows that were sent: ε = {epsilon}, δ = {facts['delta']:.3g}, over at most "
        f"{facts['rounds']} rounds, with rows clipped to {facts['clip']:.3g} and noise {facts['noise']:.3g}.",
        f"Protected: {facts['unit']}",
        "Not protected:",
        "\n".join(f"- {each}" for each in facts["not_protected"]),
    ]


def _limits(fitted: Fitted, evaluation: Evaluation | None) -> str:
    method = fitted.method
    limits = [
        f"Cold start: {vars(method).get('cold_policy', method.cold_start)}.",
        "Features of items are used."
        if method.uses_features
        else "New items are listed once they have events.",
    ]
    if not fitted.personal:
        limits.append("All users get the same scores.")
    if evaluation is not None and evaluation.sampled:
        limits.append(
            "Targets were ranked against sampled candidates, so figures are higher than of all items."
        )
    limits.append(
        "Offline figures are of past choices, which the lists of that time have influenced; "
        "they are no measure of the effect of new lists."
    )
    return "\n".join(f"- {limit}" for limit in limits)


def _table(rows: list[dict[str, object]]) -> str:
    if not rows:
        return ""
    lines = [tuple(rows[0]), ("---",) * len(rows[0]), *(tuple(map(_cell, row.values())) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(each)}" for key, each in value.items())
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", r"\|").replace("\n", " ")
