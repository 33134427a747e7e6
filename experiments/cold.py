"""Cold game-video with the shared id range, 1 + 999 sampled candidates: CDIMF against joined ALS."""

from __future__ import annotations

from dataclasses import replace

from experiments.common import SEEDS, cell, chosen, grid, intervals, markdown, page, root, settings_text
from landbridge.data.splitting.splits import with_candidates
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import over_seeds
from landbridge.evaluation.significance import compare
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.popularity import Popularity

SHARED_USERS = 1736
GRID = {"alpha0": (0.03, 0.1, 0.3), "reg": (0.03, 0.3), "popularity_weight": (0.0, 1.0)}


def main() -> None:
    """Tune on validation, test once, compare over users."""
    published = read_published(root() / "amazon-game-video-cold", shared_users=SHARED_USERS)
    draws = {seed: with_candidates(published, 999, seed=seed) for seed in SEEDS}
    methods: dict[str, Method] = {"popularity": Popularity()}
    methods["joined ALS"], _ = chosen(grid(IALS(factors=128, sharing="joined"), **GRID), draws[SEEDS[0]])
    methods["CDIMF"], _ = chosen(grid(CDIMF(factors=128), **GRID), draws[SEEDS[0]])
    evaluated = {
        name: replace(
            over_seeds({s: cell(method, split.test, s, "test")[0] for s, split in draws.items()}), name=name
        )
        for name, method in methods.items()
    }
    rows = intervals(evaluated, ("hr@10", "ndcg@10"))
    comparisons = [compare(evaluated["CDIMF"], evaluated[name]) for name in ("joined ALS", "popularity")]
    page(
        "cold",
        "Cold game-video",
        [
            "Sampled metrics, 1 + 999, a pair at a time; a user's figure is the mean over three seeds of "
            "the model and of the candidates; intervals over users.",
            markdown(rows),
            "Chosen on validation: " + "; ".join(settings_text(method) for method in methods.values()) + ".",
            "```\n" + "\n\n".join(map(str, comparisons)) + "\n```",
        ],
    )


if __name__ == "__main__":
    main()
