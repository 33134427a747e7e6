"""Warm sport-cloth, 1 + 999 sampled candidates: the published figures, and the tuned ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.common import chosen, grid, markdown, page, refitted, root, seed_means, settings_text
from landbridge.data.splitting.splits import with_candidates
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.significance import compare
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method

DEFAULTS: dict[str, Any] = {"factors": 192, "alpha0": 0.3, "reg": 0.03, "epochs": 12}
PUBLISHED = {
    "separate ALS": (IALS(**DEFAULTS), (0.163, 0.103, 0.136, 0.086)),
    "joined ALS": (IALS(**DEFAULTS, sharing="joined"), (0.255, 0.185, 0.220, 0.165)),
    "CDIMF, published program": (
        CDIMF(**DEFAULTS, admm=ADMM(20, variant="paper_code")),
        (0.242, 0.172, 0.204, 0.152),
    ),
}
LARGE = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.01, 0.03, 0.1)}  # one domain alone wants a larger α₀
SMALL = {"alpha0": (0.01, 0.02, 0.03), "reg": (0.01, 0.03, 0.1)}


def _row(name: str, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    hr, ndcg = seed_means(evaluations, "hr@10"), seed_means(evaluations, "ndcg@10")
    row: dict[str, Any] = {"model": name}
    for domain in ("sport", "cloth"):
        row[f"{domain} HR@10"] = f"{hr[domain][0]:.4f} ± {hr[domain][1]:.4f}"
        row[f"{domain} NDCG@10"] = f"{ndcg[domain][0]:.4f} ± {ndcg[domain][1]:.4f}"
    return row


def main() -> None:
    """Reproduce, tune, test, compare."""
    split = with_candidates(read_published(root() / "amazon-sport-cloth-warm"), 999, seed=0)
    reproduced = []
    for name, (method, expected) in PUBLISHED.items():
        reproduced.append(_row(name, [e for e, _ in refitted(method, split)]))
        reproduced[-1]["expected"] = " / ".join(f"{value:.3f}" for value in expected)
    tuned: dict[str, Method] = {}
    tuned["separate ALS"], _ = chosen(grid(IALS(factors=192), **LARGE), split)
    tuned["joined ALS"], _ = chosen(grid(IALS(factors=192, sharing="joined"), **SMALL), split)
    tuned["CDIMF"], _ = chosen(grid(CDIMF(factors=192), **SMALL), split)
    tuned["CDIMF"], _ = chosen(grid(tuned["CDIMF"], **{"admm.rho": (0.03, 0.1, 0.3)}), split)
    runs = {name: list(refitted(method, split)) for name, method in tuned.items()}
    table = [
        _row(name, [e for e, _ in run]) | {"s": f"{run[0][1]['seconds']:.1f}"} for name, run in runs.items()
    ]
    first = {name: replace(run[0][0], name=name) for name, run in runs.items()}
    against_joined = compare(first["CDIMF"], first["joined ALS"])
    against_alone = compare(first["CDIMF"], first["separate ALS"])
    duplicates = compare(first["CDIMF"], first["separate ALS"], by="duplicate")
    gap = runs["CDIMF"][0][1]["log"]
    page(
        "warm",
        "Warm sport-cloth: published and tuned",
        [
            "Sampled metrics, 1 + 999 candidates drawn once; mean ± sd over three model seeds.",
            "## The published settings (192 factors)\n\n" + markdown(reproduced),
            "Expected: sport HR / NDCG, cloth HR / NDCG.",
            "## Tuned on a validation split carved from train (192 factors)\n\n" + markdown(table),
            "Chosen: " + "; ".join(settings_text(method) for method in tuned.values()) + ".",
            "Separate ALS was first tuned on the smaller α₀ of the others, tested (sport .1602/.1007, cloth "
            ".1271/.0812), and then given the larger ones, which only helps the baseline.",
            f"Consensus gap after the last epoch {gap[-2]['gap']:.1e}; the last solve moved the consensus by "
            f"{gap[-1]['shift']:.1e} of its size.",
            "```\n" + "\n\n".join(str(x) for x in (against_joined, against_alone, duplicates)) + "\n```",
        ],
    )


if __name__ == "__main__":
    main()
