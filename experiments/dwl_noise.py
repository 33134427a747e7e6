"""Noise in the sparse domain of a planted world: where amplifying it no longer pays, DWL's break condition.

    python -m experiments.dwl_noise [--seeds 5]

Users walk along a circle of items, a few of them in a sparse domain, where a step is random with the
probability in the first column. DWL against the same model without weights, in one list over both domains;
each user's latest event is held out. A killed run continues.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from experiments.common import cell, markdown, page
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.data.synthetic import planted_walks
from landbridge.evaluation.evaluate import over_seeds
from landbridge.evaluation.significance import compare, holm
from landbridge.models.sequential.dwl import DWL

METRIC, SEEDS, NOISE = "ndcg@10", 5, (0.0, 0.25, 0.5, 0.75, 1.0)
SETTINGS = {
    "encoder": {"factors": 16, "blocks": 1, "heads": 1, "hidden": 32, "max_length": 9, "dropout": 0.0},
    "loss.kind": "softmax",
    "batch_size": 16,
    "lr": 3e-3,
    "epochs": 12,
    "schedule.weight_map.kappa": 1.0,
    "schedule.weight_map.max_weight": 20.0,
}
TEXT = (
    "240 users walk along a circle of 15 items, and 24 others along another one. NDCG@10 in one list over "
    "both domains, seeds as named. Intervals (95 %) and p by a bootstrap over users and seeds; Holm over the "
    "table."
)


def main() -> None:
    """Fit what is not done and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the first so many seeds")
    seeds = range(1, parser.parse_args().seeds + 1)
    rows = [row for noise in NOISE for row in _rows(noise, seeds)]
    corrected = holm(np.array([row["p"] for row in rows]))
    shown = [row | {"p": f"{p:.2g}"} for row, p in zip(rows, corrected, strict=True)]
    page("dwl-noise", "DWL with noise in the sparse domain", [TEXT, markdown(shown)], "dwl_noise")


def _rows(noise: float, seeds: range) -> list[dict[str, Any]]:
    split = leave_latest_out(planted_walks(noise=noise)).across()
    weighed = DWL.from_settings(SETTINGS)
    own, without = (
        over_seeds({seed: cell(method, split.test, seed, "across")[0] for seed in seeds})
        for method in (weighed, weighed.with_settings({"domain_weighting": "none"}))
    )
    return [
        {
            "noise": f"{noise:g}",
            "domain": row["domain"],
            "without weights": row["b"],
            "with weights": row["a"],
            "difference [95 %]": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
            "p": row["p"],
        }
        for row in compare(own, without, METRIC).rows.rows(named=True)
    ]


if __name__ == "__main__":
    main()
