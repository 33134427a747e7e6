"""Tune several methods with equal budgets and write the best one as an experiment file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landbridge.config import AUTO, Spec
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.files import atomic_write
from landbridge.core.parallel import Executor, Serial, in_order
from landbridge.core.progress import Progress, Silent
from landbridge.core.settings import schema
from landbridge.core.types import Record, Values
from landbridge.data.splitting.holdout import Split
from landbridge.datasets.prepare import prepare, threads
from landbridge.evaluation.metrics import Metric
from landbridge.models import registry
from landbridge.models.base import Method
from landbridge.models.search_space import Space
from landbridge.selection.search import Budget, TuningResult, tune
from landbridge.selection.search_space import read_space
from landbridge.training.options import FitOptions

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class MethodComparison:
    """``spec``: the experiment with the best method and settings; ``results``: every method's search."""

    spec: Spec
    results: Mapping[str, TuningResult]

    def table(self) -> pl.DataFrame:
        """One row per method, best first: validation value, trials, pruned, seconds, changed settings."""
        import polars as pl

        records = [
            {
                "model": name,
                self.spec.fit.validate_on: tuned.value,
                "trials": len(tuned.trials),
                "pruned": int((tuned.trials["state"] == "pruned").sum()),
                "seconds": float(tuned.trials["seconds"].sum()),
                "settings": _changed(tuned.method),
            }
            for name, tuned in self.results.items()
        ]
        return pl.DataFrame(records).sort(self.spec.fit.validate_on, descending=True, maintain_order=True)

    def write(self, out: Path) -> None:
        """Write the best method as an experiment file."""
        with atomic_write(out) as temporary:
            temporary.write_bytes(self.spec.toml())


def compare_methods(
    spec: Spec,
    models: Iterable[str] = (),
    space: Values | None = None,
    work_dir: Path | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> MethodComparison:
    """Tune each of ``models`` on the experiment's data; by default the experiment's own method.

    Every method gets the experiment's ``trials`` and ``seconds``. The experiment's settings stay fixed,
    except those in ``space`` (a TOML table), whose search starts from them. Each method takes the settings
    and ranges it has; one that no method has is a SettingsError. ``work_dir``: a folder to resume from.
    ``executor``: where the methods are tuned; in turn in this process by default.
    """
    Metric.parse(spec.fit.validate_on)  # a wrong name is an error before anything is read
    methods = {name: registry.method(name) for name in models or _of(spec)}
    settings = _dealt(spec.model.settings, methods)
    ranges = _dealt(space or {}, methods)
    for name, kind in methods.items():
        read_space(kind, ranges[name], settings[name])  # a wrong one, too
    started = {name: kind.from_settings(settings[name]) for name, kind in methods.items()}
    progress = progress or Silent()
    data = prepare(spec)
    if (split := data.split) is None:
        raise SettingsError("Tuning needs validation data: choose a [split] kind other than none.")
    for sentence in data.remarks:
        progress.note(sentence)
    tuned = _Tuned(
        split,
        Budget(spec.model.trials or Budget.trials, spec.model.seconds),
        # another process has no place for the progress of a fit
        FitOptions(spec.fit.seed, threads(spec), progress=progress)
        if executor is None
        else FitOptions(spec.fit.seed, spec.fit.threads or executor.threads_each),
        spec.fit.validate_on,
        work_dir,
    )
    searches = [
        _Search(
            name,
            method,
            read_space(methods[name], ranges[name], settings[name], method.space_on(split.train)),
        )
        for name, method in started.items()
    ]
    with closing(in_order(executor or Serial(), tuned, searches)) as found:
        results = dict(zip(started, found, strict=True))
    best = max(results.values(), key=lambda tuned: tuned.value)
    return MethodComparison(_with(spec, best.method), results)


@dataclass(frozen=True, eq=False)
class _Search:
    """A method to be tuned, and the space of its search."""

    name: str
    method: Method
    space: Space

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class _Tuned:
    """What the searches of all methods share."""

    split: Split
    budget: Budget
    options: FitOptions
    metric: str
    work_dir: Path | None

    def __call__(self, search: _Search) -> TuningResult:
        work_dir = None if self.work_dir is None else self.work_dir / search.name
        result = tune(
            search.method, self.split, self.budget, self.options, self.metric, search.space, work_dir
        )
        return replace(result, fitted=None)  # not needed, and it would travel


def _of(spec: Spec) -> tuple[str, ...]:
    """The experiment's own method; ``auto`` means every method with a search space."""
    every = tuple(name for name in registry.names() if registry.method(name).space)
    return every if spec.model.name == AUTO else (spec.model.name,)


def _dealt(table: Values, methods: Mapping[str, type[Method]]) -> dict[str, Record]:
    """For every method the keys of ``table`` that it has."""
    known = {name: _keys(kind) for name, kind in methods.items()}
    for key in table:
        if not any(key in valid for valid in known.values()):
            raise SettingsError(unknown(f"setting of {', '.join(known)}", key, set().union(*known.values())))
    return {name: {key: table[key] for key in table if key in valid} for name, valid in known.items()}


def _keys(kind: type[Method]) -> set[str]:
    """The names that a method takes, those of version 0.1 included."""
    return {*schema(kind), *kind.renamed, *(entry.name for entry in fields(kind))}


def _with(spec: Spec, method: Method) -> Spec:
    """The experiment with this method and its settings; patience and the search are switched off."""
    # the file repeats the result, not the search
    chosen = {"name": method.name, "settings": method.flat(), "trials": 0, "seconds": None}
    model, fit = spec.model.model_copy(update=chosen), spec.fit.model_copy(update={"patience": None})
    return spec.model_copy(update={"model": model, "fit": fit})


def _changed(method: Method) -> str:
    """The settings that differ from the defaults, as text."""
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in method.changed().items()
    )
