"""What comes next in Food–Kitchen, in ABXI's protocol, on test, beside the published figures.

The variants of SASRec and their epochs were chosen by :mod:`experiments.sequence_parts` on validation, the
settings of the other models and the blend by :mod:`experiments.default` on the same split. Here they are
fitted on all that is known at test time with five seeds and tested once, among 999 drawn items of the same
domain and among all. A killed run continues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import CELLS, markdown, page, settings_text
from experiments.default import AUTO, chosen
from experiments.sequence_parts import BASE, METRICS, NEGATIVES, PARTS, means, measured, protocol
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.training.options import FitOptions

STUDY = "food-kitchen"  # of experiments.default, whose split this is
SEEDS = (15, 16, 17, 18, 19)
VARIANTS = ("adopted for drawn items",)
PUBLISHED = {"Food": (0.324, 0.197), "Kitchen": (0.244, 0.143)}  # ABXI, Bian et al., WWW 2025, five seeds
FOLDER = CELLS / "next-item"


def main() -> None:
    """Every model with every seed; the page holds the seeds that are finished."""
    split = protocol()
    methods, mixture = _methods(split)
    for seed in SEEDS:
        path = FOLDER / f"{seed}.json"
        if not path.exists():
            write_json(path, _tested(methods, mixture, split, seed))
        _page(methods)
        print(seed, flush=True)


def _methods(split: Split) -> tuple[dict[str, Method], Mixture]:
    """The default's candidates with their settings, the variants of SASRec, and the default's blend."""
    members, mixture = chosen(STUDY, split)
    variants = {f"sasrec, {label}": _variant(label, split) for label in VARIANTS}
    return members | variants, mixture


def _variant(label: str, split: Split) -> Method:
    """With the number of epochs that validation among the drawn items chose."""
    method = BASE.with_settings(PARTS[label])
    return method.with_settings({"epochs": measured(method, split)["sampled"][0]})


def _tested(methods: Mapping[str, Method], mixture: Mixture, split: Split, seed: int) -> dict[str, Any]:
    history = split.test.history
    fitted: dict[str, Fitted] = {
        label: method.fit(history, FitOptions(seed)) for label, method in methods.items()
    }
    blend = BlendModel(history, mixture, (), {label: fitted[label] for label in mixture.members})
    return {label: means(model, split.test) for label, model in (*fitted.items(), (AUTO, blend))}


def _page(methods: Mapping[str, Method]) -> None:
    records = [read_json(FOLDER / f"{seed}.json") for seed in SEEDS if (FOLDER / f"{seed}.json").exists()]
    labels = sorted(records[0], key=lambda label: _mean(records, label))
    rows = [{"model": label} | _row([record[label] for record in records]) for label in labels]
    rows.append(
        {"model": "ABXI, published"}
        | {
            f"{domain} {metric}": value
            for domain, figures in PUBLISHED.items()
            for metric, value in zip(METRICS, figures, strict=True)
        }
    )
    text = (
        "Food–Kitchen, the latest event of every user. Test, mean (standard deviation) of "
        f"{len(records)} seeds: HR@10 and NDCG@10 among {NEGATIVES} drawn items of the same domain, and "
        "NDCG@10 among all items of it (`all`). The drawn items are not those of the published figures,"
        " which were drawn alike and not released. Settings of all but the variants of SASRec are those"
        " of [default](default.md), tuned by NDCG@10 among all items in the default budget; `auto` is "
        "its blend."
    )
    settings = "; ".join(f"{label} {settings_text(method)}" for label, method in methods.items())
    page("next", "What comes next", [text, markdown(rows), f"Settings: {settings}."], "next_item")


def _mean(records: list[dict[str, Any]], label: str) -> float:
    return float(np.mean([list(record[label]["sampled"]["ndcg@10"].values()) for record in records]))


def _row(records: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for way, metrics, name in (("sampled", METRICS, ""), ("full", ("ndcg@10",), ", all")):
        for metric in metrics:
            for domain in records[0][way][metric]:
                values = [record[way][metric][domain] for record in records]
                deviation = f" ({np.std(values, ddof=1):.4f})" if len(values) > 1 else ""
                row[f"{domain} {metric}{name}"] = f"{np.mean(values):.4f}{deviation}"
    return row


if __name__ == "__main__":
    main()
