"""Settings: frozen dataclasses whose fields say their range and meaning, checked whenever one is made.

    @dataclass(frozen=True)
    class Ridge(Settings):
        factors: int = setting(64, "Length of an embedding.", low=1, symbol="d")
        solver: Literal["exact", "auto"] = setting("exact", "How rows are solved.")

Python, TOML files and ``--set`` all end in the constructor, so they are checked in one place: every value is
converted by the annotation of its field and compared with its bounds, and SettingsError names the setting,
what it must be and what was given. The same schema makes ``landbridge models NAME`` and docs/settings.md.
"""

from __future__ import annotations

import warnings
from abc import ABCMeta
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from types import MappingProxyType, UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    Self,
    TypeGuard,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from landbridge.core.deprecation import renamed
from landbridge.core.errors import SettingsError, unknown
from landbridge.core.types import Record, Values

T = TypeVar("T")
S = TypeVar("S", bound="Settings")

LARGEST = {int: float(2**31 - 1), float: 3.4e38}  # what an int32 index and a float32 array can hold
KINDS: Mapping[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Bounds:
    """A range of numbers: ``low`` and ``high`` belong to it, ``above`` and ``below`` do not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Whether ``value`` lies in the range; NaN lies in none."""
        return (
            # NaN is not equal to itself
            value == value
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """The range in words: "1 or more", "from 0 to 1", "above 0"; empty without bounds."""
        if self.low is not None and self.high is not None:
            return f"from {self.low:g} to {self.high:g}"
        words = {"{:g} or more": self.low, "above {:g}": self.above}
        words |= {"at most {:g}": self.high, "below {:g}": self.below}
        return " and ".join(text.format(bound) for text, bound in words.items() if bound is not None)


@dataclass(frozen=True)
class Setting:
    """One entry of a schema. ``name``: dotted where the setting belongs to a part; ``hint``: its type.

    ``of_times``: whether it means nothing where events have no times.
    """

    name: str
    hint: object
    default: object
    doc: str
    symbol: str
    bounds: Bounds
    of_times: bool

    @property
    def values(self) -> str:
        """What may be given, in words: "a whole number, 1 or more"."""
        return _words(self.hint, self.bounds)


def setting(
    default: T,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    symbol: str = "",
    of_times: bool = False,
) -> T:
    """A field of a :class:`Settings` class: its default, its meaning, its range, the paper's symbol, and
    whether it means nothing where events have no times.

    A subclass that changes only the default writes ``reg: float = 1e-4`` and keeps the rest.
    """
    bounds = Bounds(low, high, above, below)
    about = {"doc": doc, "symbol": symbol, "bounds": bounds, "of_times": of_times}
    if isinstance(default, Mapping):  # a dict is mutable: every object gets a copy
        return cast(T, field(default_factory=lambda: dict(default), metadata=about))
    return field(default=default, metadata=about)


class _TakesFormerNames(ABCMeta):
    """Constructors accept the names of version 0.1 as keywords, as ``from_settings`` does.

    A dataclass writes its ``__init__`` from today's fields, so former names must be replaced before it is
    called.
    """

    def __call__(cls, *args: object, **given: object) -> Any:
        kind = cast("type[Settings]", cls)
        if any(_name_today(kind, name, value) != name for name, value in given.items()):
            # a part given whole comes first, so that a single setting of it counts in any order
            given = dict(sorted(_current(kind, given).items(), key=lambda entry: "." in entry[0]))
            given = _nested(kind, given, kind.label())
        return super().__call__(*args, **given)


@dataclass(frozen=True)
class Settings(metaclass=_TakesFormerNames):
    """Base of methods and of their parts; a subclass is a frozen dataclass of :func:`setting` fields.

    ``renamed``: name in version 0.1 -> name today, dotted for a part's setting.
    """

    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __post_init__(self) -> None:
        """Convert and check every value; subclasses add what concerns several settings at once."""
        for name, value in _converted_fields(type(self), vars(self), self.label()).items():
            object.__setattr__(self, name, value)

    @classmethod
    def label(cls) -> str:
        """What an error calls the owner of a setting."""
        return cls.__name__

    @classmethod
    def from_settings(cls, settings: Values) -> Self:
        """The object with these settings: nested tables or dotted names, numbers also as text.

        Raises SettingsError for an unknown name (with the nearest valid one) and for an impossible value.
        A name of version 0.1 works and gives a DeprecationWarning.
        """
        return _made(cls, _current(cls, settings), cls.label())

    @classmethod
    def migrated(cls, settings: Values) -> Record:
        """``settings`` with today's names in place of those of version 0.1, for stored runs."""
        return {_name_today(cls, name, value): value for name, value in settings.items()}

    def with_settings(self, settings: Values) -> Self:
        """A copy with other values, given as in :meth:`from_settings`."""
        return self.from_settings({**self.flat(), **settings})

    def flat(self) -> Record:
        """Every setting by its dotted name; the inverse of :meth:`from_settings`."""
        return {name: _value(self, name) for name in schema(type(self))}

    def changed(self) -> Record:
        """The settings that are not the defaults, by dotted name."""
        usual = {name: entry.default for name, entry in schema(type(self)).items()}
        return {name: value for name, value in self.flat().items() if value != usual[name]}


@cache
def schema(cls: type[Settings]) -> Mapping[str, Setting]:
    """All settings of a class in their order, those of its parts under dotted names."""
    hints = _hints(cls)
    result: dict[str, Setting] = {}
    for entry in fields(cls):
        hint, default = hints[entry.name], _default(cls, entry.name)
        if _is_part(hint):
            for name, inner in schema(hint).items():
                dotted = f"{entry.name}.{name}"
                # the owner may start a part from other values than the part's own defaults
                result[dotted] = replace(inner, name=dotted, default=_value(default, name))
        else:
            result[entry.name] = Setting(entry.name, hint, default, **_about(cls, entry.name))
    return MappingProxyType(result)


@cache
def _hints(cls: type[Settings]) -> Mapping[str, Any]:
    """The type of every field; reading the annotations takes milliseconds, so each class's are read once."""
    return get_type_hints(cls)


def dotted(cls: type[Settings], given: Values) -> Record:
    """Settings by today's dotted names: the tables of parts are taken apart, other values stay whole."""
    hints = _hints(cls)
    result: Record = {}
    for name, value in cls.migrated(given).items():
        table = value.flat() if isinstance(value, Settings) else value
        if isinstance(table, Mapping) and _is_part(hints.get(name)):
            result |= {f"{name}.{inner}": entry for inner, entry in dotted(hints[name], table).items()}
        else:
            result[name] = table
    return result


def _made(cls: type[S], given: Values, where: str, start: Values | None = None) -> S:
    """An object of ``cls`` from checked settings; ``start``: the values of those not given."""
    return cls(**{**(start or {}), **_converted_fields(cls, _nested(cls, given, where), where)})


def _converted_fields(cls: type[Settings], given: Values, where: str) -> Record:
    hints = _hints(cls)
    result: Record = {}
    for name, value in given.items():
        hint, path = hints[name], f"{where}.{name}"
        if _is_part(hint):
            result[name] = _part(hint, value, path, _default(cls, name))
        else:
            result[name] = _checked(hint, value, path, _about(cls, name)["bounds"])
    return result


def _part(hint: type[Settings], value: object, path: str, default: object) -> object:
    if isinstance(value, hint):
        return value
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path} must be a table of settings, not {value!r}.")
    return _made(hint, hint.migrated(value), path, vars(default))


def _nested(cls: type[Settings], given: Values, where: str) -> Record:
    """Dotted names gathered under the field they begin with; an unknown field is an error."""
    names = {entry.name for entry in fields(cls)}
    result: Record = {}
    for key, value in given.items():
        head, dot, rest = key.partition(".")
        if head not in names:
            raise SettingsError(unknown(f"setting of {where}", key, schema(cls)))
        result[head] = _merged(result.get(head), {rest: value}) if dot else value
    return result


def _merged(before: object, table: Values) -> Record:
    """A table given in pieces: as a whole, then single settings by dotted names."""
    if isinstance(before, Settings):
        return {**before.flat(), **table}
    return {**(before if isinstance(before, Mapping) else {}), **table}


def _checked(hint: object, value: object, path: str, bounds: Bounds) -> object:
    try:
        return _converted(hint, value, bounds)
    except ValueError:
        if get_origin(hint) is Literal and isinstance(value, str):
            raise SettingsError(unknown(path, value, get_args(hint))) from None
        raise SettingsError(f"{path} must be {_words(hint, bounds)}, not {value!r}.") from None


def _converted(hint: Any, value: object, bounds: Bounds) -> object:
    """``value`` as the annotation wants it; ValueError where it is no such value."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):  # only ``X | None`` is in use
        return None if value is None or value == "none" else _converted(args[0], value, bounds)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_converted(args[0], entry, bounds) for entry in value)
    if origin in (Mapping, dict) and isinstance(value, Mapping):
        return {str(key): _converted(args[1], entry, bounds) for key, entry in value.items()}
    if origin is Literal and isinstance(value, str) and value in args:
        return value
    if hint is Any or (hint is str and isinstance(value, str)):
        return value
    if hint is bool:
        return _switch(value)
    if hint in (int, float):
        return _number(hint, value, bounds)
    raise ValueError


def _switch(value: object) -> bool:
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if not isinstance(value, bool):
        raise ValueError
    return value


def _number(kind: type, value: object, bounds: Bounds) -> float:
    """A number, also from text: ".01", "1e1". A bool is none, and 2.0 is whole where 2.5 is not."""
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise ValueError
    number = float(value)
    # also refuses infinity, whose absolute value exceeds every bound
    if not bounds.hold(number) or abs(number) > LARGEST[kind]:
        raise ValueError
    if kind is float:
        return number
    if not number.is_integer():
        raise ValueError
    return int(value) if isinstance(value, Integral) else int(number)


def _words(hint: object, bounds: Bounds) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return f"{_words(args[0], bounds)}, or none"
    if origin is Literal:
        return f"one of {', '.join(args)}"
    if origin is tuple:
        return f"a list, each {_words(args[0], bounds)}"
    if origin is Mapping:
        return "a table" if args[1] is Any else f"a table, each value {_words(args[1], bounds)}"
    return ", ".join(filter(None, (KINDS[hint], str(bounds))))


def _is_part(hint: object) -> TypeGuard[type[Settings]]:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _current(cls: type[Settings], settings: Values) -> Record:
    """``settings`` by today's names, with a warning for every name of version 0.1."""
    for name, value in settings.items():
        today = _name_today(cls, name, value)
        if today != name:
            warnings.warn(
                renamed(f"{cls.label()}.{name}", today),
                DeprecationWarning,
                stacklevel=3,  # the line that gave the name
            )
    return cls.migrated(settings)


def _name_today(cls: type[Settings], name: str, value: object) -> str:
    """The name of a setting that may have its name of 0.1, also inside a table: "weights.books".

    "encoder" may be an old setting and, with a table or a dot behind it, a part of today.
    """
    head, dot, rest = name.partition(".")
    is_part = any(entry.name == head for entry in fields(cls)) and (
        dot or isinstance(value, Mapping | Settings)
    )
    return name if is_part or head not in cls.renamed else cls.renamed[head] + dot + rest


def _about(cls: type[Settings], name: str) -> Values:
    """What :func:`setting` kept of a field, in the class nearest to ``cls`` that says it."""
    # a subclass that changes only a default has no metadata of its own
    for base in cls.__mro__:
        entry = vars(base).get("__dataclass_fields__", {}).get(name)
        if entry is not None and entry.metadata:
            return cast(Values, entry.metadata)
    # a plain field: only its type is checked
    return {"doc": "", "symbol": "", "bounds": Bounds(), "of_times": False}


def _default(cls: type[Settings], name: str) -> object:
    entry = cls.__dataclass_fields__[name]
    make: object = entry.default_factory
    return make() if callable(make) else entry.default


def _value(settings: object, dotted: str) -> object:
    for name in dotted.split("."):
        settings = getattr(settings, name)
    return settings
