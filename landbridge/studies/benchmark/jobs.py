"""The jobs of a benchmark: one method on one data set with one seed, and its folder.

A job writes ``cell.json`` last, so a folder without it is unfinished and its job runs again; a killed fit
continues from its ``work_dir``. Only ``cost.json`` depends on the machine (times, memory).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.files import make_folder, read_json, write_json
from landbridge.core.system import peak_bytes, reset_peak
from landbridge.core.types import AnyArray, Record
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.data.splitting.holdout import ACROSS, Holdout, Split
from landbridge.datasets import prepare
from landbridge.evaluation.protocols import Scorer
from landbridge.evaluation.score_cache import ScoreCache
from landbridge.models.base import Fitted
from landbridge.selection.fitting import fit
from landbridge.studies.benchmark.spec import BenchmarkData, BenchmarkMethod
from landbridge.training.options import FitOptions


@dataclass(frozen=True)
class EvaluationJob:
    """``source`` x ``entry`` x ``seed`` of the benchmark in ``out``, fitted with ``threads`` threads."""

    out: Path
    source: BenchmarkData
    entry: BenchmarkMethod
    seed: int
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.source.name} / {self.entry.label} / seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where the cell's files are."""
        return _folder(self.out, self.source, self.entry) / str(self.seed)

    @property
    def done(self) -> bool:
        """Whether all is there."""
        return (self.folder / "cell.json").is_file()

    def run(self) -> None:
        """Fit once, evaluate under every protocol, and write the folder."""
        work_dir = _make_work_dir(self.folder)
        reset_peak()
        split = checked_split(self.out, self.source)
        started = time.perf_counter()
        fitted = fit(self.entry.model(), split, _options(self, work_dir), work_dir)
        fitted_at = time.perf_counter()
        # protocols differ in what is ranked, not in scores: each block is scored once for all
        coverage, diversity, scorer = {}, [], ScoreCache(fitted)
        for holdout in protocols(self.source, split):
            coverage[holdout.protocol] = self._evaluate(scorer, holdout)
            diversity += self._diversity(scorer, holdout) if holdout.across else []
        cost = {
            "fit_seconds": fitted_at - started,
            "evaluate_seconds": time.perf_counter() - fitted_at,
            "peak_mib": round(peak_bytes() / 2**20, 1),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(self.folder / "log.json", [dict(record) for record in fitted.log])
        write_json(self.folder / "cost.json", cost)
        shutil.rmtree(work_dir, ignore_errors=True)
        # last: a cell counts as done when this file exists
        write_json(self.folder / "cell.json", self._about(fitted, coverage) | {"variety": diversity})

    def _evaluate(self, fitted: Scorer, holdout: Holdout) -> list[Record]:
        from landbridge.evaluation.evaluate import evaluate, recommended_share

        evaluation = replace(evaluate(fitted, holdout, threads=self.threads), name=self.entry.label)
        evaluation.write(self.folder / f"evaluation-{holdout.protocol}.parquet")
        return recommended_share(fitted, holdout, threads=self.threads).to_dicts()

    def _diversity(self, fitted: Scorer, holdout: Holdout) -> list[Record]:
        from landbridge.evaluation.diversity import diversity

        return diversity(fitted, holdout, threads=self.threads).to_dicts()

    def _about(self, fitted: Fitted, coverage: dict[str, list[Record]]) -> Record:
        return {
            "data": self.source.name,
            "label": self.entry.label,
            "method": self.entry.name,
            "settings": fitted.method.flat(),
            "guard": self.entry.guard,
            "seed": self.seed,
            "protocols": list(coverage),
            "decision": [dict(record) for record in fitted.log] if fitted.kind == "mixture" else None,
            "coverage": coverage,
        }


@dataclass(frozen=True)
class LeakCheckJob:
    """The leak check of a method on a data set, kept beside its cells."""

    out: Path
    source: BenchmarkData
    entry: BenchmarkMethod
    seed: int
    threads: int = 1

    def __str__(self) -> str:
        return f"leak check of {self.source.name} / {self.entry.label}"

    @property
    def file(self) -> Path:
        """What it found: the rows and the verdict."""
        return _folder(self.out, self.source, self.entry) / "leak.json"

    @property
    def done(self) -> bool:
        """Whether it has been made."""
        return self.file.is_file()

    def run(self) -> None:
        """Make the check and keep what it found."""
        from landbridge.studies.benchmark.leak_check import leak_check

        work_dir = _make_work_dir(self.file.with_suffix(""))
        split = checked_split(self.out, self.source)
        result = leak_check(self.entry.model(), split, _options(self, work_dir), work_dir=work_dir)
        named = replace(result, name=self.entry.label)
        shutil.rmtree(work_dir.parent)
        write_json(
            self.file, {"rows": result.rows.to_dicts(), "passed": named.passed, "verdict": named.verdict}
        )


@lru_cache(maxsize=1)
def _prepared(source: str) -> Split:
    """The split of a source given as JSON; one is kept, because cells of the same data come together."""
    split = prepare.prepare_data(BenchmarkData.model_validate_json(source).experiment())
    assert isinstance(split, Split)
    return split


def prepared_split(source: BenchmarkData) -> Split:
    """Read and divide the data."""
    return _prepared(source.model_dump_json())


def clear_cached_split() -> None:
    """Let go of the data that :func:`prepared` keeps."""
    _prepared.cache_clear()


def checked_split(out: Path, source: BenchmarkData) -> Split:
    """The split, if it is still the one that the benchmark in ``out`` began with."""
    split = prepared_split(source)
    if read_json(data_file(out, source))["fingerprint"] != fingerprint(split):
        raise DataError(
            f"Data {source.name!r} have changed since the benchmark in {out} began: use a new --out."
        )
    return split


def protocols(source: BenchmarkData, split: Split) -> list[Holdout]:
    """The test part under each protocol; with 0 candidates as the data come, most often full ranking."""
    from landbridge.data.splitting.splits import with_candidates

    result: dict[str, Holdout] = {}
    for n in source.candidates:
        test = with_candidates(split, n, seed=source.split.seed).test if n else split.test
        if test.protocol in result:
            raise SettingsError(
                f"Data {source.name!r} come with candidates of their own: protocol {test.protocol} would be "
                "there twice; leave out one of the candidates."
            )
        result[test.protocol] = test
    if source.across:
        result[ACROSS] = replace(split.test, across=True)
    return list(result.values())


def data_file(out: Path, source: BenchmarkData) -> Path:
    """Where a data set is described."""
    return out / "data" / f"{source.name}.json"


def describe(source: BenchmarkData, split: Split) -> Record:
    """Sizes of a data set, before anything was held out."""
    users_of = {name: _all_users(split.test, name) for name in split.test.history.domain_names}
    return {
        "name": source.name,
        **source.model_dump(mode="json", include={"dataset", "source"}, exclude_none=True),
        "fingerprint": fingerprint(split),
        "split": source.split.model_dump(),
        "domains": [_described(split, name, len(users)) for name, users in users_of.items()],
        "shared_users": {
            f"{a}|{b}": len(np.intersect1d(users_of[a], users_of[b])) for a, b in combinations(users_of, 2)
        },
        "users": len(np.unique(np.concatenate(list(users_of.values())))),
    }


def fingerprint(split: Split) -> str:
    """SHA-256 of all that is known, validated on and tested on."""
    return hashlib.sha256(f"{split.valid.fingerprint} {split.test.fingerprint}".encode()).hexdigest()


def _all_users(holdout: Holdout, name: str) -> AnyArray:
    targets = holdout.targets.get(name)
    history = holdout.history[name].user_idx
    return np.unique(history if targets is None else np.concatenate([history, targets.user_idx]))


def _described(split: Split, name: str, users: int) -> Record:
    history, test = split.test.history[name], split.test.targets.get(name)
    items = history.item_idx if test is None else np.concatenate([history.item_idx, test.item_idx])
    user_N = history.user_idx if test is None else np.concatenate([history.user_idx, test.user_idx])
    n_items, n_test = len(np.unique(items)), 0 if test is None else len(test)
    return {
        "name": name,
        "users": users,
        "items": n_items,
        "events": len(history) + n_test,
        "density": (len(history) + n_test) / max(users * n_items, 1),
        "activity": _by_activity(user_N),
        "valid_rows": len(split.valid.targets.get(name, ())),
        "test_rows": n_test,
    }


def _by_activity(user_N: AnyArray) -> Record:
    """Activity group -> how many users it has and how many events they have, without empty groups."""
    count_U = np.unique(user_N, return_counts=True)[1]
    group_U = activity_group(count_U)
    groups = {label: count_U[group_U == place] for place, label in enumerate(ACTIVITY)}
    return {label: {"users": len(own), "events": int(own.sum())} for label, own in groups.items() if len(own)}


def _folder(out: Path, source: BenchmarkData, entry: BenchmarkMethod) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", entry.label.lower()).strip("-") or "method"
    # the digest keeps methods apart whose labels give the same slug, and settings that changed
    digest = hashlib.sha256(entry.model_dump_json().encode()).hexdigest()
    return out / "cells" / source.name / f"{slug[:40]}-{digest[:16]}"


def _make_work_dir(folder: Path) -> Path:
    """The folder in which a fit leaves what it needs to go on after a kill."""
    work_dir = folder / "work"
    make_folder(work_dir)
    return work_dir


def _options(task: EvaluationJob | LeakCheckJob, work_dir: Path) -> FitOptions:
    return FitOptions(task.seed, task.threads, work_dir=work_dir / "fit")
