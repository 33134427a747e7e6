"""Ciao, its ten largest categories at once: leave-last-out, full ranking, per domain and activity."""

from __future__ import annotations

import polars as pl

from experiments.common import chosen, evaluated, grid, markdown, over_domains, page, root, settings_text
from landbridge.data.splitting.splits import leave_last_out
from landbridge.datasets.catalog import ciao
from landbridge.evaluation.evaluate import Evaluation
from landbridge.evaluation.significance import compare
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.popularity import Popularity

SEED = 15
METRIC = "ndcg@10"
COLD = (0.0, 1.0, 3.0, 10.0)


def _groups(first: dict[str, Evaluation], by: str) -> str:
    tables = {name: evaluation.summary((METRIC,), by) for name, evaluation in first.items()}
    heads = next(iter(tables.values())).select("domain", "segment", "users").rows()
    return markdown(
        [
            {"domain": domain}
            | ({} if by == "domain" else {by: segment})
            | {"pairs": pairs}
            | {
                name: _mean(table.filter((pl.col("domain") == domain) & (pl.col("segment") == segment)))
                for name, table in tables.items()
            }
            for domain, segment, pairs in heads
        ]
    )


def _mean(row: pl.DataFrame) -> str:
    return f"{row['mean'][0]:.4f} [{row['low'][0]:.4f}, {row['high'][0]:.4f}]"


def main() -> None:
    """Tune on validation, test once, list where the joint models lose."""
    split = leave_last_out(ciao(root() / "ciao"), future="keep", seed=SEED)
    methods: dict[str, Method] = {"popularity": Popularity()}
    scale = {"alpha0": (0.1, 0.2, 0.3), "reg": (0.01, 0.03, 0.3)}
    methods["separate"], _ = chosen(grid(IALS(), alpha0=(0.1, 0.3, 1.0), reg=(0.03, 0.3)), split)
    methods["joined"], _ = chosen(grid(IALS(sharing="joined"), **scale), split)
    methods["joined"], _ = chosen(grid(methods["joined"], popularity_weight=COLD), split)
    methods["CDIMF"], _ = chosen(grid(CDIMF(), **scale), split)
    methods["CDIMF"], cold = chosen(grid(methods["CDIMF"], popularity_weight=COLD), split)
    methods["CDIMF"], parties = chosen(
        grid(methods["CDIMF"], **{"consensus.domains": ("all", "active")}), split
    )
    trials = [
        {
            "popularity_weight": row["popularity_weight"],
            "consensus.domains": row["consensus.domains"],
            "NDCG@10 on validation": row["valid"],
        }
        for row in pl.concat([cold, parties])
        .unique(("popularity_weight", "consensus.domains"), maintain_order=True)
        .to_dicts()
    ]
    first = {name: evaluated(method, split, name) for name, method in methods.items()}
    pooled = {name: over_domains(evaluation) for name, evaluation in first.items()}
    losses = [
        {"domain": row["domain"], "activity": row["segment"], "against": name, "users": row["users"]}
        | {"difference": f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"}
        for name in ("popularity", "separate", "joined")
        for row in compare(first["CDIMF"], first[name], METRIC, "activity").rows.iter_rows(named=True)
        if row["high"] < 0
    ]
    page(
        "ciao",
        "Ciao, ten categories at once",
        [
            "NDCG@10, full ranking, leave-last-out per user and domain; a user's figure is the mean over "
            "three model seeds, 95 % intervals over users. `activity`: a user's remaining events in the "
            "target domain. In rows over all domains every (user, domain) pair is drawn on its own.",
            _groups(pooled, "activity"),
            _groups(first, "domain"),
            "Chosen on validation: " + "; ".join(settings_text(method) for method in methods.values()) + ".",
            "CDIMF's ways with new users and silent domains, on validation:\n\n" + markdown(trials),
            "```\n" + str(compare(pooled["CDIMF"], pooled["joined"], METRIC, "activity")) + "\n```",
            "```\n" + str(compare(pooled["CDIMF"], pooled["popularity"], METRIC, "activity")) + "\n```",
            "## Where CDIMF loses\n\nGroups whose whole interval is below zero, before correction:",
            markdown(losses) if losses else "None.",
            "## Per domain and activity\n\n" + _groups(first, "activity"),
        ],
    )


if __name__ == "__main__":
    main()
