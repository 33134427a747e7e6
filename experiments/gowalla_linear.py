"""Gowalla, one domain, full ranking: linear models and ALS beside published figures.

Tuned on validation by Recall@20, tested once: local EASE, item-kNN, ALS, and their blend by the guard.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from experiments.common import CELLS, markdown, page, root, settings_text
from landbridge.data.splitting.holdout import Split
from landbridge.datasets.catalog import gowalla
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.search_space import Choice, Real, Space
from landbridge.selection.guard import guarded
from landbridge.selection.search import Budget, tune
from landbridge.training.options import FitOptions

SEED, METRIC, TRIALS = 15, "recall@20", 24
METRICS = ("recall@20", "ndcg@20")
PUBLISHED = {"LightGCN": (0.1824, 0.1547), "EASE": (0.1765, 0.1467), "GF-CF": (0.1849, 0.1518)}
TEXT = (
    f"{TRIALS} trials each on validation by {METRIC}, test once; published figures as listed by the BARS "
    "benchmark. The aim was a Recall@20 of .1849."
)
COMMON: Space = {"user_exponent": Real(0.0, 1.0)}
SPACES: Mapping[str, tuple[Method, Space]] = {
    "EASE, local": (
        EASE(sharing="separate", form="local"),
        {
            "reg": Real(1.0, 300.0, log=True),
            "neighbours": Choice((100, 200, 400)),
            "denoise": Real(0.0, 0.6),
            "max_diagonal": Real(0.0, 0.8),
            **COMMON,
        },
    ),
    "item-kNN": (
        ItemKNN(sharing="separate"),
        {
            "neighbours": Choice((50, 200, 500)),
            "shrinkage": Real(0.1, 100.0, log=True),
            "source_exponent": Real(0.2, 0.8),
            "target_exponent": Real(0.2, 0.8),
            "power": Real(0.5, 2.0),
            **COMMON,
        },
    ),
    "ALS": (
        IALS(sharing="separate", solver="auto", factors=128),
        {
            "factors": Choice((128, 256)),
            "alpha0": Real(0.01, 1.0, log=True),
            "reg": Real(1.0, 200.0, log=True),
        },
    ),
}


def main() -> None:
    """Tune, test once, write the page."""
    split, options = gowalla(root() / "gowalla"), FitOptions(seed=SEED)
    tuned, seconds = {}, {}
    for label, (start, space) in SPACES.items():
        folder = CELLS / "gowalla-linear" / label.replace(", ", "-")
        result = tune(start, split, Budget(TRIALS), options, METRIC, space, folder)
        tuned[label] = result.method
        print(label, result.value, settings_text(result.method), flush=True)
    models: dict[str, Fitted] = {}
    for label, method in tuned.items():
        began = time.perf_counter()
        models[label] = method.fit(split.test.history, options)
        seconds[label] = time.perf_counter() - began
    models["blend of all"] = guarded(tuned, split, options, METRIC, list(tuned))
    page("gowalla-linear", "Gowalla: linear models", _parts(models, tuned, seconds, split), "gowalla_linear")


def _parts(
    models: Mapping[str, Fitted], tuned: Mapping[str, Method], seconds: Mapping[str, float], split: Split
) -> list[str]:
    rows = []
    for label, model in models.items():
        summary = evaluate(model, split.test).summary(METRICS)
        for row in summary.iter_rows(named=True):
            interval = f"[{row['low']:.4f}, {row['high']:.4f}]"
            rows.append({"model": label, "metric": row["metric"], "mean": row["mean"], "95 %": interval})
    published = [
        {"model": f"{name}, published", "metric": metric, "mean": value, "95 %": ""}
        for name, values in PUBLISHED.items()
        for metric, value in zip(METRICS, values, strict=True)
    ]
    settings = "; ".join(
        f"{label} {settings_text(method)}, {seconds[label]:.1f} s" for label, method in tuned.items()
    )
    return [
        markdown(rows + published),
        TEXT + f" {settings}.",
    ]


if __name__ == "__main__":
    main()
