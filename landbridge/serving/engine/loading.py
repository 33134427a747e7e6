"""Load the model of a run folder with checks for damage and forgery."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

from landbridge import store
from landbridge.core.errors import as_store_error
from landbridge.core.types import Record, Values
from landbridge.evaluation.evaluate import Evaluation
from landbridge.models.base import Fitted

EVALUATION, BASELINE = "evaluation", "baseline"  # roles of the files attached to a run
METRICS = ("ndcg@10", "hr@10")


def load_model(
    folder: Path, manifest: Values, load: Callable[[Path], Fitted]
) -> tuple[Fitted, datetime, Record | None]:
    """The model of a run folder whose lock is held, as ``load`` reads it, when it was made, and its metrics
    on the test part if it was evaluated."""
    with as_store_error(f"The run {folder} cannot be served"):
        fitted, created = load(folder), datetime.fromisoformat(manifest["created"]).astimezone(UTC)
        fitted.check_arrays()
        return fitted, created, _quality(folder, manifest["files"])


def _quality(folder: Path, attached: Collection[str]) -> Record | None:
    """The metrics on the test part, and those of the single-domain baseline where one was evaluated."""
    if EVALUATION not in attached:
        return None
    evaluation = Evaluation.read(store.attached(folder, EVALUATION))
    quality: Record = {"protocol": evaluation.protocol, **_means(evaluation)}
    if BASELINE in attached:
        baseline = Evaluation.read(store.attached(folder, BASELINE))
        quality["single_domain"] = {**_means(baseline), "models": baseline.models}
    return quality


def _means(evaluation: Evaluation) -> Record:
    return {metric: evaluation.means(metric) for metric in METRICS}
