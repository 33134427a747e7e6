"""Every method of the registry, and ``auto``, on three data sets, each tuned with the same budget.

    python -m experiments.rivals                                   everything, for many hours
    python -m experiments.rivals ciao --methods uclr herograph     one data set, two methods
    python -m experiments.rivals --jobs 4 --trials 20 --seconds 600

A search tries at most so many settings, the method's own first, for at most so many seconds, and compares
them on validation data by NDCG@10; ``auto`` has the same seconds for all of its candidates together. What it
finds is fitted on all that is known at test time, with three seeds, and tested once, in full ranking and
against 99 drawn items. Every search and every fit is kept, so that a killed call goes on; they are parts of
the results only as long as method, data, budget and version are the same. A method that is finished is kept
beside the page with what it depends on: the table grows method by method, on any machine.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from experiments import rivals_page, rows
from experiments.common import CELLS, SEEDS, digest, root, settings_text
from experiments.rivals_page import AUTO, FULL, METRIC, POPULARITY, PROTOCOLS
from landbridge.core.errors import DataError, DivergenceError, SettingsError, unknown
from landbridge.core.executors import executor_of
from landbridge.core.files import make_folder, read_json, write_json
from landbridge.core.settings import schema
from landbridge.core.system import peak_bytes, reset_peak
from landbridge.data.splitting.holdout import Holdout, Split
from landbridge.data.splitting.splits import leave_latest_out, with_candidates
from landbridge.datasets import catalog
from landbridge.datasets.published import read_published
from landbridge.evaluation.evaluate import Validator, evaluate
from landbridge.models import registry
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import Mixture
from landbridge.models.overview import family
from landbridge.selection.auto import auto
from landbridge.selection.search import Budget, tune
from landbridge.training.options import FitOptions
from landbridge.version import __version__

TRIALS, SECONDS, NEGATIVES = 20, 600.0, 99
ORDINARY = (DataError, DivergenceError)  # a method that these data, or its steps, do not allow
STUDIES: Mapping[str, Callable[[], Split]] = {
    "sport-cloth": lambda: read_published(root() / "amazon-sport-cloth-warm"),
    "ciao": lambda: leave_latest_out(catalog.ciao(root() / "ciao", n_domains=5), seed=15),
    "food-kitchen": lambda: leave_latest_out(catalog.food_kitchen(root() / "amazon-food-kitchen"), seed=15),
}
PUBLISHED_NAMES: Mapping[str, tuple[str, dict[str, Any]]] = {  # settings that are methods of their own
    "mlp++": ("adc", {"sharing": "user", "balance.kind": "none"}),
    "cross-stitch": ("adc", {"sharing": "cross_stitch", "balance.kind": "none"}),
}


def main() -> None:
    """Run what is named, publish the rows of every method that is finished, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("studies", nargs="*", default=list(STUDIES), help="data sets, all by default")
    parser.add_argument("--methods", nargs="+", default=[*entries()], help="labels, all by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes, which share the cores")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of a search")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a search")
    given = parser.parse_args()
    run(given.studies, given.methods, Budget(given.trials, given.seconds), given.jobs)


def run(studies: Sequence[str], labels: Sequence[str], budget: Budget, jobs: int) -> None:
    """All cells of the studies and methods that are not there yet, then the page."""
    for what, names, known in (("study", studies, STUDIES), ("method", labels, entries())):
        for name in names:
            if name not in known:
                raise SettingsError(unknown(what, name, known))
    for study in studies:
        cells = [Cell(study, label, budget) for label in labels]
        for text in executor_of(jobs).map(Cell.finish, [cell for cell in cells if not cell.done]):
            print(text, flush=True)
            publish(study, budget)
        publish(study, budget)
    rivals_page.main()


def entries() -> dict[str, Method | None]:
    """Label -> the method that a search begins with; None for ``auto``.

    Methods that learn one table for every domain or one for all are entered once each way.
    """
    found: dict[str, Method | None] = {}
    for name in registry.names():
        if name == Mixture.name:  # blends are made by auto
            continue
        kind = registry.method(name)
        found[name] = kind()
        sharing = schema(kind).get("sharing")
        for way in ("separate", "joined"):
            if sharing and way in re.findall(r"\w+", sharing.values) and way != sharing.default:
                found[f"{name} {way}"] = kind.from_settings({"sharing": way})
    found |= {label: registry.method(n).from_settings(own) for label, (n, own) in PUBLISHED_NAMES.items()}
    return {**found, AUTO: None}


@dataclass(frozen=True)
class Cell:
    """One method on one data set: its search, and a fit with every seed."""

    study: str
    label: str
    budget: Budget

    def __str__(self) -> str:
        return f"{self.study} / {self.label}"

    @property
    def method(self) -> Method | None:
        """What the search begins with."""
        return entries()[self.label]

    @cached_property
    def identity(self) -> str:
        """A digest of all that the results depend on."""
        start = None if self.method is None else self.method.flat()
        data = [_split(self.study).valid.fingerprint, _split(self.study).test.fingerprint]
        return digest([self.label, start, data, asdict(self.budget), NEGATIVES, METRIC, __version__])

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return CELLS / "rivals" / self.study / f"{self.label.replace(' ', '-')}-{self.identity}"

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.published or self.finished

    @property
    def published(self) -> bool:
        """Whether its results, or why it has none, are kept beside the page."""
        kept = rows.facts_of(rivals_page.NAME, f"{self.study}-{FULL}")
        return kept.get("identities", {}).get(self.label) == self.identity

    @property
    def finished(self) -> bool:
        """Whether it was done here."""
        return self.failed is not None or all(self.facts_file(seed).exists() for seed in SEEDS)

    @property
    def failed(self) -> str | None:
        """Why the method has no result; None where it has one, or was not tried."""
        file = self.folder / "failed.json"
        return str(read_json(file)["reason"]) if file.exists() else None

    def facts_file(self, seed: int) -> Path:
        """What is known of a fit; it is written last."""
        return self.folder / f"{seed}.json"

    def rows_file(self, seed: int, protocol: str) -> Path:
        """The ranks of a fit."""
        return self.folder / f"{seed}-{protocol}.parquet"

    def finish(self) -> str:
        """Do what is left; a line about it."""
        make_folder(self.folder)
        _sampled(self.study)  # where there are too few items, it is no method that fails
        try:
            method = self.chosen()
            for seed in SEEDS:
                if not self.facts_file(seed).exists():
                    self._test(method, seed)
        except ORDINARY as error:
            write_json(self.folder / "failed.json", {"reason": str(error)})
            return f"{self}: {error}"
        return f"{self}: {self.search['valid']:.4f} on validation with {described(method)}"

    @property
    def search(self) -> dict[str, Any]:
        """What the search has found."""
        return read_json(self.folder / "search.json")

    def chosen(self) -> Method:
        """The method with the settings that were best on validation data, searched once."""
        file = self.folder / "search.json"
        if not file.exists():
            began = time.perf_counter()
            method, valid, trials = self._search()
            write_json(
                file,
                {
                    "name": method.name,
                    "settings": asdict(method),
                    "valid": valid,
                    "trials": trials,
                    "seconds": time.perf_counter() - began,
                },
            )
        found = read_json(file)
        return registry.method(found["name"]).from_settings(found["settings"])

    def _search(self) -> tuple[Method, float, int]:
        """The best settings, their value, and how many were tried."""
        split, options, start = _split(self.study), FitOptions(seed=SEEDS[0]), self.method
        kept = self.folder / "search"
        if start is not None and start.space_on(split.train):
            result = tune(start, split, self.budget, options, METRIC, work_dir=kept)
            return result.method, result.value, len(result.trials)
        fitted: Fitted
        if start is None:
            limits = self.budget.trials, self.budget.seconds
            fitted = auto(split, options, *limits, work_dir=kept, metric=METRIC)
            # fitted on all that is known at test time; its members again, on what validation knows
            method = fitted.method
            fitted = method.fit(split.train, options)
        else:
            method, fitted = start, start.fit(split.train, options)
        validate = Validator(split.valid.to_validate(options.seed), METRIC, options.threads)
        return method, validate(fitted), 1

    def _test(self, method: Method, seed: int) -> None:
        """Fit on what is known at test time and rank the held-out pairs, once."""
        split, sampled_test = _split(self.study), _sampled(self.study)
        reset_peak()
        began = time.perf_counter()
        fitted = method.fit(split.test.history, FitOptions(seed=seed))
        facts: dict[str, Any] = {"fit": time.perf_counter() - began, "peak": round(peak_bytes() / 2**20, 1)}
        began = time.perf_counter()
        full = evaluate(fitted, split.test)
        facts["score"] = time.perf_counter() - began
        sampled = evaluate(fitted, sampled_test)
        for protocol, evaluation in zip(PROTOCOLS, (full, sampled), strict=True):
            labelled = evaluation.rows.with_columns(model=pl.lit(self.label), seed=pl.lit(seed))
            labelled.write_parquet(self.rows_file(seed, protocol))
        write_json(self.facts_file(seed), {**facts, "numbers": learned_numbers(fitted)})


def described(method: Method) -> str:
    """Name and settings that differ from the defaults; of a blend, its members."""
    return ", ".join(method.members) if isinstance(method, Mixture) else settings_text(method)


def learned_numbers(fitted: Fitted) -> int:
    """How many numbers a model has learned: those of its arrays of floats, each once."""
    arrays = fitted.state()[0].values()
    distinct = {array.__array_interface__["data"][0]: array for array in arrays if array.dtype.kind == "f"}
    return int(sum(array.size for array in distinct.values()))


def publish(study: str, budget: Budget) -> None:
    """Keep the rows and the facts of all finished methods beside the page, with those that are kept there;
    nothing before popularity is."""
    cells = [Cell(study, label, budget) for label in entries()]
    finished = {cell.label: cell for cell in cells if cell.finished}
    kept = {cell.label: cell for cell in cells if cell.published and cell.label not in finished}
    failed = {label for label, cell in finished.items() if cell.failed is not None}
    if not finished or POPULARITY not in {*kept, *finished}:
        return
    for place, protocol in enumerate(PROTOCOLS):
        name = f"{study}-{protocol}"
        before = rows.facts_of(rivals_page.NAME, name) if kept else {"failed": {}, "models": {}}
        facts = {
            "place": len(PROTOCOLS) * list(STUDIES).index(study) + place,
            "name": study,
            "protocol": protocol,
            "trials": budget.trials,
            "seconds": budget.seconds,
            "identities": {label: cell.identity for label, cell in {**kept, **finished}.items()},
            "failed": {label: why for label, why in before["failed"].items() if label in kept}
            | {label: finished[label].failed for label in sorted(failed)},
            "models": {label: own for label, own in before["models"].items() if label in kept}
            | {label: _facts(cell) for label, cell in finished.items() if label not in failed},
        }
        tables = [*_ranks((cell for label, cell in finished.items() if label not in failed), protocol)]
        if kept:
            tables.append(rows.study_of(rivals_page.NAME, name).rows.filter(pl.col("model").is_in([*kept])))
        ranks = [table.select(rows.COLUMNS) for table in tables]
        rows.publish(rivals_page.NAME, name, pl.concat(ranks, how="vertical_relaxed"), facts)


def _ranks(cells: Any, protocol: str) -> Iterator[pl.DataFrame]:
    for cell in cells:
        for seed in SEEDS:
            yield pl.read_parquet(cell.rows_file(seed, protocol))


def _facts(cell: Cell) -> dict[str, Any]:
    """What the page says of a method beside its ranks: means over seeds, the largest peak."""
    fits, search, method = [read_json(cell.facts_file(seed)) for seed in SEEDS], cell.search, cell.chosen()
    return {
        "family": AUTO if cell.method is None else family(type(method)),
        "settings": described(method),
        "valid": search["valid"],
        "trials": search["trials"],
        "search": search["seconds"],
        "fit": float(np.mean([fit["fit"] for fit in fits])),
        "score": float(np.mean([fit["score"] for fit in fits])),
        "peak": max(fit["peak"] for fit in fits),
        "numbers": fits[0]["numbers"],
    }


@lru_cache(maxsize=1)
def _split(study: str) -> Split:
    """The data of a study; one is kept, as the cells of a study come together."""
    return STUDIES[study]()


@lru_cache(maxsize=1)
def _sampled(study: str) -> Holdout:
    """The test part with drawn items."""
    return with_candidates(_split(study), NEGATIVES, seed=0).test


if __name__ == "__main__":
    main()
