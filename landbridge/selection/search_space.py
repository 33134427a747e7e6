"""Search spaces: what a method declares, what a TOML table overrides, and the Optuna distributions of it.

[space]
reg = {low = 0.01, high = 1.0, log = true}
popularity_weight = {options = [0, 1, 3]}
admm.rho = {low = 0.01, high = 3.0}
balance.weights.books = {low = 0.1, high = 10.0, log = true}    # an entry of a setting that is a table
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product
from operator import index
from typing import TYPE_CHECKING, Any, TypeGuard, get_args, get_origin

from landbridge.core.errors import SettingsError, unknown
from landbridge.core.settings import Setting, dotted, schema
from landbridge.core.types import Record, Values
from landbridge.models.base import Method
from landbridge.models.search_space import Choice, Range, Real, Space, Whole

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

BOUNDS = ("low", "high", "log")
FEW = 32  # settings that are tried all
EXAMPLE = "{low = 0.01, high = 1.0, log = true} or {options = [1, 2]}"


def read_space(
    method: type[Method], table: Values, fixed: Values | None = None, own: Space | None = None
) -> Space:
    """The method's ``own`` space (``Method.space`` by default) without the ``fixed`` settings, overridden by
    the ranges of ``table``.

    SettingsError names an unknown setting and the nearest valid one, or the invalid range.
    """
    given = dotted(method, fixed or {})
    own = {
        name: values for name, values in (method.space if own is None else own).items() if name not in given
    }
    # "loss" with a range is the former name of a setting, with a table of ranges a part of today
    ranges = {method.renamed.get(k, k) if _is_range(v) else k: v for k, v in table.items()}
    named = _entries(method, dotted(method, ranges))
    return own | {name: _range(method, name, entry) for name, entry in named.items()}


def validate_space(space: Space, method: type[Method]) -> Space:
    """Return ``space`` if every range fits the type of its setting; else raise SettingsError."""
    for name, values in space.items():
        kind = _kind(method, name)
        if not isinstance(values, kind | Choice):
            wanted = f"{kind.__name__} or Choice"
            raise SettingsError(f"The space of {name!r} must be {wanted}, not {type(values).__name__}.")
    return space


def points(space: Space) -> float:
    """How many different settings are in the space."""
    return math.prod(values.size for values in space.values())


def starts(space: Space, method: Method) -> list[dict[str, Any]]:
    """The settings of the first trials, clipped to the space: the method's own, then its ``starts``, and all
    others where there are few.

    An entry of a table that the method does not give is drawn.
    """
    own = method.flat()
    own |= {
        f"{name}.{key}": each
        for name, table in own.items()
        if _is_table(table)
        for key, each in table.items()
    }
    first = [
        {name: values.nearest(start[name]) for name, values in space.items() if name in start}
        for start in ({**own, **known} for known in ({}, *type(method).starts))
    ]
    if points(space) <= FEW:
        options = [values.options for values in space.values() if not isinstance(values, Real)]
        first += [dict(zip(space, chosen, strict=True)) for chosen in product(*options)]
    return [trial for place, trial in enumerate(first) if trial not in first[:place]]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The Optuna distributions, sorted by name: trials must not depend on the order of keys in a file."""
    return {name: _distribution(space[name]) for name in sorted(space)}


def _distribution(values: Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Choice):
        return CategoricalDistribution(values.options)
    if isinstance(values, Whole):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _is_range(entry: object) -> bool:
    return _is_table(entry) and bool(entry.keys() & {"options", *BOUNDS})


def _is_table(entry: object) -> TypeGuard[Values]:
    return isinstance(entry, Mapping)


def _entries(method: type[Method], ranges: Values) -> Values:
    """The ranges with those of a table's entries under dotted names."""
    settings = schema(method)
    result: Record = {}
    for name, entry in ranges.items():
        inside = (
            name in settings and _holds_numbers(settings[name]) and _is_table(entry) and not _is_range(entry)
        )
        result |= {f"{name}.{key}": each for key, each in entry.items()} if inside else {name: entry}
    return result


def _holds_numbers(setting: Setting) -> bool:
    """Whether a setting is a table of numbers."""
    return get_origin(setting.hint) is Mapping and float in get_args(setting.hint)


def _range(method: type[Method], name: str, entry: object) -> Range:
    kind = _kind(method, name)
    if not isinstance(entry, Mapping):
        raise SettingsError(f"[space] {name} must be a table such as {EXAMPLE}, not {entry!r}.")
    valid = ("options",) if "options" in entry else BOUNDS
    for key in entry:
        if key not in valid:
            raise SettingsError(unknown(f"key of [space] {name}", key, valid))
    try:
        return _choice(kind, entry["options"]) if "options" in entry else _between(kind, entry)
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"[space] {name} must be a table such as {EXAMPLE} ({error}).") from None
    except SettingsError as error:
        raise SettingsError(f"[space] {name}: {error}") from None


def _choice(kind: type[Range], options: Iterable[Any]) -> Choice:
    as_setting: Any = {Real: float, Whole: index}.get(kind, lambda option: option)
    return Choice(tuple(as_setting(option) for option in options))


def _between(kind: type[Range], entry: Values) -> Range:
    if kind is Choice:
        raise SettingsError("this setting is not a number; give its options.")
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    if not isinstance(log, bool):
        raise TypeError(f"log is {log!r}, neither true nor false")
    return Whole(low, high, log) if kind is Whole else Real(float(low), float(high), log)


def _kind(method: type[Method], name: str) -> type[Range]:
    """The kind of range for a setting, by its annotation; a Choice is always allowed."""
    settings = schema(method)
    # the key of an entry may hold dots itself, as names of domains do
    if any(_holds_numbers(each) and name.startswith(f"{each.name}.") for each in settings.values()):
        return Real
    if name not in settings:
        raise SettingsError(unknown(f"setting of {method.name}", name, settings))
    hint = settings[name].hint
    types = get_args(hint) or (hint,)
    return Real if float in types else Whole if int in types else Choice
