"""The rows behind a page: the rank of every held-out pair by every model and seed, kept beside the page.

A study is a Parquet file of pairs, with two columns per model and seed: how many items are ranked above the
held-out one, and how many tie with it. Where ``DEPTH`` or more are above, ``DEPTH`` is written: no metric of
the pages looks deeper, and most of the bytes would be there. Facts that are no rows (settings, seconds) are a
JSON file beside it. A page that is made of these files needs neither the data nor any training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from experiments.common import PAGES
from landbridge.core.files import atomic_write, read_json, write_json

DEPTH = 100
PAIR = ("domain", "user", "item", "activity", "other_domain_events", "is_duplicate", "candidates")
COLUMNS = (*PAIR, "above", "ties", "model", "seed")  # of the rows that are kept
RANK = (
    pl.col("above").clip(0, DEPTH).cast(pl.UInt8),
    pl.when(pl.col("above") < DEPTH).then("ties").otherwise(0).cast(pl.Int32).alias("ties"),
)
COMPRESSION = 19  # of zstd: files are written once and kept by every clone


def publish(page: str, study: str, rows: pl.DataFrame, facts: Mapping[str, Any]) -> None:
    """Write the rows of a study, with columns ``model`` and ``seed``, and its facts."""
    parts = rows.partition_by("model", "seed", maintain_order=True)
    pairs = parts[0].select(PAIR)
    columns = []
    for part in parts:
        assert part.select(PAIR).equals(pairs)  # one table holds all models of the same pairs
        label = f"{part['model'][0]}|{part['seed'][0]}"
        columns += [column.alias(f"{label}|{column.name}") for column in part.select(RANK)]
    with atomic_write(_file(page, study)) as temporary:
        pairs.with_columns(pl.col("domain").cast(pl.Categorical), *columns).write_parquet(
            temporary, compression="zstd", compression_level=COMPRESSION
        )
    write_json(_file(page, study).with_suffix(".json"), facts)


@dataclass(frozen=True, eq=False)
class Study:
    """A published study: a row per model, seed and pair, and the facts."""

    rows: pl.DataFrame
    facts: Mapping[str, Any]


def studies(page: str) -> list[Study]:
    """All published studies of a page, by the fact ``place``."""
    files = (PAGES / "rows" / page).glob("*.parquet")
    return sorted((study_of(page, file.stem) for file in files), key=lambda study: int(study.facts["place"]))


def study_of(page: str, study: str) -> Study:
    """A published study."""
    return Study(_long(_file(page, study)), facts_of(page, study))


def facts_of(page: str, study: str) -> dict[str, Any]:
    """The facts of a study; none where it is not published."""
    file = _file(page, study).with_suffix(".json")
    found: dict[str, Any] = read_json(file) if file.exists() else {}
    return found


def _long(file: Path) -> pl.DataFrame:
    wide = pl.read_parquet(file).with_columns(pl.col("domain").cast(pl.String))
    labels = dict.fromkeys(column.rsplit("|", 1)[0] for column in wide.columns if column not in PAIR)
    parts = []
    for label in labels:
        model, seed = label.rsplit("|", 1)
        ranks = [pl.col(f"{label}|{rank}").cast(pl.Int64).alias(rank) for rank in ("above", "ties")]
        parts.append(wide.select(*PAIR, *ranks, model=pl.lit(model), seed=pl.lit(int(seed), pl.Int32)))
    return pl.concat(parts)


def _file(page: str, study: str) -> Path:
    return PAGES / "rows" / page / f"{study}.parquet"
