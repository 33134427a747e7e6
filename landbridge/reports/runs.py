"""A benchmark's folder as one value: what ``landbridge benchmark`` wrote, checked, as polars tables."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import StoreError
from landbridge.core.files import read_json
from landbridge.core.types import Record, Values
from landbridge.evaluation.segments import LABELS
from landbridge.reports import cells as cell_values

if TYPE_CHECKING:
    import polars as pl

Key = tuple[str, str, int]  # data, label, seed

_WHERE = ("by", "domain", "segment", "metric", "protocol")
RESULTS = ("data", "label", *_WHERE, "sampled", "mean", "low", "high", "users", "rows")
DIFFERENCE = (
    "difference",
    "low",
    "high",
    "gain_percent",
    "effect_size",
    "p",
    "p_holm",
    "family",
    "power_note",
)
COMPARISONS = ("data", "label", "reference", *_WHERE, "sampled", "users", "a", "b", *DIFFERENCE)
COSTS = ("data", "label", "seed", "fit_seconds", "evaluate_seconds", "peak_mib")
LEAKS = ("data", "label", "domain", "metric", "pairs", "mean", "chance", "z", "p", "verdict")
TRANSFER = ("data", "source", "target", "gain", "low", "high", "predicted")
_TEXT = {"data", "label", "reference", *_WHERE, "family", "power_note", "source", "target", "verdict"}
_COUNTS = {"users", "rows", "seed", "pairs"}
REMEDY = "run the benchmark again with the same folder to rewrite it"


@dataclass(frozen=True, eq=False)
class Runs:
    """A benchmark, finished or not; every table is in the order of the specification.

    ``spec_text``, ``spec``: the specification as written and read. ``data``: one description per data set.
    ``results``, ``comparisons``, ``costs``, ``transfer``, ``leaks``: the folder's tables; the last two may
    be empty, because they are made on request.
    ``series``, ``coverage``, ``decisions``, ``settings``: see :mod:`landbridge.reports.cells`.
    ``missing``: (data, label, seed) of the cells that are not in the tables.
    """

    spec_text: str
    spec: Values
    environment: Values
    data: tuple[Values, ...]
    results: pl.DataFrame
    comparisons: pl.DataFrame
    costs: pl.DataFrame
    transfer: pl.DataFrame
    leaks: pl.DataFrame
    series: pl.DataFrame
    coverage: pl.DataFrame
    decisions: pl.DataFrame
    settings: pl.DataFrame
    missing: tuple[Key, ...]

    @property
    def labels(self) -> list[str]:
        """The methods' labels."""
        return [method["label"] for method in self.spec["methods"]]

    @property
    def names(self) -> list[str]:
        """The data sets of which there are results."""
        return self.results["data"].unique(maintain_order=True).to_list()

    @property
    def reference(self) -> str:
        """The label of the single-domain baseline that gains are measured against."""
        return str(self.spec.get("reference") or self.labels[0])

    @property
    def metric(self) -> str:
        """The first metric of the specification: the one in summary and pictures."""
        return str(self.spec["metrics"][0])

    def protocol(self, data: str) -> str:
        """The protocol in summary and pictures: the full ranking where there is one."""
        import polars as pl

        return str(self.results.filter(pl.col("data") == data)["protocol"][0])


def read(folder: Path) -> Runs:
    """The benchmark in ``folder``; StoreError where there is none, it is damaged or nothing is finished."""
    if not (folder / "spec.toml").is_file():
        raise StoreError(
            f"{folder} is no folder of a benchmark: it has no spec.toml; "
            "give the folder that `landbridge benchmark --out` wrote."
        )
    spec_text, spec = _spec(folder / "spec.toml")
    cells = _cells(folder, spec)
    if not cells:
        raise StoreError(f"No cell of the benchmark in {folder} is finished yet; report when there is one.")
    data = _described(folder, spec)
    order = _Order.of(spec, data)
    costs = order(_table(folder / "costs.csv", COSTS))
    tabled = set(
        costs.select("data", "label", "seed").rows()
    )  # a benchmark at work writes its tables now and then
    return Runs(
        spec_text,
        spec,
        _json(folder / "environment.json"),
        data,
        order(_table(folder / "results.csv", RESULTS)),
        order(_table(folder / "comparisons.csv", COMPARISONS)),
        costs,
        order(_table(folder / "transfer.csv", TRANSFER, optional=True)),
        order(_table(folder / "leak.csv", LEAKS, optional=True)),
        cell_values.series((cell, _json(path / "log.json")) for path, cell in cells.values()),
        cell_values.coverage(cell for _, cell in cells.values()),
        order(cell_values.decisions(cell for _, cell in cells.values())),
        cell_values.settings(cell for _, cell in cells.values()),
        tuple(key for key in _wanted(spec) if key not in cells or key not in tabled),
    )


def _spec(path: Path) -> tuple[str, Record]:
    text = path.read_text()
    try:
        spec = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StoreError(f"{path} is damaged ({error}); restore it or start a new folder.") from None
    absent = [key for key in ("data", "methods", "seeds", "metrics") if not spec.get(key)]
    if absent:
        raise StoreError(f"{path} is no resolved specification: {', '.join(absent)} missing.")
    return text, spec


def _wanted(spec: Values) -> list[Key]:
    named = [each["name"] for each in spec["data"]], [each["label"] for each in spec["methods"]]
    return list(product(*named, spec["seeds"]))


def _cells(folder: Path, spec: Values) -> dict[Key, tuple[Path, Values]]:
    """The finished cells of the specification, in its order: folder, and what the cell says of itself."""
    result = {}
    # sorted: glob gives the order of the file system
    for path in sorted(folder.glob("cells/*/*/*/cell.json")):
        cell = _json(path)
        absent = {"data", "label", "seed"} - set(cell)
        if absent:
            raise StoreError(f"{path} lacks {', '.join(sorted(absent))}; delete its folder and {REMEDY}.")
        result[cell["data"], cell["label"], cell["seed"]] = path.parent, cell
    return {key: result[key] for key in _wanted(spec) if key in result}


def _described(folder: Path, spec: Values) -> tuple[Values, ...]:
    paths = [folder / "data" / f"{each['name']}.json" for each in spec["data"]]
    return tuple(_json(path) for path in paths if path.is_file())


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; {REMEDY}.") from None
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and {REMEDY}.") from None


def _table(path: Path, columns: tuple[str, ...], *, optional: bool = False) -> pl.DataFrame:
    import polars as pl

    kinds = {name: _kind(name) for name in columns}
    if optional and not path.exists():
        return pl.DataFrame(schema=kinds)
    try:
        table = pl.read_csv(path, schema_overrides=kinds)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; {REMEDY}.") from None
    except pl.exceptions.PolarsError as error:
        raise StoreError(f"{path} is damaged ({str(error).splitlines()[0]}); {REMEDY}.") from None
    absent = [name for name in columns if name not in table.columns]
    if absent:
        raise StoreError(f"{path} lacks the column {', '.join(absent)}; {REMEDY}.")
    return table.select(columns)


def _kind(column: str) -> type[pl.DataType]:
    import polars as pl

    if column in _TEXT:
        return pl.String
    return pl.Boolean if column == "sampled" else pl.Int64 if column in _COUNTS else pl.Float64


@dataclass(frozen=True)
class _Order:
    """Sorts a table as the specification names things; what it does not name comes last."""

    known: Mapping[str, list[str]]  # column -> its values in order

    @classmethod
    def of(cls, spec: Values, data: Iterable[Values]) -> _Order:
        """By the specification and the data sets' descriptions; the first column counts most."""
        domains = [domain["name"] for each in data for domain in each["domains"]]
        return cls(
            {
                "data": [each["name"] for each in spec["data"]],
                "by": list(LABELS),
                "metric": spec["metrics"],
                "protocol": ["full"],
                "target": domains,
                "source": domains,
                "domain": domains,
                "segment": [segment for labels in LABELS.values() for segment in labels],
                "group": list(LABELS["activity"]),
                "label": [method["label"] for method in spec["methods"]],
            }
        )

    def __call__(self, table: pl.DataFrame) -> pl.DataFrame:
        keys = [_rank(table[name], known) for name, known in self.known.items() if name in table.columns]
        return table.sort(keys, maintain_order=True)


def _rank(column: pl.Series, known: list[str]) -> pl.Series:
    """Each value's place in ``history``, then by first appearance."""
    import polars as pl

    names = dict.fromkeys([*known, *column.unique(maintain_order=True)])
    places = {name: place for place, name in enumerate(names)}
    return pl.Series([places[value] for value in column], dtype=pl.Int64)
