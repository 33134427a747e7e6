"""What comes next in Food–Kitchen, in ABXI's protocol: sequence models on test, beside the published figures.

The variants and their epochs were chosen by :mod:`experiments.sequence_parts` on validation; here they are
fitted on all that is known at test time with five seeds and tested once, among 999 drawn items of the same
domain and among all. A killed run continues.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.common import CELLS, markdown, page, settings_text
from experiments.sequence_parts import BASE, METRICS, NEGATIVES, PARTS, means, measured, protocol
from landbridge.core.files import read_json, write_json
from landbridge.data.splitting.holdout import Split
from landbridge.models.base import Method
from landbridge.training.options import FitOptions

SEEDS = (15, 16, 17, 18, 19)
VARIANTS = ("base", "compared within the domain")
PUBLISHED = {"Food": (0.324, 0.197), "Kitchen": (0.244, 0.143)}  # ABXI, Bian et al., WWW 2025, five seeds


def main(names: list[str]) -> None:
    """The named variants, all by default; the page holds every one with a finished seed."""
    split = protocol()
    for seed in SEEDS:
        for label in names or VARIANTS:
            print(label, seed, _tested(label, split, seed), flush=True)
            _page(split)


def _chosen(label: str, split: Split) -> Method:
    """The variant with the number of epochs that validation among the drawn items chose."""
    method = BASE.with_settings(PARTS[label])
    return method.with_settings({"epochs": measured(method, split)["sampled"][0]})


def _tested(label: str, split: Split, seed: int) -> dict[str, Any]:
    path = CELLS / "next-item" / label.replace(" ", "-") / f"{seed}.json"
    if not path.exists():
        fitted = _chosen(label, split).fit(split.test.history, FitOptions(seed))
        write_json(path, means(fitted, split.test))
    record: dict[str, Any] = read_json(path)
    return record


def _page(split: Split) -> None:
    rows, settings = [], []
    for label in VARIANTS:
        records = list(_finished(label))
        if records:
            rows.append({"model": label, "seeds": len(records)} | _row(records))
            settings.append(f"{label} {settings_text(_chosen(label, split))}")
    rows.append(
        {"model": "ABXI, published", "seeds": 5}
        | {
            f"{domain} {metric}": value
            for domain, figures in PUBLISHED.items()
            for metric, value in zip(METRICS, figures, strict=True)
        }
    )
    text = (
        f"Test, mean (standard deviation over seeds): HR@10 and NDCG@10 among {NEGATIVES} drawn items of the "
        "same domain, and NDCG@10 among all items of it (`all`). The negatives are not those of the "
        "published figures, which were drawn alike and not released."
    )
    page("next", "What comes next", [text, markdown(rows), "; ".join(settings) + "."], "next_item")


def _finished(label: str) -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        path = CELLS / "next-item" / label.replace(" ", "-") / f"{seed}.json"
        if path.exists():
            yield read_json(path)


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
    main(sys.argv[1:])
