"""What a benchmark file may say; unknown keys are refused.

seeds = [1, 2, 3]
metrics = ["ndcg@10", "hr@10"]
by = ["domain", "activity"]
reference = "separate ALS"       # the label that gains are measured against; the first method by default
[budget]    seconds = 3600, jobs = 2
[[data]]    name = "ciao", dataset = "ciao", split = {kind = "latest"}, candidates = [0, 999], across = true
[[methods]] label = "separate ALS", name = "ials", settings = {sharing = "separate"}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError

from landbridge import config as settings
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.text import one_line
from landbridge.core.types import Record, Values
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.segments import LABELS, USUAL

Seed = Annotated[int, Field(ge=0)]


class BenchmarkBudget(settings.SettingsTable):
    """``seconds``: no cell is started after it. ``jobs``: processes, which share the threads."""

    seconds: float | None = Field(default=None, gt=0)
    jobs: int = Field(default=1, ge=1)


class BenchmarkSplit(settings.SettingsTable):
    """How test rows are chosen, as in an experiment; a benchmark always has some."""

    kind: Literal["auto", "last", "latest", "random", "temporal", "cold"] = "auto"
    future: Literal["cut", "keep"] | None = None
    seed: Seed = 0


class BenchmarkData(settings.DataSettings):
    """Data under a label. ``candidates``: negatives per test row, one protocol each; 0 is full ranking.

    ``across``: after these also one list over all domains. Unset it is None, so that it is not written
    and folders begun before it was there can be gone on with.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    split: BenchmarkSplit = BenchmarkSplit()
    candidates: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    across: bool | None = None

    def experiment(self) -> settings.Spec:
        """The data and the split as an experiment has them."""
        data = self.model_dump(exclude={"name", "split", "candidates", "across"})
        return settings.Spec(
            data=settings.DataSettings(**data), split=settings.SplitSettings(**self.split.model_dump())
        )


class BenchmarkMethod(settings.ModelSettings):
    """A method under a label.

    ``ablates``: the label of a method of which this one changes a single setting; ``changes``: the settings
    where more than one are changed on purpose. Unset they are None, so that they are not written.
    """

    label: str = Field(min_length=1)
    ablates: str | None = None
    changes: tuple[str, ...] | None = None

    def model(self) -> settings.ModelSettings:
        """The method as an experiment has it."""
        return settings.ModelSettings(**self.model_dump(exclude={"label", "ablates", "changes"}))


class Benchmark(settings.SettingsTable):
    """Methods x data x seeds; every cell is evaluated under each protocol of its data."""

    seeds: tuple[Seed, ...] = (1, 2, 3)
    metrics: tuple[str, ...] = ("ndcg@10", "hr@10")
    by: tuple[str, ...] = USUAL
    reference: str = ""
    budget: BenchmarkBudget = BenchmarkBudget()
    data: tuple[BenchmarkData, ...]
    methods: tuple[BenchmarkMethod, ...]

    def toml(self) -> bytes:
        """The resolved settings as a benchmark file."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)).encode()


def benchmark_spec(tables: Values) -> Benchmark:
    """The validated benchmark; SettingsError says what is wrong first and how to mend it."""
    try:
        spec = Benchmark.model_validate(tables)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None
    for what, values in _lists(spec).items():
        _check_list(what, values)
    for source in spec.data:
        if (source.source is None) == (source.dataset is None):
            raise SettingsError(f"Data {source.name!r} needs either source or dataset.")
    for metric in spec.metrics:
        Metric.parse(metric)
    for by in spec.by:
        if by not in LABELS:
            raise SettingsError(unknown("segment", by, LABELS))
    entries = {entry.label: entry for entry in spec.methods}
    for entry in spec.methods:
        _check_method(entry)
        if entry.ablates is not None and entry.ablates not in entries:
            raise SettingsError(unknown(f"method that {entry.label!r} ablates", entry.ablates, entries))
        if entry.ablates is not None:
            _check_ablation(entry, entries[entry.ablates])
    return _with_reference(spec)


def spec_of_names(models: Iterable[str], data: Iterable[str], seeds: int) -> Record:
    """The tables of a benchmark of methods with default settings; data are catalogue names or folders."""
    if seeds < 1:
        raise SettingsError(f"seeds must be 1 or more, not {seeds}.")
    return {
        "seeds": list(range(1, seeds + 1)),
        "data": [{"name": Path(name).name, "dataset": name} for name in data],
        "methods": [{"label": name, "name": name} for name in models],
    }


def _lists(spec: Benchmark) -> dict[str, Sequence[object]]:
    candidates = {f"candidates of data {source.name!r}": list(source.candidates) for source in spec.data}
    return {
        "seeds": list(spec.seeds),
        "metrics": list(spec.metrics),
        "by": list(spec.by),
        "data": [source.name for source in spec.data],
        "methods": [entry.label for entry in spec.methods],
        **candidates,
    }


def _check_list(what: str, values: Sequence[object]) -> None:
    if not values:
        raise SettingsError(f"There are no {what}: a benchmark needs at least one.")
    value, times = Counter(values).most_common(1)[0]
    if times > 1:
        raise SettingsError(
            f"{value!r} stands {times} times among the {what}: once is enough, names are unique."
        )


def _check_method(entry: BenchmarkMethod) -> None:
    from landbridge.models import registry

    if entry.name == settings.AUTO and entry.settings:
        raise SettingsError(f"Method {entry.label!r}: auto chooses the settings itself, so give it none.")
    if entry.name == settings.AUTO:
        return
    if entry.name not in registry.names():
        raise SettingsError(unknown("method", entry.name, [*registry.names(), settings.AUTO]))
    registry.method(entry.name).from_settings(entry.settings)


def _check_ablation(entry: BenchmarkMethod, base: BenchmarkMethod) -> None:
    """An ablation changes one thing, else its effect is that of no setting in particular."""
    from landbridge.models import registry

    pair = f"Method {entry.label!r} and {base.label!r}, which it ablates,"
    if entry.name != base.name or entry.guard != base.guard or entry.name == settings.AUTO:
        raise SettingsError(f"{pair} must be one method (and not auto), with or without a guard.")
    if entry.trials or base.trials or entry.seconds or base.seconds:
        raise SettingsError(f"{pair} must not be tuned apart: give both their settings, and no trials.")
    own, others = (registry.method(each.name).from_settings(each.settings).flat() for each in (entry, base))
    changed = sorted(key for key in {*own, *others} if own.get(key) != others.get(key))
    if changed != sorted(entry.changes or changed[:1]) or not changed:
        raise SettingsError(
            f"{pair} differ in {', '.join(changed) or 'nothing'}: an ablation changes one setting; name "
            "all in `changes` where more are meant."
        )


def _with_reference(spec: Benchmark) -> Benchmark:
    labels = [entry.label for entry in spec.methods]
    reference = spec.reference or labels[0]
    if reference not in labels:
        raise SettingsError(unknown("reference", reference, labels))
    return spec.model_copy(update={"reference": reference})


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    *path, last = first["loc"]
    if first["type"] == "extra_forbidden":
        return unknown(f"key in {_where(path)}" if path else "key", last, _table_at(path).model_fields)
    if first["type"] == "missing":
        return f"{_where(path)} lacks {last!r}." if path else f"There are no {last}: a benchmark needs some."
    return f"{_where([*path, last])}: {first['msg']}."


def _where(path: list[int | str]) -> str:
    """``methods 2, settings``: entries of a list are counted from 1."""
    words = [f" {part + 1}" if isinstance(part, int) else f", {one_line(part)}" for part in path]
    return "".join(words).removeprefix(", ")


def _table_at(path: list[int | str]) -> type[BaseModel]:
    table: type[BaseModel] = Benchmark
    for part in path:
        if isinstance(part, str):
            annotation: Any = table.model_fields[part].annotation
            table = next(iter(get_args(annotation)), annotation)
    return table
