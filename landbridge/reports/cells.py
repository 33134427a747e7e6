"""What the finished cells of a benchmark tell beyond quality: series, coverage and guards' decisions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from landbridge.core.types import Values

if TYPE_CHECKING:
    import polars as pl

Cell = Values
WHOSE = ("data", "label", "seed")


def series(cells: Iterable[tuple[Cell, list[Cell]]]) -> pl.DataFrame:
    """All numbers of the cells' logs: data, label, seed, quantity, part, epoch (null: a single value), value.

    A quantity may be a number or a mapping of numbers (by domain, by activity …): then ``part`` is its key.
    """
    rows = [
        (*_whose(cell), *quantity)
        for cell, log in cells
        if not cell.get("decision")  # the log of a guarded model is its decision
        for record in log
        for quantity in _quantities(record)
    ]
    return _table(rows, quantity=str, part=str, epoch=int, value=float)


def coverage(cells: Iterable[Cell]) -> pl.DataFrame:
    """How much of each catalogue the lists use: data, label, seed, domain, protocol, coverage, gini."""
    listed = ("domain", "protocol", "coverage", "gini")
    rows = [
        (*_whose(cell), *(row[name] for name in listed))
        for cell in cells
        for row in _rows(cell.get("coverage") or [])
    ]
    return _table(rows, domain=str, protocol=str, coverage=float, gini=float)


def decisions(cells: Iterable[Cell]) -> pl.DataFrame:
    """What guards serve: one row per data, label, seed, domain, group and member with its weight.

    Further columns: pairs, simple (the domain's own best simple model), estimate and simple_estimate
    (validation metric of the served blend and of the simple model), lower (bound of their difference),
    protected.
    """
    listed: dict[str, type] = {"domain": str, "group": str, "pairs": int, "simple": str, "estimate": float}
    listed |= {"simple_estimate": float, "lower": float, "protected": bool}
    rows = [
        (*_whose(cell), *(decision.get(name) for name in listed), member, weight)
        for cell in cells
        for decision in cell.get("decision") or []
        for member, weight in decision["weights"].items()
    ]
    return _table(rows, **listed, member=str, weight=float)


def settings(cells: Iterable[Cell]) -> pl.DataFrame:
    """What was fitted, as text: data, label, seed, settings; of a mixture what its members are."""
    rows = [(*_whose(cell), _worded(cell.get("settings") or {})) for cell in cells]
    return _table(rows, settings=str)


def _worded(settings: Cell) -> str:
    if isinstance(members := settings.get("members"), Mapping):
        listed = (
            f"{label}: {each['method']} ({_worded(each['settings'])})" for label, each in members.items()
        )
        return "; ".join(listed)
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "none"


def _table(rows: list[tuple[object, ...]], **columns: type) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(rows, schema={"data": str, "label": str, "seed": int, **columns}, orient="row")


def _whose(cell: Cell) -> tuple[object, ...]:
    return tuple(cell[name] for name in WHOSE)


def _quantities(record: Cell) -> Iterator[tuple[str, str, int | None, float]]:
    for quantity, value in record.items():
        for part, number in _numbers(value, ()) if quantity != "epoch" else ():
            yield quantity, part, record.get("epoch"), number


def _numbers(value: object, inside: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """The finite numbers in ``value`` and the keys that lead to each."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _numbers(each, (*inside, str(key)))
    elif isinstance(value, list):
        yield from _numbers({str(place): each for place, each in enumerate(value)}, inside)
    # bool is an int for Python; NaN and infinity cannot be drawn
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield ", ".join(inside), float(value)


def _rows(listed: Any) -> list[Cell]:
    """One row per domain and protocol, from a list of them or from {protocol: list}."""
    return [row for rows in listed.values() for row in rows] if isinstance(listed, Mapping) else list(listed)
