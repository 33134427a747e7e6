"""What ablations share: subsets of names, the plan in a folder, what is given back and kept at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from landbridge.core.errors import SettingsError, StoreError, unknown
from landbridge.core.files import atomic_write, is_temporary, read_json, write_json
from landbridge.core.types import Record, Values
from landbridge.studies.benchmark import jobs
from landbridge.studies.benchmark.spec import BenchmarkData, benchmark_spec

if TYPE_CHECKING:
    import polars as pl

PLAN, BENCH, VERDICT = "ablation.json", "bench", "verdict.txt"


class Plan(Protocol):
    """A frozen dataclass that says what is compared, on which data."""

    __dataclass_fields__: ClassVar[Record]

    @property
    def source(self) -> BenchmarkData:
        """The data as the benchmark has them."""


@dataclass(frozen=True, eq=False)
class AblationResult:
    """``tables``: title -> a row per cell, with gains against the control; ``verdict``: what they come to."""

    tables: Mapping[str, pl.DataFrame]
    verdict: str


def source_of(data: Values, method: str) -> BenchmarkData:
    """A table of [[data]], checked. ``method``: any that is known."""
    return benchmark_spec({"data": [data], "methods": [{"label": method, "name": method}]}).data[0]


def across(data: Values, method: str) -> Record:
    """A table of [[data]] for one list over all domains; the split is "latest" unless one is given."""
    source = source_of({"split": {"kind": "latest"}, **data, "across": True}, method)
    return source.model_dump(mode="json", exclude_none=True)


def subset(key: str, given: Iterable[str], valid: tuple[str, ...]) -> tuple[str, ...]:
    """The given names in the order of ``valid``, each once; SettingsError for others, or for none."""
    names = list(given)
    for name in names:
        if name not in valid:
            raise SettingsError(unknown(key, name, valid))
    if not names:
        raise SettingsError(f"{key} needs one or more of {', '.join(valid)}.")
    return tuple(name for name in valid if name in names)


def begin(plan: Plan, out: Path) -> None:
    """Write the plan, or make sure that the one there is the same but for fewer seeds; else StoreError."""
    file, now = out / PLAN, _plain(plan)
    if not file.is_file():
        if others := sorted(path.name for path in out.iterdir() if not is_temporary(path)):
            raise StoreError(f"{out} holds other files ({others[0]}) and no ablation; choose another folder.")
        jobs.prepared_split(plan.source)  # data that cannot be read leave no trace
        write_json(file, now)
    before = read_json(file)
    for key, value in now.items():
        if before.get(key) != value and not (key == "seeds" and value > before[key]):
            raise StoreError(f"The ablation in {out} was begun with other {key}; choose another folder.")
    write_json(file, now)


def end(out: Path, tables: Mapping[str, pl.DataFrame], verdict: str) -> AblationResult:
    """Write the verdict, and give it with the tables."""
    with atomic_write(out / VERDICT) as file:
        file.write_text(verdict + "\n")
    return AblationResult(tables, verdict)


def _plain(plan: Plan) -> Record:
    """The plan as JSON has it."""
    import orjson

    own = {entry.name: getattr(plan, entry.name) for entry in fields(plan)}
    plain: Record = orjson.loads(orjson.dumps(own))
    return plain
