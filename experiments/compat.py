"""Who helps whom: predicted before training, measured pair by pair, all on validation data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import polars as pl

from experiments.common import CELLS, PAGES, SEEDS, markdown, page, root, settings_text
from landbridge.core.files import atomic_write
from landbridge.core.progress import Terminal
from landbridge.data.splitting.holdout import Split
from landbridge.data.splitting.splits import leave_last_out
from landbridge.datasets.catalog import ciao, food_kitchen
from landbridge.datasets.published import read_published
from landbridge.models.als.ials import IALS
from landbridge.studies.transfer.compatibility import transferability
from landbridge.studies.transfer.matrix import TransferMatrix, prediction_quality, transfer_matrix
from landbridge.training.options import FitOptions

SEED = SEEDS[0]
METHOD = IALS(factors=32, epochs=8, sharing="joined", alpha0=0.3)
SPLITS: Mapping[str, Callable[[], Split]] = {
    "ciao": lambda: leave_last_out(ciao(root() / "ciao"), future="keep", seed=SEED),
    "food-kitchen": lambda: leave_last_out(
        food_kitchen(root() / "amazon-food-kitchen"), future="keep", seed=SEED
    ),
    "sport-cloth": lambda: read_published(root() / "amazon-sport-cloth-warm", seed=SEED),
}
TASTE = ("share", "activity", "match", "match_z", "cka", "r2", "relief", "predicted")


def _lines(transfer: TransferMatrix, predicted: pl.DataFrame) -> str:
    """One line per ordered pair, the highest prediction first."""
    joined = transfer.rows.join(predicted, on=["source", "target"], maintain_order="left")
    return markdown(
        [
            {"source": row["source"], "target": row["target"]}
            | {name: "" if row[name] is None else row[name] for name in TASTE}
            | {"alone": row["alone"], "gain": _gain(row), "p (Holm)": f"{row['p_holm']:.2g}"}
            for row in joined.sort("predicted", descending=True).iter_rows(named=True)
        ]
    )


def _gain(row: Mapping[str, float]) -> str:
    if not row["alone"]:
        return ""
    low, high = (100 * row[name] / row["alone"] for name in ("low", "high"))
    return f"{row['gain_percent']:+.1f} % [{low:+.1f}, {high:+.1f}]"


def _section(name: str) -> tuple[str, pl.DataFrame]:
    """The section about one data set, and its part of ``transfer.csv``."""
    split = SPLITS[name]()
    options = FitOptions(seed=SEED, progress=Terminal())
    prediction = transferability(split.train, options)
    transfer = transfer_matrix(METHOD, split, options, work_dir=CELLS / "transfer")
    sure = transfer.rows.filter(pl.col("p_holm") < 0.05)
    gains = int((sure["difference"] > 0).sum())
    counted = f"Of {len(transfer.rows)} gains {gains} are significant, and so are {len(sure) - gains} losses."
    quality = prediction_quality(prediction, transfer)
    text = f"## {name}\n\n{quality} {counted}\n\n{_lines(transfer, prediction.rows)}"
    return text, transfer.table(name, prediction)


def main() -> None:
    """All data sets, or those named on the command line."""
    sections = [_section(name) for name in sys.argv[1:] or SPLITS]
    page(
        "compat",
        "Who helps whom, and was it seen before",
        [
            "`predicted` uses the training part only (see docs/transferability.md). `gain`: NDCG@10 in the "
            f"target, full ranking, of {settings_text(METHOD)}, fitted on both domains, against the same "
            "fitted on the target alone, on validation data; 95 % intervals over users, p corrected by Holm "
            "over the ordered pairs of a data set. Test data are not used.",
            *(text for text, _ in sections),
        ],
    )
    with atomic_write(PAGES / "transfer.csv") as temporary:
        pl.concat([table for _, table in sections]).write_csv(temporary)


if __name__ == "__main__":
    main()
