"""A study whose seeds are ranked one after the other, on any machine, and kept beside the page."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from experiments import rows
from experiments.common import CELLS, digest
from landbridge.core.files import atomic_write
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.base import Fitted, Method
from landbridge.training.options import FitOptions


def selected(
    about: str | None, names: Iterable[str], seeds: Iterable[int], option: str = "--data"
) -> tuple[list[str], list[int]]:
    """The command line of an experiment by seed: the studies that ``option`` names, and seeds."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    studies = list(names)
    parser.add_argument(option, nargs="*", default=studies, choices=studies, dest="names")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(seeds))
    given = parser.parse_args()
    return given.names, given.seeds


@dataclass(frozen=True)
class BySeed:
    """The study ``name`` of a page, which ranks the pairs of a holdout. ``pairs``: its fingerprint."""

    page: str
    name: str
    pairs: str

    def kept(self) -> pl.DataFrame:
        """The rows beside the page, none where these are of other pairs."""
        if rows.facts_of(self.page, self.name).get("pairs") != self.pairs:
            return pl.DataFrame(schema={"seed": pl.Int32})
        return rows.study_of(self.page, self.name).rows

    def left(self, seeds: Iterable[int]) -> list[int]:
        """The seeds that are not kept."""
        kept = {*self.kept()["seed"]}
        return [seed for seed in seeds if seed not in kept]

    def rank(self, seed: int, holdout: Holdout, models: Callable[[Path], Mapping[str, Any]]) -> None:
        """Rank the models with a seed; ``models`` fits them, in a folder for fits that go on after a kill."""
        file, work = self._file(seed), self.folder / f"fits-{seed}"
        if not file.exists():
            ranked(models(work), holdout, file)
            shutil.rmtree(work, ignore_errors=True)

    def publish(
        self, seeds: Iterable[int], facts: Mapping[str, Any], unseeded: pl.DataFrame | None = None
    ) -> None:
        """Every finished seed, with those that are kept. ``unseeded``: rows that each of them has, too."""
        done = [kept] if len(kept := self.kept()) else []
        for seed in self.left(seeds):
            if self._file(seed).exists():
                own = [pl.read_parquet(self._file(seed)), *([] if unseeded is None else [unseeded])]
                done += [part.with_columns(seed=pl.lit(seed, pl.Int32)) for part in own]
        whole = pl.concat([part.select(rows.COLUMNS) for part in done], how="vertical_relaxed")
        rows.publish(self.page, self.name, whole, {"name": self.name, "pairs": self.pairs, **facts})

    @property
    def folder(self) -> Path:
        """Where its files are until they are published."""
        folder = CELLS / self.page / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _file(self, seed: int) -> Path:
        return self.folder / f"{seed}.parquet"


def ranked(models: Mapping[str, Any], holdout: Holdout, path: Path) -> None:
    """The ranks of the models, kept in a file."""
    ranks = {label: evaluate(model, holdout).rows for label, model in models.items()}
    found = pl.concat([each.with_columns(model=pl.lit(label)) for label, each in ranks.items()])
    with atomic_write(path) as temporary:
        found.write_parquet(temporary)


def fit(method: Method, history: MultiDomain, seed: int, work: Path) -> Fitted:
    """A fit that goes on where it was killed, by its folder in ``work``."""
    work_dir = work / digest([method.flat(), history.fingerprint])
    work_dir.mkdir(parents=True, exist_ok=True)
    return method.fit(history, FitOptions(seed, work_dir=work_dir))
