"""Which column of a table has which role: named by the user, by position, or by a usual name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from landbridge.core.errors import DataError, unknown

Columns: TypeAlias = "Mapping[str, object] | None"

USUAL_TIME = re.compile(r"(^|[_\W])(at|on|time|date|datetime|timestamp|ts)$")


@dataclass(frozen=True)
class NamedColumns:
    """Role -> column, for all tables and for those of one domain, which go first."""

    everywhere: Mapping[str, str]
    of_table: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, columns: Columns, roles: Mapping[str, Sequence[str]]) -> NamedColumns:
        """Out of {role: column}, {"domain.role": column} and {domain: {role: column}}; a whole number is a
        position. DataError for an unknown role."""
        everywhere: dict[str, str] = {}
        of_table: dict[str, dict[str, str]] = {}
        for key, value in (columns or {}).items():
            if isinstance(value, Mapping):
                of_table.setdefault(key, {}).update({str(role): str(name) for role, name in value.items()})
                continue
            table, _, role = key.rpartition(".")
            (of_table.setdefault(table, {}) if table else everywhere)[role] = str(value)
        for role in [role for given in (everywhere, *of_table.values()) for role in given]:
            if role not in roles:
                raise DataError(unknown("column role", role, roles))
        return cls(everywhere, of_table)

    def check(self, tables: Sequence[str]) -> None:
        """DataError where columns are named for a table that is not there."""
        for name in self.of_table:
            if name not in tables:
                raise DataError(unknown("table of named columns", name, tables))

    def only(self, roles: Sequence[str]) -> NamedColumns:
        """The columns of these roles."""

        def kept(named: Mapping[str, str]) -> dict[str, str]:
            return {role: name for role, name in named.items() if role in roles}

        return NamedColumns(kept(self.everywhere), {name: kept(each) for name, each in self.of_table.items()})

    def table(self, name: str) -> dict[str, str]:
        """Role -> column, for one table."""
        return {**self.everywhere, **self.of_table.get(name, {})}


def positions(named: Mapping[str, str]) -> frozenset[str]:
    """Those of the named columns that can be positions."""
    return frozenset(name for name in named.values() if name.isascii() and name.isdigit())


def choose(
    names: Sequence[str], named: Mapping[str, str], roles: Mapping[str, Sequence[str]], where: str
) -> dict[str, str]:
    """Role -> column: as it was named, else by its usual names in the order of preference."""
    given = {role: _resolved(name, names, where) for role, name in named.items()}
    # reversed, so that of equal names the first column wins
    plain = {_plain(name): name for name in reversed(names)}
    guessed = {
        role: next(plain[_plain(name)] for name in usual if _plain(name) in plain)
        for role, usual in roles.items()
        if any(_plain(name) in plain for name in usual)
    }
    taken = set(given.values())
    return {role: name for role, name in guessed.items() if name not in taken} | given


def time_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names such as ``purchased_at``, ``eventTime`` and ``order date``."""
    return tuple(name for name in names if USUAL_TIME.search(_snake(name)))


def _resolved(name: str, names: Sequence[str], where: str) -> str:
    """A column by its name, or by its position, from 1, where there is no such name."""
    if name in names:
        return name
    if name.isascii() and name.isdigit() and len(name) < 10:
        if not 0 < int(name) <= len(names):
            raise DataError(f"{where} has {len(names)} columns, so none is number {name}; count from 1.")
        return names[int(name) - 1]
    raise DataError(f"{where}: {unknown('column', name, names)}")


def _plain(name: str) -> str:
    """Without case, blanks, underscores and hyphens, and without the type that RecBole writes."""
    return re.sub(r"[\s_-]", "", name.partition(":")[0]).lower()


def _snake(name: str) -> str:
    """``eventTime`` as event_time."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.partition(":")[0].strip()).lower()
